package bwe

// window measures a rate in buckets of time.
type window struct {
	bits  [windowLen]float32
	at    int64 // index of the newest bucket
	since int64 // first bucket ever
}

const (
	bucket      = 25 * 1e6 // ns
	windowLen   = 20       // 500 ms in all
	shortWindow = 8        // buckets: 200 ms, when the path has just become narrower
)

func (w *window) move(now int64) {
	i := now / bucket
	if w.since == 0 || uint64(i-w.at+windowLen) > 2*windowLen {
		// Nothing for a whole window, or the clock was set back: what comes next is measured afresh.
		*w = window{at: i, since: i}
		return
	}
	for w.at < i {
		w.at++
		w.bits[w.at%windowLen] = 0
	}
}

// add counts bytes at time t; what is older than the newest bucket counts there.
func (w *window) add(t int64, bytes int) {
	w.move(t)
	w.bits[w.at%windowLen] += float32(bytes) * 8
}

// rate is in bits per second over the last n whole buckets that there are, up to the newest addition; 0: too few to mean anything.
func (w *window) rate(n int64) float64 {
	n = min(n, w.at-w.since, windowLen-1)
	if n < 4 {
		return 0
	}
	var sum float32
	for i := range n {
		sum += w.bits[(w.at-1-i)%windowLen]
	}
	return float64(sum) * 1e9 / (float64(n) * bucket)
}
