package clock

import (
	"runtime"
	"sync/atomic"
	"time"
)

// Clock is what the engines of one load wait by. A sleep sets the CPU's timer, and on a virtual machine that is a call of the hypervisor, as is the
// switch to another process: 10 µs and more each time on the sleeper's account, more than all else that an engine does when it wakes up to
// send one picture. The zero value was not started: engines sleep by themselves.
type Clock struct {
	on   atomic.Bool
	idle atomic.Int64 // ns
}

// Start has sleepers look at the time from now on, for which each of them must have a CPU.
func (c *Clock) Start() { c.on.Store(true) }

// Idle is the CPU time in which sleepers have done nothing but to look at the time. A nil Clock has none.
func (c *Clock) Idle() time.Duration {
	if c == nil {
		return 0
	}
	return time.Duration(c.idle.Load())
}

const (
	// yieldEvery is less than the 10 ms after which the runtime's monitor takes a processor away from who does not give it.
	yieldEvery = int64(8 * time.Millisecond)
	// odd is a time between two looks that may not have been idle: if the thread did not run it is no CPU time. Most interrupts take less.
	odd = int64(100 * time.Microsecond)
)

// Sleeper is a goroutine that waits by a clock and keeps the runtime's processor meanwhile. It belongs to that goroutine.
type Sleeper struct {
	clock   *Clock
	yielded int64 // when others could run last, ns since 1970
	cpu     int64 // CPU time of the thread then, ns
	missed  int64 // how long it is known not to have run since
	idle    int64 // since
}

// Sleeper makes one. A nil Clock is one that was not started.
func (c *Clock) Sleeper() Sleeper { return Sleeper{clock: c} }

// On tells whether the clock was started.
func (s *Sleeper) On() bool { return s.clock != nil && s.clock.on.Load() }

// Until returns at a time, ns since 1970. Others run now and then.
func (s *Sleeper) Until(at int64) {
	for now := time.Now().UnixNano(); now < at; {
		now = s.Yield(now)
		now = s.poll(now, min(at, now+yieldEvery))
	}
}

// poll looks at the time from now until it has come, and returns it.
func (s *Sleeper) poll(now, until int64) int64 {
	idle := int64(0)
	for now < until {
		next := time.Now().UnixNano()
		if d := next - now; d < odd {
			idle += d
		} else {
			idle += d - s.gone(next, d)
		}
		now = next
	}
	s.idle += idle
	s.clock.idle.Add(idle)
	return now
}

// gone is how much of the last d ns the thread did not run.
func (s *Sleeper) gone(now, d int64) int64 {
	g := min(max(now-s.yielded-(threadCPU()-s.cpu)-s.missed, 0), d)
	s.missed += g
	return g
}

// Yield lets other goroutines run, who can only do so here, when they could not for a while. now is the time, ns since 1970; it returns what it is then.
func (s *Sleeper) Yield(now int64) int64 {
	if now-s.yielded < yieldEvery {
		return now
	}
	if more := s.idle - max(threadCPU()-s.cpu, 0); more > 0 { // than the thread has run
		s.clock.idle.Add(-more)
	}
	runtime.Gosched()
	s.yielded, s.cpu, s.missed, s.idle = time.Now().UnixNano(), threadCPU(), 0, 0
	return s.yielded
}
