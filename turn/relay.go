package turn

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"konzil/internal/udpio"

	"github.com/pion/stun/v4"
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

	over   bool                                   // ended before the other one; of the gate's goroutine
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
	username string        // as authenticated
	user     string        // for quotas
	legs     []*leg        // not changed once made
	answer   []stun.Setter // what the success response says beside pion/turn's attributes

	table atomic.Pointer[table]
	over  atomic.Bool
	gone  chan struct{} // closed by Close

	mu sync.Mutex // guards legs' detach and the order of attaching and closing

	up   upState   // of the gate's goroutine
	down downState // see there
}

// newRelay opens a relay for the request that the gate handles now.
func (s *Server) newRelay(g *gate) (*relay, error) {
	r := &relay{s: s, gate: g, client: g.cur.from, username: g.cur.username, user: quotaName(g.cur.username), gone: make(chan struct{})}
	r.table.Store(emptyTable)
	if err := s.reg.room(r.user, r.client.Addr()); err != nil {
		return nil, err
	}
	if err := s.openLegs(r, &g.cur.wishes); err != nil {
		r.closeSockets()
		return nil, err
	}
	if err := s.reg.add(r); err != nil {
		r.closeSockets()
		return nil, err
	}
	g.setClient(r)
	s.count.allocations.Add(1)
	return r, nil
}

// openLegs opens what the wishes ask for. Of two relayed addresses one is enough (RFC 8656 §7.2).
func (s *Server) openLegs(r *relay, w *wishes) error {
	families, port := w.families(), 0
	if w.token != 0 {
		family, reserved, ok := s.claim(r.user, w.token)
		if !ok {
			return errFull // RFC 8656 §7.2: 508 for a token that is not, or no longer, valid
		}
		families, port = []byte{family}, reserved
	}
	var last error
	for _, family := range families {
		l, token, err := s.openLeg(r, family, port, w)
		if err != nil {
			code := stun.CodeInsufficientCapacity
			if !s.hasRelays(family) {
				code = stun.CodeAddrFamilyNotSupported
			}
			r.answer, last = append(r.answer, addressError(family, code)), err
			continue
		}
		if len(r.legs) > 0 {
			r.answer = append(r.answer, relayedAddress(l.announced))
		}
		if token != 0 {
			r.answer = append(r.answer, stun.RawAttribute{Type: stun.AttrReservationToken, Value: binary.BigEndian.AppendUint64(nil, token)})
		}
		r.legs = append(r.legs, l)
	}
	if len(r.legs) == 0 {
		return last
	}
	return nil
}

// openLeg opens a UDP socket on the relay address of a family, on the given port or a random one of the range (RFC 8656 §7.2), an even one if
// wished, with the next reserved if wished.
func (s *Server) openLeg(r *relay, family byte, port int, w *wishes) (_ *leg, token uint64, err error) {
	at, ok := s.relayAddress(family)
	if !ok {
		return nil, 0, errFull
	}
	loop := r.gate.link.loop()
	opt := udpio.SockOptions{Batch: relayBatch, ReadBuffer: relayBuffer, Refusals: true, Owner: r}
	lo, hi := int(s.cfg.PortMin), int(s.cfg.PortMax)
	tries := portTries
	if port != 0 || lo == 0 {
		lo, hi = port, port
	}
	if lo == hi && !w.even {
		tries = 1
	}
	err = errFull
	for range tries {
		next := lo + rand.IntN(hi-lo+1)
		if w.even && next%2 == 1 {
			continue
		}
		var sock *udpio.Sock
		if sock, err = loop.Open(netip.AddrPortFrom(at.Bind, uint16(next)), opt); err != nil {
			continue
		}
		l := &leg{sock: sock, announced: netip.AddrPortFrom(at.Announce, sock.LocalAddr().Port()), family: family}
		if w.even && l.announced.Port()%2 == 1 { // the kernel has chosen it
			_ = sock.Close()
			err = errFull
			continue
		}
		if w.reserve {
			if token, ok = s.reserve(r.user, l); !ok {
				_ = sock.Close()
				err = errFull
				continue
			}
		}
		return l, token, nil
	}
	return nil, 0, err
}

// leg gives the relayed address of a family, nil for none.
func (r *relay) leg(family byte) *leg {
	for _, l := range r.legs {
		if l.family == family && !l.over {
			return l
		}
	}
	return nil
}

// legsLeft is how many relayed addresses there are now.
func (r *relay) legsLeft() (n int) {
	for _, l := range r.legs {
		if !l.over {
			n++
		}
	}
	return n
}

// drop ends one relayed address of two. The gate's goroutine calls it.
func (r *relay) drop(family byte) {
	l := r.leg(family)
	if l == nil {
		return
	}
	l.over = true
	_ = l.sock.Close() // the relay may have ended meanwhile
	r.s.reg.forget(l.announced, r)
	r.mu.Lock()
	detach := l.detach
	l.detach = nil
	r.mu.Unlock()
	if detach != nil {
		detach()
	}
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
