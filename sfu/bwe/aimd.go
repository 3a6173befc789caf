package bwe

import "math"

// Numbers of the rate controller (draft-ietf-rmcat-gcc-02 §5.5, and the values in use since).
const (
	beta          = 0.85      // what remains of the arriving rate after overuse
	growPerSecond = 1.08      // multiplicative increase
	startGrowth   = 1.5       // the same before the first sign of congestion
	ackedHeadroom = 1.5       // the estimate grows by itself only up to this multiple of what arrives,
	ackedSlack    = 10_000    // plus so many bits per second
	overuseDelay  = 100 * 1e6 // ns that detection takes, for the steps near the link's capacity
	maxStep       = 1e9       // ns: growth for a longer silence is not made up for
	minReduce     = 10 * 1e6  // ns between two decreases at least, and at most maxReduce: the round trip in between
	maxReduce     = 200 * 1e6
)

// aimd is the estimate by delay: additive or multiplicative increase, multiplicative decrease.
type aimd struct {
	rate         float64
	link         capacity
	congested    bool // overuse was seen at least once
	held         bool // no increase until delay is normal again
	lastChange   int64
	lastDecrease int64
}

// mayDecrease tells whether the last decrease had time to show, or is too small by far.
func (a *aimd) mayDecrease(now, rtt int64, acked float64) bool {
	return now-a.lastChange >= min(max(rtt, minReduce), maxReduce) || acked < a.rate/2
}

// decrease follows overuse, while acked arrives.
func (a *aimd) decrease(now int64, acked float64) {
	next := beta * acked
	if next > a.rate && a.link.known() {
		next = beta * a.link.mean
	}
	if acked < a.link.lower() {
		a.link = capacity{}
	}
	a.link.overuse(acked)
	a.rate = math.Min(a.rate, next)
	a.held, a.congested = true, true
	a.lastChange, a.lastDecrease = now, now
}

// increase lets the estimate grow for the time since the last change, not above limit. limited: the application sends less than it may.
func (a *aimd) increase(now, rtt int64, acked, limit float64, limited bool) {
	if a.held || a.lastChange == 0 {
		a.held, a.lastChange = false, now
		return
	}
	dt := float64(min(now-a.lastChange, maxStep)) / 1e9
	a.lastChange = now
	if acked > a.link.upper() {
		a.link = capacity{}
	}
	if a.rate >= limit || dt <= 0 {
		return
	}
	next := a.rate
	switch {
	case a.link.known(): // near where it broke: half a packet a round trip
		next += dt * math.Max(4000, packetBits(a.rate)*1e9/(2*float64(rtt+overuseDelay)))
	case a.congested || limited:
		next += math.Max(1000*dt, a.rate*(math.Pow(growPerSecond, dt)-1))
	default:
		next *= math.Pow(startGrowth, dt)
	}
	a.rate = math.Min(next, limit)
}

// packetBits is the usual size of packets at a rate, with 30 frames a second.
func packetBits(rate float64) float64 {
	frame := rate / 30
	return frame / math.Ceil(frame/(1200*8))
}

// capacity is what the link was seen to carry at overuse, with its deviation, in bits per second.
type capacity struct{ mean, dev float64 }

func (c *capacity) known() bool { return c.mean > 0 }

func (c *capacity) overuse(rate float64) {
	const alpha = 0.05
	k := rate / 1000
	if c.mean == 0 {
		*c = capacity{rate, 0.4}
		return
	}
	m := c.mean / 1000
	m += alpha * (k - m)
	// The variance is kept relative to the mean, in kbit/s.
	c.dev = math.Min(math.Max((1-alpha)*c.dev+alpha*(m-k)*(m-k)/math.Max(m, 1), 0.4), 2.5)
	c.mean = m * 1000
}

func (c *capacity) deviation() float64 { return 1000 * math.Sqrt(c.dev*c.mean/1000) }

func (c *capacity) upper() float64 {
	if c.mean == 0 {
		return math.Inf(1)
	}
	return c.mean + 3*c.deviation()
}

func (c *capacity) lower() float64 { return math.Max(0, c.mean-3*c.deviation()) }
