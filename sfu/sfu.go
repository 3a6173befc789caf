package sfu

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"konzil/internal/udpio"
	"konzil/sfu/keying"
	"konzil/sfu/translator"
)

// maxShards bounds the media workers: no machine we know gains from more.
const maxShards = 64

// Errors that callers tell apart.
var (
	ErrClosed      = errors.New("sfu: closed")
	ErrDuplicate   = errors.New("sfu: id is taken")
	ErrLimit       = errors.New("sfu: limit reached")
	ErrNoChannel   = errors.New("sfu: no bridge channel")
	ErrChannelFull = errors.New("sfu: bridge channel queue is full")
	ErrTooLong     = errors.New("sfu: message too long")
	ErrSources     = errors.New("sfu: bad sources")
	ErrDescription = errors.New("sfu: bad transport description")
)

// SFU is one media server: its sockets, workers and conferences.
type SFU struct {
	cfg      Config
	log      *slog.Logger
	identity keying.Identity // what its transports prove by DTLS
	epoch    time.Time
	park     time.Duration // parkAfter; tests have less patience

	addrs  []netip.AddrPort
	shards []*shard
	users  iceUsers
	tcp    tcpServer
	nat    natWatch
	clock  clock
	done   chan struct{} // ends clock.run
	routes routes
	guest  atomic.Pointer[Guest]
	count  counters
	wg     sync.WaitGroup

	mu         sync.Mutex // guards all below
	made       int
	confs      map[string]*Conference
	translator *translator.Server // nil until the first group
	closed     bool
}

// New binds the sockets and starts the workers. The error names an address that is taken. A nil log is silent.
func New(cfg Config, log *slog.Logger) (*SFU, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	identity, err := keying.NewIdentity()
	if err != nil {
		return nil, err
	}
	listen, err := expand(cfg.Listen)
	if err != nil {
		return nil, err
	}
	var listenTCP []netip.AddrPort
	if len(cfg.ListenTCP) > 0 {
		if listenTCP, err = expand(cfg.ListenTCP); err != nil {
			return nil, err
		}
	}
	s := &SFU{cfg: cfg, log: log, identity: identity, epoch: time.Now(), park: parkAfter, confs: map[string]*Conference{}, done: make(chan struct{})}
	if err := s.clock.init(s); err != nil {
		return nil, fmt.Errorf("sfu: %w", err)
	}
	s.routes.init()
	s.users.init()
	s.tcp.init(s)
	for i := range cfg.Shards {
		s.shards = append(s.shards, newShard(s, i))
	}
	if err = s.bind(listen); err == nil {
		err = s.tcp.listen(listenTCP)
	}
	if err != nil {
		s.clock.alarm.Close()
		for _, sh := range s.shards {
			sh.closeConns()
		}
		return nil, err
	}
	for _, sh := range s.shards {
		sh.start()
	}
	s.tcp.serve()
	s.nat.start(s)
	s.clock.start()
	return s, nil
}

// bind opens each address once per shard. The kernel picks a port for 0, the other shards then share it.
func (s *SFU) bind(listen []netip.AddrPort) error {
	opt := udpio.Options{
		ReusePort: true, ReadBuffer: s.cfg.SocketBuffer, WriteBuf: s.cfg.SocketBuffer, NoOffload: s.cfg.NoOffload,
	}
	for _, a := range listen {
		// A taken port must be an error, but SO_REUSEPORT would join the other's group: ask without it first.
		if a.Port() != 0 {
			probe, err := udpio.Listen(a, udpio.Options{})
			if err != nil {
				return fmt.Errorf("sfu: %w", err)
			}
			_ = probe.Close()
		}
		var conns []*udpio.Conn
		for _, sh := range s.shards {
			c, err := udpio.Listen(a, opt)
			if err != nil {
				return fmt.Errorf("sfu: %w", err)
			}
			a = c.LocalAddr()
			sh.addConn(c)
			conns = append(conns, c)
		}
		if err := udpio.SendApart(conns); err != nil {
			s.log.Debug("no sockets that only send", "address", a, "reason", err)
		}
		s.addrs = append(s.addrs, a)
	}
	return nil
}

// expand replaces unspecified addresses by those of the interfaces that are up: global ones of the same family, loopback
// only when nothing else is there.
func expand(listen []netip.AddrPort) ([]netip.AddrPort, error) {
	var out []netip.AddrPort
	seen := map[netip.AddrPort]bool{}
	add := func(a netip.AddrPort) {
		if a.Port() == 0 || !seen[a] {
			seen[a] = true
			out = append(out, a)
		}
	}
	for _, l := range listen {
		if !l.Addr().IsUnspecified() {
			add(netip.AddrPortFrom(l.Addr().Unmap(), l.Port()))
			continue
		}
		ifs, err := net.InterfaceAddrs()
		if err != nil {
			return nil, fmt.Errorf("sfu: interface addresses: %w", err)
		}
		var loop []netip.Addr
		n := len(out)
		for _, ia := range ifs {
			p, err := netip.ParsePrefix(ia.String())
			if err != nil {
				continue
			}
			a := p.Addr().Unmap()
			switch {
			case a.Is4() != l.Addr().Is4() && !(l.Addr().Is6()):
			case a.IsLoopback():
				loop = append(loop, a)
			case a.IsGlobalUnicast():
				add(netip.AddrPortFrom(a, l.Port()))
			}
		}
		if len(out) == n {
			for _, a := range loop {
				add(netip.AddrPortFrom(a, l.Port()))
			}
		}
	}
	if len(out) == 0 {
		return nil, errors.New("sfu: no address to listen on")
	}
	return out, nil
}

// now is monotonic nanoseconds, the clock of all pure packages.
func (s *SFU) now() int64 { return int64(time.Since(s.epoch)) }

// LocalAddrs are the addresses that media is received on, with ports.
func (s *SFU) LocalAddrs() []netip.AddrPort { return append([]netip.AddrPort(nil), s.addrs...) }

// NewConference starts a conference whose doings are told to ev. Errors: ErrDuplicate, ErrLimit, ErrClosed.
func (s *SFU) NewConference(id string, ev Events) (*Conference, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, ErrClosed
	case s.confs[id] != nil:
		return nil, fmt.Errorf("%w: conference %q", ErrDuplicate, id)
	case len(s.confs) >= s.cfg.MaxConferences:
		return nil, fmt.Errorf("%w: %d conferences", ErrLimit, len(s.confs))
	}
	c := newConference(s, id, ev, s.lightest())
	s.confs[id] = c
	s.made++
	c.phase = s.made
	s.count.inc(cConferences)
	return c, nil
}

// lightest is the shard with the fewest endpoints.
func (s *SFU) lightest() *shard {
	best := s.shards[0]
	for _, sh := range s.shards[1:] {
		if sh.load.Load() < best.load.Load() {
			best = sh
		}
	}
	best.load.Add(1) // a conference weighs as one, so that empty ones are spread too
	return best
}

func (s *SFU) forget(c *Conference) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.confs[c.id] == c {
		delete(s.confs, c.id)
		s.count.add(cConferences, ^uint64(0))
		c.home.load.Add(-1)
	}
}

// Close ends all conferences and waits for every goroutine.
func (s *SFU) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	confs := make([]*Conference, 0, len(s.confs))
	for _, c := range s.confs {
		confs = append(confs, c)
	}
	translators := s.translator
	s.mu.Unlock()
	if translators != nil {
		_ = translators.Close()
	}
	for _, c := range confs {
		c.Close()
	}
	close(s.done)
	s.clock.alarm.Close()
	s.tcp.close()
	for _, sh := range s.shards {
		sh.stop()
	}
	s.wg.Wait()
	return nil
}

// sendControl sends one STUN datagram from listening address local.
func (s *SFU) sendControl(local int, b []byte, to netip.AddrPort) {
	if c := s.carrierOf(local, to); c != nil {
		c.send(local, b)
		return
	}
	if err := s.shards[0].conns[local].WriteTo(b, to); err != nil {
		s.count.inc(cDropSocket)
	}
}
