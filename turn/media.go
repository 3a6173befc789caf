package turn

import (
	"net"
	"net/netip"
	"sync"

	"konzil/internal/udpio"
)

const (
	// mediaQueue is how many datagrams wait between the media port's sockets and the goroutine that serves them. When it is full what comes is dropped,
	// as a full socket buffer would do; counted as queue_full.
	mediaQueue = 1024
	// maxMediaChannel is the last channel number whose first byte is told from media (RFC 8656 §12, RFC 7983 §7).
	maxMediaChannel = 0x4FFF
)

// mediaLink is the clients who come by the port of media, whose sockets are somebody else's.
type mediaLink struct {
	at   netip.AddrPort
	send func(local, to netip.AddrPort, pkt []byte) error
	pump *udpio.Loop
	pool sync.Pool // of []byte of packetSize
	in   chan udpio.Datagram
	done chan struct{}
	over sync.Once

	batch []udpio.Datagram // of the gate's goroutine
}

// ServeMedia serves clients over UDP on addresses whose sockets belong to somebody else, who gives what is for us to take and sends what send is
// given. take neither blocks nor keeps pkt.
func (s *Server) ServeMedia(addrs []netip.AddrPort, host func(take func(local, from netip.AddrPort, pkt []byte)) (send func(local, to netip.AddrPort, pkt []byte) error)) error {
	streams, err := s.streamLink(0) // whose goroutine reads the relay sockets of these clients too
	if err != nil {
		return err
	}
	links := map[netip.AddrPort]*mediaLink{}
	for _, a := range addrs {
		links[a] = &mediaLink{at: a, pump: streams.in, in: make(chan udpio.Datagram, mediaQueue), done: make(chan struct{}), pool: sync.Pool{New: func() any { return make([]byte, packetSize) }}}
	}
	send := host(func(local, from netip.AddrPort, pkt []byte) {
		if l := links[local]; l == nil || !l.take(from, pkt) {
			s.count.queueFull.Add(1)
		}
	})
	for _, l := range links {
		l.send = send
		g := s.newGate(l, true, udpio.NewFan(memoryMessages, memoryRun), nil, nil)
		g.maxChannel = maxMediaChannel
		if !s.track(g) {
			return net.ErrClosed
		}
		if err := s.serve(g); err != nil {
			s.forget(g)
			return err
		}
	}
	return nil
}

// take queues a copy of a datagram; false when there is no room for it.
func (l *mediaLink) take(from netip.AddrPort, pkt []byte) bool {
	if len(pkt) > packetSize {
		return false
	}
	b := l.pool.Get().([]byte)[:packetSize]
	select {
	case l.in <- udpio.Datagram{Data: b[:copy(b, pkt)], From: from}:
		return true
	default:
		//lint:ignore SA6002 the slice's head costs less than the copy
		l.pool.Put(b)
		return false
	}
}

// read gives all that waits.
func (l *mediaLink) read() ([]udpio.Datagram, error) {
	for _, d := range l.batch {
		//lint:ignore SA6002 see take
		l.pool.Put(d.Data[:packetSize])
	}
	l.batch = l.batch[:0]
	select {
	case d := <-l.in:
		l.batch = append(l.batch, d)
	case <-l.done:
		return nil, net.ErrClosed
	}
	for len(l.batch) < mediaQueue {
		select {
		case d := <-l.in:
			l.batch = append(l.batch, d)
		default:
			return l.batch, nil
		}
	}
	return l.batch, nil
}

// refused is nothing: the relay sockets are read by another link, which tells their clients.
func (l *mediaLink) refused() []udpio.Refusal { return nil }

func (l *mediaLink) write(p []byte, to netip.AddrPort) error { return l.send(l.at, to, p) }

func (l *mediaLink) frame(o *outlet, to netip.AddrPort, head [4]byte, data []byte) {
	b := l.pool.Get().([]byte)[:0]
	b = append(append(b, head[:]...), data...)
	l.message(o, to, b)
	if cap(b) >= packetSize {
		//lint:ignore SA6002 see take
		l.pool.Put(b[:packetSize])
	}
}

func (l *mediaLink) message(o *outlet, to netip.AddrPort, p []byte) {
	if l.send(l.at, to, p) != nil {
		o.count.sendFailed.Add(1)
	}
}

func (l *mediaLink) loop() *udpio.Loop { return l.pump }

func (l *mediaLink) local() net.Addr { return net.UDPAddrFromAddrPort(l.at) }

func (l *mediaLink) netAddr(a netip.AddrPort) net.Addr { return net.UDPAddrFromAddrPort(a) }

// Close ends the link; the sockets are not its own.
func (l *mediaLink) Close() error {
	l.over.Do(func() { close(l.done) })
	return nil
}
