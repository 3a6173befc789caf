package bytestreams

import (
	"net"
	"net/netip"
	"time"

	"golang.org/x/time/rate"

	"konzil/xmpp/stanza"
)

// pair are the connections that have named the same stream, not activated yet.
type pair struct {
	conns []net.Conn // one or two
	timer *time.Timer
}

// account is an initiator with streams.
type account struct {
	streams int
	limits  [2]*rate.Limiter // one for each direction; nil: none
}

func addressOf(c net.Conn) netip.Addr {
	a, ok := c.RemoteAddr().(*net.TCPAddr)
	if !ok {
		return netip.Addr{}
	}
	addr := a.AddrPort().Addr().Unmap()
	if addr.Is6() {
		if p, err := addr.Prefix(64); err == nil { // what one customer has
			return p.Addr()
		}
	}
	return addr
}

// admit counts a connection and starts its handshake; false: there are too many.
func (p *Proxy) admit(c net.Conn) bool {
	a := addressOf(c)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.nParked >= maxParked || p.parked[a] >= maxParkedEach {
		return false
	}
	p.nParked++
	p.parked[a]++
	p.conns[c] = struct{}{}
	p.running.Go(func() { p.greet(c) })
	return true
}

// greet does the handshake and parks the connection.
func (p *Proxy) greet(c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(p.cfg.handshake))
	name, err := handshake(c)
	if err == nil {
		err = p.park(name, c)
	}
	if err == nil {
		return
	}
	p.count.badHandshakes.Add(1)
	p.mu.Lock()
	p.drop(c)
	p.mu.Unlock()
}

// park lets a connection wait for its stream's activation. It answers with the lock held, so that nobody activates what does not know of it; the answer is the
// second write to an empty socket and does not block.
func (p *Proxy) park(name string, c net.Conn) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.pairs[name]
	if p.closed || w != nil && len(w.conns) == 2 {
		return refused(c, replyNotAllowed)
	}
	if err := accepted(c, name); err != nil {
		return err
	}
	_ = c.SetDeadline(time.Time{})
	if w == nil {
		w = &pair{}
		w.timer = time.AfterFunc(p.cfg.activate, func() { p.expire(name, w) })
		p.pairs[name] = w
	}
	w.conns = append(w.conns, c)
	return nil
}

// expire ends a stream that nobody activated.
func (p *Proxy) expire(name string, w *pair) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pairs[name] != w { // activated meanwhile
		return
	}
	delete(p.pairs, name)
	p.count.expired.Add(1)
	for _, c := range w.conns {
		p.drop(c)
	}
}

// drop closes a connection that was not activated. mu is held.
func (p *Proxy) drop(c net.Conn) {
	p.unpark(c)
	delete(p.conns, c)
	_ = c.Close()
}

// unpark takes a connection off those that wait. mu is held.
func (p *Proxy) unpark(c net.Conn) {
	a := addressOf(c)
	p.nParked--
	if p.parked[a]--; p.parked[a] == 0 {
		delete(p.parked, a)
	}
}

// activate starts a stream of owner.
func (p *Proxy) activate(name string, owner stanza.JID) *stanza.Error {
	p.mu.Lock()
	defer p.mu.Unlock()
	w := p.pairs[name]
	a := p.accounts[owner]
	switch {
	case w == nil || p.closed:
		return stanza.ErrItemNotFound
	case len(w.conns) < 2:
		return stanza.ErrNotAllowed.With("Only one of you is connected")
	case p.streams >= p.cfg.MaxStreams, a != nil && a.streams >= p.cfg.PerAccount:
		return stanza.ErrResourceConstraint.With("Too many transfers at a time")
	}
	if a == nil {
		a = &account{limits: [2]*rate.Limiter{limiter(p.cfg.AccountRate), limiter(p.cfg.AccountRate)}}
		p.accounts[owner] = a
	}
	a.streams++
	p.streams++
	delete(p.pairs, name)
	w.timer.Stop()
	for _, c := range w.conns {
		p.unpark(c)
	}
	p.running.Go(func() {
		p.relay(w.conns[0], w.conns[1], a)
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, c := range w.conns {
			delete(p.conns, c)
		}
		p.streams--
		if a.streams--; a.streams == 0 {
			delete(p.accounts, owner)
		}
	})
	return nil
}

// limiter lets through so many bytes a second, a chunk at a time; nil: all.
func limiter(bytes int) *rate.Limiter {
	if bytes <= 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(bytes), chunk)
}
