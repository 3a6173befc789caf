package sfu

import (
	"sync/atomic"
	"time"

	"konzil/internal/udpio"
)

const (
	// clockPhases spread the looks of many conferences over the interval; few of them share one wake-up.
	clockPhases = 10
	clockFew    = 32
	// clockLapse is by how much the alarm is later than the next beat while receive batches are to ring it. A look that is so late is still in
	// time (lookLate).
	clockLapse = look * 3 / 4
)

// clock tells each conference and each shard when to look. While media come in, the first receive batch after the time has come rings it, and its alarm
// is put off each time. A timer of the runtime's wakes the sleeping process twice, once for itself and once for the runtime's monitor, which costs as much as
// tens of packets, and does so at the old time as well when it was put off.
type clock struct {
	s     *SFU
	alarm *udpio.Alarm
	beat  atomic.Int64  // s.now of the next one that batches ring; never: the alarm does it
	beats chan struct{} // see ring
}

func (c *clock) init(s *SFU) (err error) {
	c.s, c.beats = s, make(chan struct{}, 1)
	c.beat.Store(never)
	c.alarm, err = udpio.NewAlarm()
	return err
}

func (c *clock) start() {
	c.s.wg.Go(func() { c.alarm.Serve(c.ring) })
	c.s.wg.Go(c.run)
}

// due is asked by receive batches.
func (c *clock) due(now int64) {
	if now < c.beat.Load() {
		return
	}
	c.beat.Store(never) // until run has set the next one
	c.ring()
}

// ring has run go on.
func (c *clock) ring() {
	select {
	case c.beats <- struct{}{}:
	default:
	}
}

// run is the clock's goroutine.
func (c *clock) run() {
	c.alarm.Set(look)
	next := c.s.now()
	for phase, phases := 0, 1; ; phase++ {
		select {
		case <-c.s.done:
			return
		case <-c.beats:
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
		select {
		case <-c.beats: // the alarm's, which a batch has come before
		default:
		}
		c.alarm.Set(rest)
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
