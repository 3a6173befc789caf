package measure

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"konzil/bench/clock"
)

// sampleEvery is the distance of readings within an interval: one second, as the reports show.
const sampleEvery = time.Second

// sampler reads all counters each second while a load measures, in one goroutine of its own.
type sampler struct {
	target *Target
	load   Load
	beside []int                   // Config.Beside
	own    []int                   // Config.Own
	clock  *clock.Clock            // Plan.Clock
	tell   func(prev, now reading) // each second; nil is nobody

	mu       sync.Mutex // guards both below
	readings []reading
	err      error

	marked atomic.Int32 // times that Mark was called

	tree []int // the server's processes when the interval began; by mu

	stop chan struct{}
	wg   sync.WaitGroup
}

// startSampler takes the first reading before it returns.
func startSampler(t *Target, l Load, beside, own []int, c *clock.Clock, tell func(prev, now reading)) (*sampler, error) {
	s := &sampler{target: t, load: l, beside: beside, own: own, clock: c, tell: tell, stop: make(chan struct{})}
	if err := s.read(first); err != nil {
		return nil, err
	}
	s.wg.Go(func() {
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for {
			select {
			case <-s.stop:
				return
			case <-tick.C:
				if s.read(between) != nil {
					return // the end of the server is told by finish
				}
			}
		}
	})
	return s, nil
}

// position of a reading in its interval.
type position int

const (
	first position = iota
	between
	last
	opens // the window of the load
	closes
)

// markKey is where a context has the sampler of the interval that is measured.
type markKey struct{}

// Mark says that the window that a load counts begins now, and when it is called again that it ends: all CPU times are then taken over the time between,
// and what Measure does before and after, for itself, is nobody's. It does nothing while nothing is measured.
func Mark(ctx context.Context) {
	if s, ok := ctx.Value(markKey{}).(*sampler); ok {
		s.mark()
	}
}

// mark reads where the window begins or ends. A server that has ended is told by finish.
func (s *sampler) mark() {
	p := opens
	if s.marked.Add(1) > 1 {
		p = closes
	}
	_ = s.read(p)
}

// window is the readings between which the load counted: of its marks, or else of when it says that it began.
func window(rs []reading, s *Sample) (from, to reading) {
	from, to = rs[0], rs[len(rs)-1]
	if !s.Began.IsZero() {
		from, to = readingAt(rs, s.Began), readingAt(rs, s.Began.Add(s.Elapsed))
	}
	for _, r := range rs {
		switch r.pos {
		case opens:
			from = r
		case closes:
			to = r
		}
	}
	return from, to
}

// read takes one reading. Times are taken right beside the server's counters, which are what must be exact. The first and the last look for children of
// the server, which takes the generator milliseconds when the server has many threads: what it has used itself is read inside of that.
func (s *sampler) read(p position) error {
	r := reading{pos: p}
	var err error
	r.own = s.used()
	r.sent, r.delivered = s.load.Live()
	r.machine = readMachineTimes(s.own)
	for _, pid := range s.beside {
		used, _ := cpuClock(pid)
		r.machine.busy -= used
	}
	r.machine.busy -= s.clock.Idle()
	if len(s.target.PIDs) > 0 || s.target.Cgroup != "" {
		tree := s.processes(p == first || p == last)
		r.server, err = readUsage(s.target, tree, false)
	}
	r.at = time.Now()
	if p == first || p == opens {
		r.own = s.used()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.err = err
		return err
	}
	if n := len(s.readings); n > 0 && s.tell != nil {
		s.tell(s.readings[n-1], r)
	}
	s.readings = append(s.readings, r)
	return nil
}

// used is the CPU time of the generator, without what it was idle.
func (s *sampler) used() time.Duration { return ownUsage() - s.clock.Idle() }

// processes are those of the server.
func (s *sampler) processes(look bool) []int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if look {
		s.tree = processTree(s.target.PIDs)
	}
	return s.tree
}

// finish takes the last reading and gives them all.
func (s *sampler) finish() ([]reading, error) {
	err := s.read(last)
	close(s.stop)
	s.wg.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		err = s.err
	}
	return s.readings, err
}
