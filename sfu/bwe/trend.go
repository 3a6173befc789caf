package bwe

import "math"

type usage uint8

const (
	normal usage = iota
	overuse
	underuse
)

// Numbers of the trend-line filter and the adaptive threshold (draft-ietf-rmcat-gcc-02 §5.3, §5.4, and the values in use since).
const (
	trendLen    = 20   // points on the line
	smoothing   = 0.9  // of the accumulated delay
	gain        = 4.0  // on the slope
	maxDeltas   = 60   // the slope counts more with more points, up to here
	startThresh = 12.5 // ms
	minThresh   = 6.0
	maxThresh   = 600.0
	kUp, kDown  = 0.0087, 0.039 // speed of the threshold per ms
	overuseTime = 10.0          // ms that the slope must stay above
	maxAdapt    = 15.0          // ms above the threshold: a jump that says nothing about it
)

// trend finds out whether the one-way delay grows.
type trend struct {
	x, y      [trendLen]float64 // arrival and smoothed delay, ms
	n, head   int
	count     int
	first     int64
	acc, sm   float64
	thresh    float64
	lastAt    float64
	prev      float64
	overFor   float64 // ms
	overCount int
	state     usage
	leaps     leaps
}

func (t *trend) reset() { *t = trend{thresh: startThresh} }

// add takes the gaps between two bursts and when the second one arrived. moved is by how much, in ns, the path has become longer at once.
func (t *trend) add(dSend, dArrive, at int64) (moved int64) {
	if t.count == 0 {
		t.first = at
	}
	t.count++
	known, leapt := t.leaps.add(float64(dArrive-dSend) / 1e6)
	t.acc += known
	t.sm = smoothing*t.sm + (1-smoothing)*t.acc
	t.x[t.head], t.y[t.head] = float64(at-t.first)/1e6, t.sm
	t.head = (t.head + 1) % trendLen
	t.n = min(t.n+1, trendLen)
	if t.n < trendLen {
		return int64(leapt * 1e6)
	}
	slope := t.slope()
	t.state = t.detect(float64(min(t.count, maxDeltas))*slope*gain, float64(dSend)/1e6, float64(at-t.first)/1e6)
	return int64(leapt * 1e6)
}

// slope is that of the least squares line.
func (t *trend) slope() float64 {
	var mx, my float64
	for i := range t.n {
		mx += t.x[i]
		my += t.y[i]
	}
	mx /= float64(t.n)
	my /= float64(t.n)
	var num, den float64
	for i := range t.n {
		num += (t.x[i] - mx) * (t.y[i] - my)
		den += (t.x[i] - mx) * (t.x[i] - mx)
	}
	if den == 0 {
		return t.prev / gain / maxDeltas
	}
	return num / den
}

func (t *trend) detect(m, dt, now float64) usage {
	u := normal
	switch {
	case m > t.thresh:
		u = t.state // until it is sure
		if t.overFor == 0 && t.overCount == 0 {
			t.overFor = dt / 2 // it began somewhere in between
		} else {
			t.overFor += dt
		}
		t.overCount++
		if t.overFor > overuseTime && t.overCount > 1 && m >= t.prev {
			t.overFor, t.overCount = 0, 0
			u = overuse
		}
	case m < -t.thresh:
		t.overFor, t.overCount = 0, 0
		u = underuse
	default:
		t.overFor, t.overCount = 0, 0
	}
	t.prev = m
	t.adapt(m, now)
	return u
}

// adapt lets the threshold follow the slope, slowly up and slower down, so that competing flows do not starve this one.
func (t *trend) adapt(m, now float64) {
	if t.lastAt == 0 {
		t.lastAt = now
	}
	dt := math.Min(now-t.lastAt, 100)
	t.lastAt = now
	a := math.Abs(m)
	if a > t.thresh+maxAdapt {
		return
	}
	k := kUp
	if a < t.thresh {
		k = kDown
	}
	t.thresh = math.Min(math.Max(t.thresh+k*(a-t.thresh)*dt, minThresh), maxThresh)
}

// transit follows the time that packets are on their way, against the least of late: what is above that is a queue.
type transit struct {
	any     bool
	base    int64   // first ever; the clocks differ
	sm      float64 // ms above base, smoothed
	floor   [2]float64
	floorAt int64
}

// floorTime is how long a least time counts, once and at most twice: clocks drift, paths change.
const floorTime = 10e9

// add takes the newest packet of a burst.
func (t *transit) add(send, arrive int64) {
	if !t.any {
		*t = transit{any: true, base: arrive - send, floorAt: arrive}
		return
	}
	x := float64(arrive-send-t.base) / 1e6
	t.sm += (1 - smoothing) * (x - t.sm)
	if arrive-t.floorAt > floorTime {
		t.floor, t.floorAt = [2]float64{x, t.floor[0]}, arrive
	}
	t.floor[0] = math.Min(t.floor[0], x)
}

// move says that the path has become longer by d ns.
func (t *transit) move(d int64) {
	t.base += d
	t.sm = math.Max(0, t.sm-float64(d)/1e6)
}

// queue is how much longer packets take than they could, ns.
func (t *transit) queue() int64 {
	return int64(max(0, t.sm-math.Min(t.floor[0], t.floor[1])) * 1e6)
}
