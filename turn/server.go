package turn

import (
	"errors"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"konzil/internal/udpio"
)

// Server is a running STUN and TURN server.
type Server struct {
	cfg    Config
	log    *slog.Logger
	peer   InMemoryPeer // nil: none
	procs  *udpio.Processors
	creds  *credentials
	policy *policy
	reg    *registry
	count  counters

	started time.Time
	checks  atomic.Uint64 // health checks so far
	writes  sync.Pool     // of empty []byte, for TLS connections that have something to write

	accepted atomic.Uint64 // connections so far
	linksMu  sync.Mutex    // guards links
	links    []*streamLink

	udp, tcp []netip.AddrPort

	mu       sync.Mutex // guards the fields below
	open     map[io.Closer]struct{}
	closed   bool
	running  sync.WaitGroup // gates, handshakes, accept loops and the sweeper; Add under mu while not closed
	stopping chan struct{}  // closed by Close
}

// New opens all listeners of cfg and serves them. peer may be nil. An address that cannot be opened gives a *ListenError.
func New(cfg Config, peer InMemoryPeer, log *slog.Logger) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	s := &Server{log: log, peer: peer, procs: udpio.NewProcessors(), open: map[io.Closer]struct{}{}, stopping: make(chan struct{})}
	s.started = time.Now()
	s.makePools()
	cfg.Relays = relayAddresses(cfg)
	if cfg.Shards == 0 {
		cfg.Shards = runtime.GOMAXPROCS(0)
	}
	s.cfg = cfg
	var announced []netip.Addr
	for _, r := range cfg.Relays {
		announced = append(announced, r.Announce)
	}
	s.creds, s.policy, s.reg = newCredentials(cfg), newPolicy(cfg.Allow, cfg.Deny, announced), newRegistry(&s.cfg)
	for _, a := range cfg.UDP {
		if err := s.listenUDP(a); err != nil {
			s.Close()
			return nil, &ListenError{"udp", a, err}
		}
	}
	if len(cfg.TCP) > 0 {
		if _, err := s.streamLink(cfg.Shards - 1); err != nil {
			s.Close()
			return nil, err
		}
	}
	for _, a := range cfg.TCP {
		l, err := net.Listen(network("tcp", a), a.String())
		if err == nil {
			s.tcp = append(s.tcp, addrPort(l.Addr()))
			err = s.Serve(l)
		}
		if err != nil {
			s.Close()
			return nil, &ListenError{"tcp", a, err}
		}
	}
	return s, nil
}

func (s *Server) makePools() {
	s.writes.New = func() any { return make([]byte, 0, keepRest) }
}

// UDPAddrs are the addresses that UDP is served on, in the order of the configuration.
func (s *Server) UDPAddrs() []netip.AddrPort { return s.udp }

// TCPAddrs are the addresses that TCP is served on, in the order of the configuration.
func (s *Server) TCPAddrs() []netip.AddrPort { return s.tcp }

// Credentials makes a name and password that are good for ttl (draft-uberti-behave-turn-rest-00). user may be any text
// of up to 400 bytes without a line break; what stands before the first slash is whose quota it counts for, the rest can tell sessions apart.
func (s *Server) Credentials(user string, ttl time.Duration) (username, password string, expires time.Time) {
	return s.creds.issue(user, ttl)
}

// Revoke ends all credentials that Credentials has made for a user so far, and their allocations.
func (s *Server) Revoke(user string) {
	s.creds.revoke(user)
	for _, r := range s.reg.of(user) {
		r.Close()
	}
}

// Drain refuses new allocations (508) and leaves the others, until it is told otherwise; Counters tells allocations_now.
func (s *Server) Drain(on bool) { s.reg.drain(on) }

// Close ends all listeners, connections and allocations and waits for their goroutines.
func (s *Server) Close() error {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.stopping)
	}
	all := make([]io.Closer, 0, len(s.open))
	for c := range s.open {
		all = append(all, c)
	}
	s.mu.Unlock()
	var errs []error
	for _, c := range all {
		if err := c.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	s.running.Wait()
	s.procs.Close()
	s.reg.endReservations()
	return errors.Join(errs...)
}

// clock is the time since the start, nanoseconds; never 0.
func (s *Server) clock() int64 { return int64(time.Since(s.started)) + 1 }

// enter counts a goroutine that Close waits for; false when the server is closed.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.running.Add(1)
	return true
}

func (s *Server) leave() { s.running.Done() }

// track remembers what Close has to close; false when the server is closed.
func (s *Server) track(c io.Closer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.open[c] = struct{}{}
	}
	return !s.closed
}

func (s *Server) forget(c io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

// pause waits; false when the server is closed meanwhile.
func (s *Server) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-s.stopping:
		return false
	}
}

// owns tells whether the SFU has an address; port 0 asks for any port.
func (s *Server) owns(a netip.AddrPort) bool { return s.peer != nil && s.peer.Owns(a) }

// mayPermit tells whether a client may have a permission for a peer's address: it may be reached over a socket, or it is the SFU's or
// a relay's, of which relay.WriteTo then opens no other port.
func (s *Server) mayPermit(a netip.Addr) bool {
	return s.policy.allowed(a) || a.Zone() == "" && (s.owns(netip.AddrPortFrom(a, 0)) || s.reg.hasAddr(a))
}

// hasRelays tells whether there are relay addresses of a family.
func (s *Server) hasRelays(family byte) bool {
	_, ok := s.relayAddress(family)
	return ok
}

// relayAddress gives the relay address of a family (RFC 8656 §18.6).
func (s *Server) relayAddress(family byte) (RelayAddress, bool) {
	i := slices.IndexFunc(s.cfg.Relays, func(r RelayAddress) bool {
		return family == familyIPv4 && r.Announce.Is4() || family == familyIPv6 && r.Announce.Is6()
	})
	if i < 0 {
		return RelayAddress{}, false
	}
	return s.cfg.Relays[i], true
}

// relayAddresses completes the configured ones, or makes them of the listen addresses; instead of a wildcard it takes the address that the
// system sends from.
func relayAddresses(c Config) (all []RelayAddress) {
	for _, r := range c.Relays {
		r.Bind = r.Bind.Unmap()
		if !r.Announce.IsValid() {
			r.Announce = r.Bind
		}
		r.Announce = r.Announce.Unmap()
		all = append(all, r)
	}
	if len(all) > 0 {
		return all
	}
	for _, l := range slices.Concat(c.UDP, c.TCP) {
		a := l.Addr().Unmap()
		if a.IsUnspecified() {
			a = outgoing(a.Is4())
		}
		if a.IsValid() && !slices.Contains(all, RelayAddress{a, a}) {
			all = append(all, RelayAddress{a, a})
		}
	}
	return all
}

// outgoing is the address that packets to the internet leave from; connecting a UDP socket sends nothing.
func outgoing(v4 bool) netip.Addr {
	network, to := "udp6", "[2001:db8::1]:9"
	if v4 {
		network, to = "udp4", "192.0.2.1:9"
	}
	c, err := net.Dial(network, to)
	if err != nil {
		if v4 {
			return netip.AddrFrom4([4]byte{127, 0, 0, 1}) // no network: what is left is this machine
		}
		return netip.Addr{}
	}
	defer c.Close()
	return addrPort(c.LocalAddr()).Addr()
}

func network(kind string, a netip.AddrPort) string {
	if a.Addr().Unmap().Is4() {
		return kind + "4"
	}
	return kind + "6"
}

func addrPort(a net.Addr) netip.AddrPort {
	switch t := a.(type) {
	case *net.UDPAddr:
		return unmap(t.AddrPort())
	case *net.TCPAddr:
		return unmap(t.AddrPort())
	}
	return netip.AddrPort{}
}
