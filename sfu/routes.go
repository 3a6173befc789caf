package sfu

import (
	"net/netip"
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
	deliver func(from netip.AddrPort, pkt []byte)
	gone    atomic.Bool
	s       *SFU
}

func (r *relayPath) send(from netip.AddrPort, pkt []byte) {
	if r.gone.Load() {
		r.s.count.inc(cDropRelayGone)
		return
	}
	r.deliver(from, pkt)
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

// AttachRelay makes an in-memory path for a TURN allocation. What the TURN server relays to one of LocalAddrs is given to
// send and enters as if it came from the relay address; what the SFU sends to relay goes to deliver and not to a socket.
// pkt is not kept in either direction. deliver must not block; it is called from media workers. detach ends both directions.
func (s *SFU) AttachRelay(relay netip.AddrPort, deliver func(from netip.AddrPort, pkt []byte)) (send func(to netip.AddrPort, pkt []byte), detach func()) {
	relay = netip.AddrPortFrom(relay.Addr().Unmap(), relay.Port())
	p := &relayPath{relay: relay, deliver: deliver, s: s}
	s.routes.mu.Lock()
	if old := s.routes.relays[relay]; old != nil {
		old.gone.Store(true)
	} else {
		s.routes.some.Add(1)
	}
	s.routes.relays[relay] = p
	s.routes.mu.Unlock()
	send = func(to netip.AddrPort, pkt []byte) {
		if p.gone.Load() {
			s.count.inc(cDropRelayGone)
			return
		}
		to = netip.AddrPortFrom(to.Addr().Unmap(), to.Port())
		for i, a := range s.addrs {
			if a == to {
				s.inject(i, relay, pkt)
				return
			}
		}
		s.count.inc(cDropUnknownAddr)
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
