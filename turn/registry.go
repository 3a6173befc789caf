package turn

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Why an allocation or a connection is not made.
var (
	errQuota = errors.New("turn: quota reached")
	errFull  = errors.New("turn: no more allocations")
)

// registry knows all live relays of the server and counts them for the quotas.
type registry struct {
	cfg     *Config
	version atomic.Uint64 // of relays: changed with each change, never 0

	mu         sync.RWMutex              // guards all below
	relays     map[netip.AddrPort]*relay // by each relayed address
	live       map[*relay]struct{}
	reserved   map[uint64]*reservation // by token
	byUser     map[string]int
	byAddr     map[netip.Addr]int
	streams    int
	streamAddr map[netip.Addr]int
	draining   bool
}

func newRegistry(cfg *Config) *registry {
	r := &registry{cfg: cfg, relays: map[netip.AddrPort]*relay{}, live: map[*relay]struct{}{}, reserved: map[uint64]*reservation{}, byUser: map[string]int{}, byAddr: map[netip.Addr]int{}, streamAddr: map[netip.Addr]int{}}
	r.version.Store(1)
	return r
}

// room tells whether user at addr may have one more allocation.
func (r *registry) room(user string, addr netip.Addr) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.roomLocked(user, addr)
}

func (r *registry) roomLocked(user string, addr netip.Addr) error {
	switch {
	case r.draining || len(r.live) >= r.cfg.MaxAllocations:
		return errFull
	case r.byUser[user] >= r.cfg.PerUser || r.byAddr[addr] >= r.cfg.PerAddress:
		return errQuota
	}
	return nil
}

func (r *registry) add(x *relay) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.roomLocked(x.user, x.client.Addr()); err != nil {
		return err
	}
	for _, l := range x.legs {
		r.relays[l.announced] = x
	}
	r.version.Add(1)
	r.live[x] = struct{}{}
	r.byUser[x.user]++
	r.byAddr[x.client.Addr()]++
	return nil
}

func (r *registry) remove(x *relay) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.live[x]; !ok {
		return
	}
	delete(r.live, x)
	for _, l := range x.legs {
		r.forgetLocked(l.announced, x)
	}
	down(r.byUser, x.user)
	down(r.byAddr, x.client.Addr())
}

// forget takes a relayed address from a relay that goes on without it.
func (r *registry) forget(a netip.AddrPort, x *relay) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgetLocked(a, x)
}

func (r *registry) forgetLocked(a netip.AddrPort, x *relay) {
	if r.relays[a] == x {
		delete(r.relays, a)
		r.version.Add(1)
	}
}

// reserve keeps a reservation until it is claimed or its time is over; false when there are too many.
func (r *registry) reserve(token uint64, x *reservation) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.draining || len(r.reserved) >= maxReservations || r.reserved[token] != nil {
		return false
	}
	r.reserved[token] = x
	x.timer = time.AfterFunc(reservationLife, func() {
		if r.claim(x.user, token) == x {
			x.hold.Close()
		}
	})
	return true
}

// claim takes a user's reservation out; nil when there is none.
func (r *registry) claim(user string, token uint64) *reservation {
	r.mu.Lock()
	defer r.mu.Unlock()
	x := r.reserved[token]
	if x == nil || x.user != user {
		return nil
	}
	delete(r.reserved, token)
	return x
}

// endReservations closes all that wait.
func (r *registry) endReservations() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for token, x := range r.reserved {
		x.timer.Stop()
		x.hold.Close()
		delete(r.reserved, token)
	}
}

func down[K comparable](m map[K]int, k K) {
	if m[k]--; m[k] <= 0 {
		delete(m, k)
	}
}

// relay gives the live relay with an address.
func (r *registry) relay(a netip.AddrPort) *relay {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.relays[a]
}

// hasAddr tells whether one of our relay addresses is at a, whatever the port.
func (r *registry) hasAddr(a netip.Addr) bool {
	for _, x := range r.cfg.Relays {
		if x.Announce == a {
			return true
		}
	}
	return false
}

// of gives the relays of whoever has time-limited credentials as user.
func (r *registry) of(user string) (all []*relay) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for x := range r.live {
		if _, u, ok := cutName(x.username); ok && u == user {
			all = append(all, x)
		}
	}
	return all
}

func (r *registry) addStream(a netip.Addr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.streams >= r.cfg.MaxStreams || r.streamAddr[a] >= r.cfg.PerAddress {
		return false
	}
	r.streams++
	r.streamAddr[a]++
	return true
}

func (r *registry) removeStream(a netip.Addr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.streams--
	down(r.streamAddr, a)
}

func (r *registry) drain(on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.draining = on
}

func (r *registry) isDraining() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.draining
}

func (r *registry) now() (allocations, streams int) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.live), r.streams
}
