package translator

import (
	"cmp"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"time"

	"konzil/internal/udpio"
)

// pairTries is how often the kernel is asked for an even port with a free odd one behind it.
const pairTries = 64

// Server has the workers and the ports.
type Server struct {
	cfg     Config
	log     *slog.Logger
	epoch   time.Time
	workers []*worker
	count   counters
	wg      sync.WaitGroup
	done    chan struct{}

	mu     sync.Mutex // guards all below; taken before a worker's
	groups map[*Group]struct{}
	port   int // of the range: where to look next
	closed bool
}

// New starts the workers. A nil log is silent.
func New(cfg Config, log *slog.Logger) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{cfg: cfg, log: log, epoch: time.Now(), groups: map[*Group]struct{}{}, done: make(chan struct{})}
	for range cfg.Workers {
		w, err := newWorker(s)
		if err != nil {
			for _, w := range s.workers {
				_ = w.loop.Close()
			}
			return nil, fmt.Errorf("translator: %w", err)
		}
		s.workers = append(s.workers, w)
	}
	for _, w := range s.workers {
		s.wg.Go(w.run)
		s.wg.Go(w.ticks)
	}
	return s, nil
}

func (s *Server) now() int64 { return int64(time.Since(s.epoch)) }

// Open makes a group without channels; ev may be nil. Errors: ErrLimit, ErrClosed.
func (s *Server) Open(id string, ev Events) (*Group, error) { return s.open(id, ev, nil) }

// open makes a group on a worker, nil: on the one with the fewest.
func (s *Server) open(id string, ev Events, w *worker) (*Group, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, ErrClosed
	case len(s.groups) >= s.cfg.MaxGroups:
		return nil, fmt.Errorf("%w: %d groups", ErrLimit, len(s.groups))
	}
	if ev == nil {
		ev = noEvents{}
	}
	if w == nil {
		w = slices.MinFunc(s.workers, func(a, b *worker) int { return cmp.Compare(a.load.Load(), b.load.Load()) })
	}
	g := &Group{s: s, w: w, id: id, ev: ev, log: s.log.With("group", id), channels: map[*Channel]struct{}{}}
	s.groups[g] = struct{}{}
	w.load.Add(1)
	s.count.inc(cGroups)
	return g, nil
}

// Close ends all groups and waits for the goroutines.
func (s *Server) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	all := make([]*Group, 0, len(s.groups))
	for g := range s.groups {
		all = append(all, g)
	}
	s.mu.Unlock()
	for _, g := range all {
		g.Close()
	}
	close(s.done)
	for _, w := range s.workers {
		_ = w.loop.Close()
	}
	s.wg.Wait()
	return nil
}

// ports opens those of a transport: two neighbours, the first even (RFC 3550 §11), since oldest clients take the second for granted; of a bundle the
// first alone.
func (s *Server) ports(t *transport, at netip.Addr) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	open := func(k int, port uint16) (err error) {
		t.comp[k].sock, err = t.w.loop.Open(netip.AddrPortFrom(at, port), udpio.SockOptions{
			Batch: sockBatch, ReadBuffer: s.cfg.SocketBuffer, WriteBuffer: s.cfg.SocketBuffer, NoOffload: s.cfg.NoOffload, Owner: &t.comp[k],
		})
		return err
	}
	var last error
	for range s.tries() {
		if last = open(0, s.candidate()); last != nil {
			continue
		}
		if len(t.comp) == 1 {
			return nil
		}
		p := t.comp[0].sock.LocalAddr().Port()
		if p%2 == 0 {
			if last = open(1, p+1); last == nil {
				return nil
			}
		}
		_ = t.comp[0].sock.Close()
		t.comp[0].sock = nil
	}
	return fmt.Errorf("%w at %s: %w", ErrPorts, at, last)
}

// tries is how many ports may be looked at.
func (s *Server) tries() int {
	if s.cfg.PortMin == 0 {
		return pairTries
	}
	return (int(s.cfg.PortMax)-int(s.cfg.PortMin)+1)/2 + 1
}

// candidate is the even port to try next. Caller holds s.mu.
func (s *Server) candidate() uint16 {
	if s.cfg.PortMin == 0 {
		return 0
	}
	first := (int(s.cfg.PortMin) + 1) &^ 1
	if s.port < first || s.port+1 > int(s.cfg.PortMax) {
		s.port = first
	}
	p := s.port
	s.port += 2
	return uint16(p)
}
