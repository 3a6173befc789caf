package sfu

import (
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
)

// maxAddrs bounds the addresses of one transport: more than a client with many interfaces has.
const maxAddrs = 16

// routes finds the transport of a source address. Readers take the lock once per receive batch.
type routes struct {
	mu     sync.RWMutex // guards both maps
	byAddr map[netip.AddrPort]*transport
	relays map[netip.AddrPort]*relayPath
	some   atomic.Int32 // number of relays, to skip the look-up when there is none
}

// relayPath is an in-memory path through a TURN allocation.
type relayPath struct {
	relay   netip.AddrPort
	deliver func(from netip.AddrPort, pkts [][]byte)
	gone    atomic.Bool
	s       *SFU
	// as is, for each listening address, the public one that the client knows it by, if that is the first it used: answers have to come
	// from where the client sent to.
	as []atomic.Pointer[netip.AddrPort]
}

// send gives packets of listening address local to the relay.
func (r *relayPath) send(local int, pkts ...[]byte) {
	if r.gone.Load() {
		r.s.count.add(cDropRelayGone, uint64(len(pkts)))
		return
	}
	from := r.s.addrs[local]
	if a := r.as[local].Load(); a != nil {
		from = *a
	}
	r.deliver(from, pkts)
}

func (r *routes) init() {
	r.byAddr = map[netip.AddrPort]*transport{}
	r.relays = map[netip.AddrPort]*relayPath{}
}

// set gives addr to t. The newest claim wins: a client that came back may use its old port.
func (r *routes) set(addr netip.AddrPort, t *transport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byAddr[addr] == t {
		return
	}
	if len(t.addrs) >= maxAddrs {
		if r.byAddr[t.addrs[0]] == t {
			delete(r.byAddr, t.addrs[0])
		}
		t.addrs = append(t.addrs[:0], t.addrs[1:]...)
	}
	t.addrs = append(t.addrs, addr)
	r.byAddr[addr] = t
}

func (r *routes) has(addr netip.AddrPort, t *transport) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.byAddr[addr] == t
}

func (r *routes) drop(t *transport) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, a := range t.addrs {
		if r.byAddr[a] == t {
			delete(r.byAddr, a)
		}
	}
	t.addrs = nil
}

func (r *routes) relay(addr netip.AddrPort) *relayPath {
	if r.some.Load() == 0 {
		return nil
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.relays[addr]
}

// owner is the transport that addr belongs to.
func (r *routes) owner(addr netip.AddrPort) *transport {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.byAddr[addr]
}

// localOf finds the listening address that clients reach under an address: itself, or a public one.
func (s *SFU) localOf(to netip.AddrPort) (local int, advertised, ok bool) {
	for i, a := range s.addrs {
		if a == to {
			return i, false, true
		}
	}
	for _, m := range s.mapped() {
		if m.addr == to {
			return m.local, true, true
		}
	}
	return 0, false, false
}

// Owns tells whether AttachRelay's send takes packets for an address. Port 0 asks whether it does for any port of it.
func (s *SFU) Owns(to netip.AddrPort) bool {
	to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
	if to.Port() != 0 {
		_, _, ok := s.localOf(to)
		return ok
	}
	return slices.ContainsFunc(s.addrs, func(a netip.AddrPort) bool { return a.Addr() == to.Addr() }) ||
		slices.ContainsFunc(s.mapped(), func(m mapping) bool { return m.addr.Addr() == to.Addr() })
}

// AttachRelay makes an in-memory path for a TURN allocation. What the TURN server relays to an address that Owns says yes to is given to
// send, a batch at a time, and enters as if it came from the relay address; what the SFU sends to relay goes to deliver and not to a socket.
// pkts are not kept in either direction; send may change them. deliver must not block and must not call the SFU; it is called from media
// workers. detach ends both directions.
func (s *SFU) AttachRelay(relay netip.AddrPort, deliver func(from netip.AddrPort, pkts [][]byte)) (send func(to netip.AddrPort, pkts [][]byte), detach func()) {
	relay = netip.AddrPortFrom(relay.Addr().Unmap(), relay.Port())
	p := &relayPath{relay: relay, deliver: deliver, s: s, as: make([]atomic.Pointer[netip.AddrPort], len(s.addrs))}
	s.routes.mu.Lock()
	if old := s.routes.relays[relay]; old != nil {
		old.gone.Store(true)
	} else {
		s.routes.some.Add(1)
	}
	s.routes.relays[relay] = p
	s.routes.mu.Unlock()
	send = func(to netip.AddrPort, pkts [][]byte) {
		if p.gone.Load() {
			s.count.add(cDropRelayGone, uint64(len(pkts)))
			return
		}
		to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
		local, advertised, ok := s.localOf(to)
		if !ok {
			s.count.add(cDropUnknownAddr, uint64(len(pkts)))
			return
		}
		if p.as[local].Load() == nil {
			a := s.addrs[local]
			if advertised {
				a = to
			}
			p.as[local].CompareAndSwap(nil, &a)
		}
		s.count.add(cRelayIn, uint64(len(pkts)))
		s.inject(s.routes.owner(relay), local, relay, pkts)
	}
	detach = func() {
		p.gone.Store(true)
		s.routes.mu.Lock()
		defer s.routes.mu.Unlock()
		if s.routes.relays[relay] == p {
			delete(s.routes.relays, relay)
			s.routes.some.Add(-1)
		}
	}
	return send, detach
}
