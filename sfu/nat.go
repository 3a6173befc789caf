package sfu

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"konzil/sfu/ice"
)

// Who is behind NAT learns from a STUN server what others see of a socket (RFC 8489 §2). The media sockets themselves ask, one after the other in
// turn, again and again: that also keeps the mapping open. It serves where the NAT maps a socket to one port whoever it talks to (RFC 4787 §4.1,
// endpoint-independent mapping); where it does not, clients' own candidates or TURN do.
const (
	// natEvery is the interval of asking: RFC 4787 §4.3 lets no NAT forget a mapping in less than two minutes, but some do after 30 s.
	natEvery = 25 * time.Second
	// natRTO and natTries: a request is sent again after 0.5, 1 and 2 s (RFC 8489 §6.2.1), then the next server is asked.
	natRTO   = 500 * time.Millisecond
	natTries = 3
	// natResolve bounds a look-up of a server's name.
	natResolve = 5 * time.Second
	// natMisses is after how many rounds without an answer a mapping is forgotten.
	natMisses = 4
)

// natWatch is what the SFU knows of the NAT before it.
type natWatch struct {
	s   *SFU
	log *slog.Logger

	mu     sync.Mutex // guards all below
	maps   []mapping
	asked  ice.TxID // the request under way
	of     netip.AddrPort
	local  int
	answer chan netip.AddrPort // of capacity one; nil: nothing is asked
}

// start begins to ask when there is a server to be asked.
func (w *natWatch) start(s *SFU) {
	w.s, w.log = s, s.log
	if len(s.cfg.STUN) == 0 {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.wg.Go(func() {
		<-s.done
		cancel()
	})
	s.wg.Go(func() { w.run(ctx) })
}

// found lists the mappings that are known now.
func (w *natWatch) found() []mapping {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.maps)
}

// run is the goroutine that asks.
func (w *natWatch) run(ctx context.Context) {
	t := time.NewTicker(natEvery)
	defer t.Stop()
	misses := make([]int, len(w.s.addrs))
	for {
		servers := w.resolve(ctx)
		for local, a := range w.s.addrs {
			m, ok := w.ask(ctx, local, a, servers)
			if ctx.Err() != nil {
				return
			}
			if ok {
				misses[local] = 0
				w.note(local, m)
			} else if misses[local]++; misses[local] == natMisses {
				w.note(local, netip.AddrPort{})
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// resolve looks the servers up.
func (w *natWatch) resolve(ctx context.Context) []netip.AddrPort {
	var out []netip.AddrPort
	for _, s := range w.s.cfg.STUN {
		host, port, err := net.SplitHostPort(s)
		if err != nil {
			w.log.Warn("STUN server is not host:port", "server", s)
			continue
		}
		look, cancel := context.WithTimeout(ctx, natResolve)
		n, err := net.DefaultResolver.LookupPort(look, "udp", port)
		var ips []netip.Addr
		if err == nil {
			ips, err = net.DefaultResolver.LookupNetIP(look, "ip", host)
		}
		cancel()
		if err != nil {
			w.log.Warn("STUN server not found", "server", s, "err", err)
			continue
		}
		for _, ip := range ips {
			out = append(out, netip.AddrPortFrom(ip.Unmap(), uint16(n)))
		}
	}
	return out
}

// ask finds out what the servers see of one socket: the answer of the first that gives one.
func (w *natWatch) ask(ctx context.Context, local int, a netip.AddrPort, servers []netip.AddrPort) (netip.AddrPort, bool) {
	for _, server := range servers {
		if server.Addr().Is4() != a.Addr().Is4() || a.Addr().IsLoopback() && !server.Addr().IsLoopback() {
			continue
		}
		answer := make(chan netip.AddrPort, 1)
		id := w.s.users.newID(natNumber)
		w.mu.Lock()
		w.asked, w.of, w.local, w.answer = id, server, local, answer
		w.mu.Unlock()
		req := ice.BindingRequest(nil, &id)
		for rto := natRTO; rto < natRTO<<natTries; rto *= 2 {
			w.s.count.inc(cNATAsked)
			w.s.sendControl(local, req, server)
			wait := time.NewTimer(rto)
			select {
			case m := <-answer:
				wait.Stop()
				return m, true
			case <-ctx.Done():
				wait.Stop()
				return netip.AddrPort{}, false
			case <-wait.C:
			}
		}
	}
	return netip.AddrPort{}, false
}

// natNumber is that of our own requests among the numbers of transports in transaction ids.
const natNumber = 0

// handle takes a response; false when it answers nothing that was asked.
func (w *natWatch) handle(m *ice.Message, local int, from netip.AddrPort) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	mapped, ok := m.Mapped()
	if w.answer == nil || m.ID != w.asked || from != w.of || local != w.local || !ok {
		return false
	}
	w.s.count.inc(cNATAnswered)
	w.answer <- mapped
	w.answer = nil
	return true
}

// note keeps what was found for one socket; an invalid address: nothing.
func (w *natWatch) note(local int, addr netip.AddrPort) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.maps, func(m mapping) bool { return m.local == local })
	if addr == w.s.addrs[local] {
		addr = netip.AddrPort{} // there is no NAT
	}
	switch {
	case i < 0 && !addr.IsValid(), i >= 0 && w.maps[i].addr == addr:
		return
	case i < 0:
		w.maps = append(w.maps, mapping{addr, local})
		w.s.count.inc(cNATMapped)
	case !addr.IsValid():
		w.maps = slices.Delete(w.maps, i, i+1)
		w.s.count.add(cNATMapped, ^uint64(0))
	default:
		w.maps[i].addr = addr
	}
	w.log.Info("public address of media", "socket", w.s.addrs[local], "address", addr)
}
