package sfu

import (
	"sync/atomic"
	"time"
)

const (
	// clockPhases spread the looks of many conferences over the interval; few of them share one wake-up.
	clockPhases = 10
	clockFew    = 32
	// clockLapse is by how much the clock's timer is later than the next beat while receive batches are to ring it. A look that is so late is still in
	// time (lookLate).
	clockLapse = look * 3 / 4
)

// clock tells each conference and each shard when to look. While media come in, the first receive batch after the time has come rings it, and its timer
// is put off each time: a timer that fires wakes the sleeping process twice, once for itself and once for the runtime's monitor, and each of these
// costs as much as tens of packets.
type clock struct {
	s    *SFU
	beat atomic.Int64  // s.now of the next one that batches ring; never: the timer does it
	ring chan struct{} // see due
}

func (c *clock) init(s *SFU) {
	c.s, c.ring = s, make(chan struct{}, 1)
	c.beat.Store(never)
}

// due is asked by receive batches.
func (c *clock) due(now int64) {
	if now < c.beat.Load() {
		return
	}
	c.beat.Store(never) // until run has set the next one
	select {
	case c.ring <- struct{}{}:
	default:
	}
}

// run is the clock's goroutine.
func (c *clock) run() {
	t := time.NewTimer(look)
	defer t.Stop()
	next := c.s.now()
	for phase, phases := 0, 1; ; phase++ {
		select {
		case <-c.s.done:
			return
		case <-c.ring:
		case <-t.C:
		}
		now := c.s.now()
		flows := false
		for _, sh := range c.s.shards {
			flows = sh.look(now) || flows
		}
		phases = c.s.tellLook(phase, phases)
		every := look / time.Duration(phases)
		next = max(next+int64(every), now+int64(every)/2)
		rest, beat := time.Duration(next-now), int64(never)
		if flows && phases == 1 { // many conferences need it more often than batches may come
			rest, beat = rest+clockLapse, next
		}
		t.Reset(rest)
		c.beat.Store(beat)
	}
}

// tellLook has the conferences of a phase look, and says how many phases there are to be.
func (s *SFU) tellLook(phase, phases int) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.confs {
		if c.phase%phases == phase%phases {
			select {
			case c.looks <- struct{}{}:
			default:
			}
		}
	}
	if len(s.confs) > clockFew {
		return clockPhases
	}
	return 1
}
