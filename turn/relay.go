package turn

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"konzil/internal/udpio"
)

const (
	// packetSize bounds a STUN request; 1600 is pion/turn's own limit, above any Ethernet frame.
	packetSize = 1600
	// portTries is how many ports of the range are tried before 508: with three quarters in use, 32 tries fail once in 10,000 times.
	portTries = 32
	// relayBatch is how many datagrams, or runs of them, are taken from one relay socket before the next one's turn.
	relayBatch = 8
	// relayBuffer is asked for as receive buffer of a relay socket, bytes: a key frame of a fast sender. The kernel takes memory only for
	// what waits.
	relayBuffer = 1 << 20
)

// InMemoryPeer is a peer in this process, our own SFU, that relays reach without a socket. All methods may be called from any
// goroutine.
type InMemoryPeer interface {
	// Owns tells whether addr is one of the peer's, as clients know it. Port 0 asks whether any port of that address is.
	Owns(addr netip.AddrPort) bool
	// Attach opens a path for the allocation whose relayed address is relay. The peer gives packets for relay to deliver, which
	// neither blocks nor keeps pkts; packets of the allocation for an owned address come by send, a batch at a time, which must not
	// block and must not keep pkts. detach ends both directions.
	Attach(relay netip.AddrPort, deliver func(from netip.AddrPort, pkts [][]byte)) (send func(to netip.AddrPort, pkts [][]byte), detach func())
}

// leg is a relayed address of an allocation: one, or an IPv4 and an IPv6 one (RFC 8656 §7.2).
type leg struct {
	sock      *udpio.Sock
	announced netip.AddrPort
	family    byte

	send   func(to netip.AddrPort, pkts [][]byte) // to the SFU, of the gate's goroutine; nil: not attached yet
	detach func()                                 // guarded by relay.mu
}

// relay is one allocation's side towards its peers.
//
// Invariants:
//   - What comes from the client is handled by the gate's goroutine alone; what comes from peers by the goroutine of the loop that its
//     sockets are in, and by who delivers in memory.
//   - Nothing reaches or comes from an address without a permission, and none that the policy does not allow.
type relay struct {
	s        *Server
	gate     *gate
	client   netip.AddrPort
	username string // as authenticated
	user     string // for quotas
	legs     []*leg // not changed once made

	table atomic.Pointer[table]
	over  atomic.Bool
	gone  chan struct{} // closed by Close

	mu sync.Mutex // guards legs' detach and the order of attaching and closing

	up   upState   // of the gate's goroutine
	down downState // see there
}

// newRelay opens a relay for the request that the gate handles now. port 0 is any of the range.
func (s *Server) newRelay(g *gate, port int) (*relay, error) {
	r := &relay{s: s, gate: g, client: g.cur.from, username: g.cur.username, user: quotaName(g.cur.username), gone: make(chan struct{})}
	r.table.Store(emptyTable)
	if err := s.reg.room(r.user, r.client.Addr()); err != nil {
		return nil, err
	}
	for i, family := range g.cur.families() {
		l, err := s.openLeg(r, family, port)
		if err != nil && i == 0 {
			return nil, err
		}
		if err == nil { // without the additional address the allocation still stands (RFC 8656 §7.2)
			r.legs = append(r.legs, l)
		}
	}
	if err := s.reg.add(r); err != nil {
		r.closeSockets()
		return nil, err
	}
	g.setClient(r)
	s.count.allocations.Add(1)
	return r, nil
}

// openLeg opens a UDP socket on the relay address of a family, on the given port or a random one of the range (RFC 8656 §7.2).
func (s *Server) openLeg(r *relay, family byte, port int) (*leg, error) {
	at, ok := s.relayAddress(family)
	if !ok {
		return nil, errFull
	}
	loop := r.gate.link.loop()
	opt := udpio.SockOptions{Batch: relayBatch, ReadBuffer: relayBuffer, Owner: r}
	open := func(port int) (*udpio.Sock, error) {
		return loop.Open(netip.AddrPortFrom(at.Bind, uint16(port)), opt)
	}
	lo, hi := int(s.cfg.PortMin), int(s.cfg.PortMax)
	tries := portTries
	if port != 0 || lo == 0 {
		lo, hi, tries = port, port, 1
	}
	var sock *udpio.Sock
	var err error
	for range tries {
		if sock, err = open(lo + rand.IntN(hi-lo+1)); err == nil {
			return &leg{sock: sock, announced: netip.AddrPortFrom(at.Announce, sock.LocalAddr().Port()), family: family}, nil
		}
	}
	return nil, err
}

// leg gives the relayed address of a family, nil for none.
func (r *relay) leg(family byte) *leg {
	for _, l := range r.legs {
		if l.family == family {
			return l
		}
	}
	return nil
}

func familyOf(a netip.Addr) byte {
	if a.Is4() {
		return familyIPv4
	}
	return familyIPv6
}

// attach opens the path to the SFU on first use; a relay that has ended stays without.
func (r *relay) attach(l *leg) bool {
	if l.send != nil {
		return true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.over.Load() {
		return false
	}
	l.send, l.detach = r.s.peer.Attach(l.announced, func(from netip.AddrPort, pkts [][]byte) {
		r.s.count.memoryIn.Add(uint64(len(pkts)))
		r.deliver(from, pkts)
	})
	return true
}

// granted takes over what pion/turn has granted with a success response. It is called by the gate's goroutine alone.
func (r *relay) granted(q *request, now int64) {
	if q.channel != 0 {
		r.table.Store(r.table.Load().bind(q.channel, q.peers[0], now))
	} else {
		r.table.Store(r.table.Load().permit(q.peers, now))
	}
}

// Close ends the relay; further calls do nothing.
func (r *relay) Close() error {
	r.mu.Lock()
	if !r.over.CompareAndSwap(false, true) {
		r.mu.Unlock()
		return nil
	}
	var detach []func()
	for _, l := range r.legs {
		if l.detach != nil {
			detach = append(detach, l.detach)
		}
	}
	r.mu.Unlock()
	close(r.gone)
	r.closeSockets()
	for _, f := range detach {
		f()
	}
	r.s.reg.remove(r)
	r.gate.removeClient(r)
	return nil
}

func (r *relay) closeSockets() {
	for _, l := range r.legs {
		_ = l.sock.Close() // the loop may have closed it before
	}
}

// ReadFrom is where pion/turn's goroutine of the allocation waits for its end: what peers send does not go through it.
func (r *relay) ReadFrom([]byte) (int, net.Addr, error) {
	<-r.gone
	return 0, nil, net.ErrClosed
}

// WriteTo is not used: what clients send does not go through pion/turn.
func (r *relay) WriteTo([]byte, net.Addr) (int, error) { return 0, net.ErrClosed }

// LocalAddr is the relayed address.
func (r *relay) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(r.legs[0].announced) }

// SetDeadline and its kind are part of net.PacketConn; pion/turn does not use them on relays.
func (r *relay) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (r *relay) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (r *relay) SetWriteDeadline(time.Time) error { return nil }

func unmap(a netip.AddrPort) netip.AddrPort { return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()) }
