package turn

import (
	"net"
	"net/netip"

	"konzil/internal/udpio"
)

const (
	// socketBuffer is the size asked for of a listening socket's buffers, bytes: all clients share it.
	socketBuffer = 4 << 20
	// listenBatch is how many datagrams, or runs of them, are taken from a listening socket at a time: all that a loop holds.
	listenBatch = 1024
	// fanMessages and fanRun bound what a batch leads to before it is sent: as many destinations as a batch can have, and runs long enough for the
	// system call to be cheap.
	fanMessages, fanRun = 1024, 16
	// memoryMessages and memoryRun are the same for what the SFU delivers, which comes in batches of its own.
	memoryMessages, memoryRun = 64, 64
)

// udpLink is one listening UDP socket, in one loop with the relay sockets of its clients: both directions of an allocation are served by
// one goroutine.
type udpLink struct {
	sock *udpio.Sock
	in   *udpio.Loop
	addr net.Addr
}

// listenUDP opens an address: a socket for each shard, so that each core has its own. The kernel keeps a client with the same socket.
func (s *Server) listenUDP(a netip.AddrPort) error {
	shards := s.cfg.Shards
	if shards > 1 && a.Port() != 0 {
		// A taken port must be an error, but SO_REUSEPORT would join the other's group: ask without it first.
		probe, err := s.openUDP(a, false)
		if err != nil {
			return err
		}
		probe.abandon()
	}
	for i := range shards {
		l, err := s.openUDP(a, shards > 1)
		if err != nil {
			return err
		}
		if i == 0 {
			a = l.sock.LocalAddr()
			s.udp = append(s.udp, unmap(a))
		}
		g := s.newGate(l, true, udpio.NewFan(fanMessages, fanRun), udpio.NewFan(fanMessages, fanRun), udpio.NewFan(memoryMessages, memoryRun))
		if !s.track(g) {
			l.abandon()
			return net.ErrClosed
		}
		if err := s.serve(g); err != nil {
			s.forget(g)
			l.abandon()
			return err
		}
	}
	return nil
}

func (s *Server) openUDP(a netip.AddrPort, shared bool) (*udpLink, error) {
	loop, err := udpio.NewLoop(s.procs)
	if err != nil {
		return nil, err
	}
	l := &udpLink{in: loop}
	// The kernel caps the buffers at net.core.rmem_max. The default of 208 kB is 3 ms of a full gigabit.
	if l.sock, err = loop.Open(a, udpio.SockOptions{Batch: listenBatch, ReusePort: shared, Shared: true, ReadBuffer: socketBuffer, WriteBuffer: socketBuffer}); err != nil {
		l.abandon()
		return nil, err
	}
	l.addr = net.UDPAddrFromAddrPort(l.sock.LocalAddr())
	return l, nil
}

// abandon closes a link that nobody reads.
func (l *udpLink) abandon() {
	_ = l.in.Close()
	_, _ = l.in.Read() // the last Read closes the rest
}

func (l *udpLink) read() ([]udpio.Datagram, error) { return l.in.Read() }

func (l *udpLink) refused() []udpio.Refusal { return l.in.Refused() }

func (l *udpLink) write(p []byte, to netip.AddrPort) error { return l.sock.WriteTo(p, to) }

func (l *udpLink) frame(o *outlet, to netip.AddrPort, head [4]byte, data []byte) {
	o.fan.AddFramed(l.sock, to, head, data)
}

func (l *udpLink) message(o *outlet, to netip.AddrPort, p []byte) { o.fan.Add(l.sock, to, p) }

func (l *udpLink) loop() *udpio.Loop { return l.in }

func (l *udpLink) local() net.Addr { return l.addr }

func (l *udpLink) netAddr(a netip.AddrPort) net.Addr { return net.UDPAddrFromAddrPort(a) }

func (l *udpLink) Close() error { return l.in.Close() }
