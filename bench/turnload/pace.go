package turnload

import "time"

// pacer says when bursts are due at a rate of packets per second. A sender that fell behind by more than late skips what it owes.
type pacer struct {
	rate, burst int64
	due         int64 // packets that were to be sent before the next burst
	skipped     uint64
}

// wait tells how long after at, the time since the start, the next burst is due; 0 or less is now.
func (p *pacer) wait(at time.Duration) time.Duration {
	behind := int64(at)*p.rate/int64(time.Second) - p.due
	if most := int64(late) * p.rate / int64(time.Second); behind > max(most, p.burst) {
		skip := behind / p.burst * p.burst
		p.skipped += uint64(skip)
		p.due += skip
	}
	return time.Duration(p.due*int64(time.Second)/p.rate) - at
}

func (p *pacer) sent() { p.due += p.burst }
