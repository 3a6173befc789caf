package measure

import (
	"sync"
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
)

// read takes one reading. Times are taken right beside the server's counters, which are what must be exact. The first and the last look for children of
// the server, which takes the generator milliseconds when the server has many threads: what it has used itself is read inside of that.
func (s *sampler) read(p position) error {
	var r reading
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
		tree := s.processes(p != between)
		r.server, err = readUsage(s.target, tree, false)
	}
	r.at = time.Now()
	if p == first {
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
