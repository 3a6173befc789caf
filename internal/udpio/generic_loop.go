//go:build !linux

package udpio

import (
	"net"
	"net/netip"
	"sync"
)

// genericQueue is how many datagrams wait for the Loop's reader; when it is full the sockets' goroutines wait, and their buffers overflow.
const genericQueue = 64

// Loop reads many sockets, with a goroutine for each.
type Loop struct {
	in   chan Datagram
	woke chan struct{} // a connection is to be told of
	done chan struct{}
	out  [1]Datagram
	turn []*Stream // that the last Read told of
	bufs sync.Pool // of []byte, for Streams that have something to send

	mu     sync.Mutex // guards the fields below
	woken  []*Stream  // for the next Read to tell of
	socks  map[*Sock]struct{}
	closed bool
}

// NewLoop makes a loop without sockets; it waits in the runtime's poller.
func NewLoop(*Processors) (*Loop, error) {
	return &Loop{in: make(chan Datagram, genericQueue), woke: make(chan struct{}, 1), done: make(chan struct{}), socks: map[*Sock]struct{}{}}, nil
}

// Open binds a UDP socket that the loop reads from now on.
func (l *Loop) Open(addr netip.AddrPort, opt SockOptions) (*Sock, error) {
	c, err := Listen(addr, Options{ReusePort: opt.ReusePort, ReadBuffer: opt.ReadBuffer, WriteBuf: opt.WriteBuffer})
	if err != nil {
		return nil, err
	}
	s := &Sock{c: c, local: c.LocalAddr(), loop: l, owner: opt.Owner}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = c.Close()
		return nil, net.ErrClosed
	}
	l.socks[s] = struct{}{}
	go s.read()
	return s, nil
}

// Close ends Read and closes all sockets.
func (l *Loop) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return net.ErrClosed
	}
	l.closed = true
	close(l.done)
	for s := range l.socks {
		_ = s.c.Close()
	}
	return nil
}

// Read waits for a datagram, which is valid until the next Read, or for a connection to tell of (Streams). After Close it returns net.ErrClosed.
func (l *Loop) Read() ([]Datagram, error) {
	l.turn = l.turn[:0]
	select {
	case l.out[0] = <-l.in:
		return l.out[:], nil
	case <-l.woke:
		l.mu.Lock()
		defer l.mu.Unlock()
		l.turn, l.woken = l.woken, nil
		return nil, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Refused are the refusals that have come with the last Read: here the system does not tell.
func (l *Loop) Refused() []Refusal { return nil }

// Sock is a socket of a Loop.
type Sock struct {
	c     *Conn
	local netip.AddrPort
	loop  *Loop
	owner any
}

func (s *Sock) read() {
	r := s.c.NewReader()
	for {
		pkts, err := r.Read()
		if err != nil {
			return
		}
		for _, p := range pkts {
			select {
			case s.loop.in <- Datagram{Data: append([]byte(nil), p.Data...), From: p.From, Sock: s}:
			case <-s.loop.done:
				return
			}
		}
	}
}

// Close closes the socket.
func (s *Sock) Close() error {
	s.loop.mu.Lock()
	delete(s.loop.socks, s)
	s.loop.mu.Unlock()
	return s.c.Close()
}

// WriteTo sends one datagram; safe for concurrent use.
func (s *Sock) WriteTo(b []byte, to netip.AddrPort) error { return s.c.WriteTo(b, to) }

// CanForbidFragments: WriteWhole does as it says.
const CanForbidFragments = false

// WriteWhole sends one datagram, which may be cut on its way.
func (s *Sock) WriteWhole(b []byte, to netip.AddrPort) error { return s.WriteTo(b, to) }

// Fan sends datagrams over many sockets, one system call each.
type Fan struct {
	buf   []byte
	Stats WriteStats
}

// NewFan makes a fan; its sizes mean nothing here.
func NewFan(int, int) *Fan { return &Fan{} }

// Add sends one datagram.
func (f *Fan) Add(s *Sock, to netip.AddrPort, b []byte) {
	f.Stats.Calls++
	if s.WriteTo(b, to) != nil {
		f.Stats.Dropped++
		return
	}
	f.Stats.Packets++
	f.Stats.Messages++
}

// AddFramed sends one datagram that is head and then b.
func (f *Fan) AddFramed(s *Sock, to netip.AddrPort, head [4]byte, b []byte) {
	f.buf = append(append(f.buf[:0], head[:]...), b...)
	f.Add(s, to, f.buf)
}

// Flush has nothing left to do.
func (f *Fan) Flush() {}
