package turn

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"
)

const (
	// packetSize is the buffer of one packet. 1600 is pion/turn's own limit, above any Ethernet frame.
	packetSize = 1600
	// relayQueue is how many packets from peers wait for one client: 256 are 100 ms of 3 Mbit/s in packets of 150 bytes. When it is
	// full the newest is dropped, as a full socket buffer would do; counted as queue_full.
	relayQueue = 256
	// portTries is how many ports of the range are tried before 508: with three quarters in use, 32 tries fail once in 10,000 times.
	portTries = 32
)

// InMemoryPeer is a peer in this process, our own SFU, that relays reach without a socket. All methods may be called from any
// goroutine.
type InMemoryPeer interface {
	// Owns tells whether addr is one of the peer's, as clients know it. Port 0 asks whether any port of that address is.
	Owns(addr netip.AddrPort) bool
	// Attach opens a path for the allocation whose relayed address is relay. The peer gives packets for relay to deliver, which
	// neither blocks nor keeps pkt; packets of the allocation for an owned address come by send, which must not block and
	// must not keep pkt. detach ends both directions.
	Attach(relay netip.AddrPort, deliver func(from netip.AddrPort, pkt []byte)) (send func(to netip.AddrPort, pkt []byte), detach func())
}

// packet is a peer's packet on its way to the client. Whoever holds one owns it; ReadFrom and the drops give it back to Server.packets.
// The queue holds pointers: 2 kB per allocation, where the structs without data would be 12.
type packet struct {
	n    int
	from netip.AddrPort
	data [packetSize]byte
}

// relay is one allocation's side towards its peers: the net.PacketConn that pion/turn sends on and receives from.
//
// Invariants:
//   - WriteTo is called by the gate's read goroutine alone, ReadFrom by the allocation's goroutine alone.
//   - Nothing reaches or comes from an address that may does not allow.
type relay struct {
	s         *Server
	gate      *gate
	client    netip.AddrPort
	username  string // as authenticated
	user      string // for quotas
	socket    *net.UDPConn
	announced netip.AddrPort
	family    byte

	queue  chan *packet
	closed chan struct{}

	mu     sync.Mutex // guards detach and over
	detach func()
	over   bool

	send    func(to netip.AddrPort, pkt []byte) // of WriteTo's goroutine; nil: not attached yet
	outAddr netip.Addr                          // of WriteTo's goroutine: the last address asked for, and the answer
	outOK   bool
	inAddr  netip.Addr // the same of readSocket's goroutine
	inOK    bool
	from    netip.AddrPort // of ReadFrom's goroutine: the last source, and its net form
	fromNet *net.UDPAddr
}

// newRelay opens a relay for the request that the gate handles now. port 0 is any of the range.
func (s *Server) newRelay(g *gate, port int) (*relay, error) {
	r := &relay{s: s, gate: g, client: g.cur.from, username: g.cur.username, user: quotaName(g.cur.username), family: g.cur.family,
		queue: make(chan *packet, relayQueue), closed: make(chan struct{})}
	at, ok := s.relayAddress(r.family)
	if !ok {
		return nil, errFull
	}
	if err := s.reg.room(r.user, r.client.Addr()); err != nil {
		return nil, err
	}
	socket, err := s.openPort(at.Bind, port)
	if err != nil {
		return nil, err
	}
	r.socket = socket
	r.announced = netip.AddrPortFrom(at.Announce, uint16(socket.LocalAddr().(*net.UDPAddr).Port))
	if err := s.reg.add(r); err != nil {
		socket.Close()
		return nil, err
	}
	if !s.enter() {
		s.reg.remove(r)
		socket.Close()
		return nil, net.ErrClosed
	}
	g.setClient(r)
	s.count.allocations.Add(1)
	go r.readSocket()
	return r, nil
}

// openPort opens a UDP socket on an address, on the given port or a random one of the range (RFC 8656 §7.2).
func (s *Server) openPort(a netip.Addr, port int) (*net.UDPConn, error) {
	network := "udp6"
	if a.Is4() {
		network = "udp4"
	}
	open := func(port int) (*net.UDPConn, error) {
		return net.ListenUDP(network, net.UDPAddrFromAddrPort(netip.AddrPortFrom(a, uint16(port))))
	}
	lo, hi := int(s.cfg.PortMin), int(s.cfg.PortMax)
	if port != 0 || lo == 0 {
		return open(port)
	}
	var err error
	for range portTries {
		var c *net.UDPConn
		if c, err = open(lo + rand.IntN(hi-lo+1)); err == nil {
			return c, nil
		}
	}
	return nil, err
}

// attach opens the path to the SFU on first use; a relay that has ended stays without.
func (r *relay) attach() bool {
	if r.send != nil {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over {
		return false
	}
	r.send, r.detach = r.s.peer.Attach(r.announced, r.fromPeer)
	return true
}

// WriteTo sends a client's packet to a peer. A packet for a peer that may not be reached is dropped: a permission is by address
// alone (RFC 8656 §9), but our SFU's address is only open on the SFU's own ports.
func (r *relay) WriteTo(p []byte, to net.Addr) (int, error) {
	udp, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, net.InvalidAddrError("no UDP address")
	}
	a := unmap(udp.AddrPort())
	if r.s.owns(a) {
		if r.attach() {
			r.s.count.memoryOut.Add(1)
			r.send(a, p)
		}
		return len(p), nil
	}
	if other := r.s.reg.relay(a); other != nil {
		r.s.count.memoryOut.Add(1)
		other.deliver(r.announced, p)
		return len(p), nil
	}
	if a.Addr() != r.outAddr {
		r.outAddr, r.outOK = a.Addr(), r.s.policy.allowed(a.Addr())
	}
	if !r.outOK || a.Port() == 0 {
		r.s.count.deniedPacket.Add(1)
		return len(p), nil
	}
	r.s.count.socketOut.Add(1)
	return r.socket.WriteToUDPAddrPort(p, a)
}

// fromPeer is what the SFU calls with its packets.
func (r *relay) fromPeer(from netip.AddrPort, pkt []byte) {
	r.s.count.memoryIn.Add(1)
	r.deliver(from, pkt)
}

// deliver queues a packet for the client, and never blocks.
func (r *relay) deliver(from netip.AddrPort, pkt []byte) {
	if len(pkt) > packetSize {
		r.s.count.oversized.Add(1)
		return
	}
	q := r.s.packets.Get().(*packet)
	q.n, q.from = copy(q.data[:], pkt), from
	select {
	case r.queue <- q:
	default:
		r.s.packets.Put(q)
		r.s.count.queueFull.Add(1)
	}
}

// readSocket moves what peers send to the relayed address into the queue until the relay ends. When the queue is full it waits, and
// the socket's own buffer overflows.
func (r *relay) readSocket() {
	defer r.s.leave()
	for {
		q := r.s.packets.Get().(*packet)
		n, from, err := r.socket.ReadFromUDPAddrPort(q.data[:])
		if err != nil {
			r.s.packets.Put(q)
			select {
			case <-r.closed:
				return
			default:
			}
			if isTemporary(err) {
				continue
			}
			r.Close() // pion/turn's goroutine sees it and ends the allocation
			return
		}
		q.n, q.from = n, unmap(from)
		if !r.mayComeFrom(q.from) {
			r.s.count.deniedPacket.Add(1)
			r.s.packets.Put(q)
			continue
		}
		select {
		case r.queue <- q:
			r.s.count.socketIn.Add(1)
		case <-r.closed:
			return
		}
	}
}

func (r *relay) mayComeFrom(a netip.AddrPort) bool {
	if a.Addr() != r.inAddr {
		r.inAddr, r.inOK = a.Addr(), r.s.policy.allowed(a.Addr())
	}
	return r.inOK || r.s.owns(a)
}

// ReadFrom gives the next packet from a peer.
func (r *relay) ReadFrom(p []byte) (int, net.Addr, error) {
	select {
	case q := <-r.queue:
		n := copy(p, q.data[:q.n])
		if q.from != r.from {
			r.from, r.fromNet = q.from, net.UDPAddrFromAddrPort(q.from)
		}
		r.s.packets.Put(q)
		return n, r.fromNet, nil
	case <-r.closed:
		return 0, nil, net.ErrClosed
	}
}

// Close ends the relay; further calls do nothing.
func (r *relay) Close() error {
	r.mu.Lock()
	if r.over {
		r.mu.Unlock()
		return nil
	}
	r.over = true
	detach := r.detach
	r.mu.Unlock()
	close(r.closed)
	err := r.socket.Close()
	if detach != nil {
		detach()
	}
	r.s.reg.remove(r)
	r.gate.removeClient(r)
	return err
}

// LocalAddr is the relayed address.
func (r *relay) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(r.announced) }

// SetDeadline and its kind are part of net.PacketConn; pion/turn does not use them on relays.
func (r *relay) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (r *relay) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (r *relay) SetWriteDeadline(time.Time) error { return nil }

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
