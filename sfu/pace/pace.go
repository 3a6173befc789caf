// Package pace bounds the bursts to one receiver: a leaky bucket that is filled by what is sent and emptied at a multiple of the
// receiver's estimate. Who asks first (Full) and counts (Sent) holds packets back while it is full, and lets them go at Tick.
//
// No goroutine, lock, clock or log; the zero value passes everything; times are nanoseconds.
package pace

// Numbers of the bucket.
const (
	gain      = 2.5       // rate over the estimate, as in libwebrtc's pacer: a large frame shall not wait long on a good path
	burstTime = 20 * 1e6  // ns at that rate that leave at once: two ticks,
	minBurst  = 10 * 1200 // and bytes at least, so that usual frames of slow receivers stay whole
	maxWait   = 400 * 1e6 // ns after which what is held back shall be gone: the rate rises for that

	// On a path that was full of late, what goes faster than it can only waits in its queue, and looks as if there were no room for a
	// layer whose keyframe it is.
	narrowGain  = 1.25
	narrowBurst = 3 * 1200
)

// Bucket is the state of one receiver.
type Bucket struct {
	on    bool
	level float64 // bytes
	burst float64
	at    int64
}

// Full says that nothing more should be sent now.
func (b *Bucket) Full() bool { return b.on && b.level > b.burst }

// Sent counts n bytes.
func (b *Bucket) Sent(n int) { b.level += float64(n) }

// Idle says that the bucket is empty and in use, and takes the place of a Tick then.
func (b *Bucket) Idle(now int64) bool {
	if !b.on || b.level > 0 {
		return false
	}
	b.at = now
	return true
}

// Tick empties the bucket for the time since the last one. estimate is in bits per second, 0: not known, everything passes. held are
// the bytes that wait, least is a rate that must be possible in any case. narrow says that the estimate is close to what the path carries.
func (b *Bucket) Tick(now int64, estimate, least float64, held int, narrow bool) {
	dt := float64(now - b.at)
	b.at = now
	if b.on = estimate > 0; !b.on {
		b.level = 0
		return
	}
	over, burst := gain, float64(minBurst)
	if narrow {
		over, burst = narrowGain, narrowBurst
	}
	rate := max(over*estimate, least, float64(held)*8e9/maxWait)
	b.burst = max(rate*burstTime/8e9, burst)
	b.level = max(0, b.level-rate*dt/8e9)
}
