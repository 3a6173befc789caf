package clock

import (
	"runtime"
	"time"
)

// yieldEvery is less than the 10 ms after which the runtime's monitor takes a processor away from who does not give it.
const yieldEvery = 4 * time.Millisecond

// Sleeper is a goroutine that sleeps by a clock and keeps the runtime's processor meanwhile.
type Sleeper struct {
	clock   *Clock
	place   int   // -1: there is no clock
	yielded int64 // when others could run last, ns since 1970
}

// Sleeper gives a place on the clock.
func (c *Clock) Sleeper() Sleeper { return Sleeper{clock: c, place: c.newPlace()} }

// On tells whether there is a clock to sleep by.
func (s *Sleeper) On() bool { return s.place >= 0 }

// Until blocks the thread until a time, ns since 1970, or less when a signal comes.
func (s *Sleeper) Until(at int64) { s.clock.sleep(s.place, at) }

// Yield lets other goroutines run, who can only do so here, when they could not for a while; now is ns since 1970.
func (s *Sleeper) Yield(now int64) {
	if now-s.yielded > int64(yieldEvery) {
		runtime.Gosched()
		s.yielded = now
	}
}
