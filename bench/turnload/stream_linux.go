package turnload

import (
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/stun/v4"
)

const (
	streamBuffer = 64 << 10              // bytes that a connection is read with
	streamAnswer = 5 * time.Second       // for a request
	streamWrite  = 5 * time.Second       // for a burst
	peerWait     = 50 * time.Millisecond // after which the peer's reader looks whether it is to end
)

// streams is the engine for TCP and TLS: a goroutine reads each connection, one the peer's socket, and run's sends.
type streams struct {
	common
	conns []*streamConn

	under   atomic.Int64  // packets under way
	arrived chan struct{} // something has arrived since it was last looked
	over    atomic.Bool
	readers sync.WaitGroup
}

// streamConn is a client's connection.
type streamConn struct {
	id      uint32
	net     net.Conn
	ses     *session
	answers chan *stun.Message
	up      []byte // a burst, ready but for its stamps
	down    []byte
	size    int // of a packet in up
	at      int // of the payload in it
}

func (e *streams) prepare(ctx context.Context, progress func(string)) error {
	e.arrived = make(chan struct{}, 1)
	if err := e.openPeer(); err != nil {
		return err
	}
	if err := e.poll.add(e.peer); err != nil {
		return err
	}
	if err := e.allocateAll(ctx, progress, e.connect); err != nil {
		return err
	}
	e.readers.Go(e.readPeer)
	return nil
}

// sessions are those of all connections.
func (e *streams) sessions(yield func(*session) bool) {
	for _, c := range e.conns {
		if !yield(c.ses) {
			return
		}
	}
}

// connect makes connection i and its allocation.
func (e *streams) connect(ctx context.Context, i int) error {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", e.cfg.Server.String())
	if err != nil {
		return err
	}
	if e.cfg.Network == "tls" {
		t := tls.Client(c, e.cfg.TLS)
		if err := t.HandshakeContext(ctx); err != nil {
			_ = c.Close()
			return err
		}
		c = t
	}
	s := &streamConn{id: uint32(i), net: c, answers: make(chan *stun.Message, 1)}
	e.conns = append(e.conns, s)
	s.ses = &session{id: s.id, exchange: s.exchange}
	s.ses.username, s.ses.password = e.cfg.credentials(i)
	e.readers.Go(func() { e.read(s) })
	if err := s.ses.setUp(e.peer.local, !e.cfg.Indications); err != nil {
		return err
	}
	one, at := e.cfg.wire(e.peer.local, true)
	s.size, s.at = len(one), at
	for k := range e.cfg.Burst {
		fill(one[at:at+e.cfg.Payload], s.id, k)
		s.up = append(s.up, one...)
		s.down = append(s.down, one[at:at+e.cfg.Payload]...)
	}
	return nil
}

// exchange sends a request and waits for what read found to be its answer.
func (s *streamConn) exchange(m *stun.Message) (*stun.Message, error) {
	if err := s.write(m.Raw); err != nil {
		return nil, err
	}
	t := time.NewTimer(streamAnswer)
	defer t.Stop()
	for {
		select {
		case a, ok := <-s.answers:
			if !ok {
				return nil, errors.New("the server has closed the connection")
			}
			if a.TransactionID == m.TransactionID {
				return a, nil
			}
		case <-t.C:
			return nil, errors.New("no answer from the server")
		}
	}
}

func (s *streamConn) write(p []byte) error {
	_ = s.net.SetWriteDeadline(time.Now().Add(streamWrite))
	_, err := s.net.Write(p)
	return err
}

// read takes frames of a connection until it ends.
func (e *streams) read(s *streamConn) {
	defer close(s.answers)
	buf := make([]byte, streamBuffer)
	end := 0
	for {
		n, err := s.net.Read(buf[end:])
		if err != nil {
			return
		}
		end += n
		used, ok := e.frames(s, buf[:end])
		if !ok {
			return
		}
		end = copy(buf, buf[used:end])
	}
}

// frames handles the whole frames of p and tells how many bytes they took; not ok is something that is no TURN.
func (e *streams) frames(s *streamConn, p []byte) (used int, ok bool) {
	e.rec.mu.Lock()
	defer e.rec.mu.Unlock()
	e.rec.now = int64(time.Since(e.epoch))
	before := e.rec.delivered.Load()
	defer func() { e.done(e.rec.delivered.Load() - before) }()
	for {
		rest := p[used:]
		if len(rest) < 4 {
			return used, true
		}
		n := int(binary.BigEndian.Uint16(rest[2:]))
		if rest[0]>>6 == 1 {
			n = 4 + (n+3)&^3
		} else {
			n += 20
		}
		if n > len(rest) {
			return used, n <= streamBuffer
		}
		if b := unwrap(rest[:n]); b != nil {
			e.rec.arrived(toClient, s.id, b)
		} else {
			m := &stun.Message{Raw: append([]byte(nil), rest[:n]...)}
			if m.Decode() != nil {
				return used, false
			}
			select {
			case s.answers <- m:
			default: // nobody waits
			}
		}
		used += n
	}
}

// readPeer takes what comes to the peer.
func (e *streams) readPeer() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for !e.over.Load() {
		n := e.poll.wait(peerWait)
		if n == 0 {
			continue
		}
		e.rec.mu.Lock()
		e.rec.now = int64(time.Since(e.epoch))
		before := e.rec.delivered.Load()
		e.poll.take(n, func(_ int, b []byte) { e.rec.arrived(toPeer, 0, b) })
		e.done(e.rec.delivered.Load() - before)
		e.rec.mu.Unlock()
	}
}

// done takes arrived packets off those under way.
func (e *streams) done(n uint64) {
	if n == 0 {
		return
	}
	e.under.Add(-int64(n))
	select {
	case e.arrived <- struct{}{}:
	default:
	}
}

func (e *streams) run(ctx context.Context, d time.Duration) error {
	e.renew(e.sessions)
	start := time.Now()
	end := start.Add(d)
	p := pacer{rate: int64(e.cfg.Rate), burst: int64(e.cfg.Burst)}
	e.under.Store(0)
	for now := start; now.Before(end) && ctx.Err() == nil; now = time.Now() {
		wait := stall
		for n := 0; n < sendMax; n++ {
			if e.cfg.Rate > 0 {
				if wait = p.wait(now.Sub(start)); wait > 0 {
					break
				}
				p.sent()
			} else if e.under.Load()+int64(e.cfg.Burst) > int64(e.cfg.Window) {
				break
			}
			if err := e.burst(); err != nil {
				return err
			}
		}
		e.out.flush()
		e.pause(ctx, wait)
	}
	skipped := p.skipped + e.out.lost
	e.out.lost = 0
	for limit := time.Now().Add(settle); e.under.Load() > 0 && time.Now().Before(limit); {
		e.pause(ctx, time.Millisecond)
	}
	e.rec.mu.Lock()
	e.rec.skipped += skipped
	e.rec.mu.Unlock()
	return nil
}

// pause waits until the next burst is due, or in a closed loop until there is room for it; after a stall what is under way is lost.
func (e *streams) pause(ctx context.Context, d time.Duration) {
	if d <= 0 || e.cfg.Rate == 0 && e.under.Load()+int64(e.cfg.Burst) <= int64(e.cfg.Window) && d == stall {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	arrived := e.arrived
	if e.cfg.Rate > 0 {
		arrived = nil
	}
	select {
	case <-arrived:
	case <-ctx.Done():
	case <-t.C:
		if d == stall && e.cfg.Rate == 0 {
			e.under.Store(0)
		}
	}
}

// burst sends the packets of the allocation whose turn it is.
func (e *streams) burst() error {
	d, i := e.next()
	c := e.conns[i]
	run, size, at := c.up, c.size, c.at
	if d == toClient {
		run, size, at = c.down, e.cfg.Payload, 0
	}
	e.under.Add(int64(e.cfg.Burst))
	e.mark(run, size, at, d, i, int64(time.Since(e.epoch)))
	if d == toPeer {
		return c.write(run)
	}
	e.down(c.ses.relayed, run, size)
	return nil
}

func (e *streams) close() error {
	e.over.Store(true)
	for _, c := range e.conns {
		_ = c.net.Close() // which ends the allocation
	}
	e.readers.Wait()
	e.closePeer()
	return nil
}
