// Package bwe estimates how much may be sent to one receiver, from transport-wide feedback (package twcc), receiver reports and the
// round-trip time. The structure is that of "A Google Congestion Control Algorithm for Real-Time Communication"
// (draft-ietf-rmcat-gcc-02) with its later trend-line filter:
//
//  1. group.go joins packets sent in one burst and measures how the gap between bursts changed on the way;
//  2. trend.go fits a line to the accumulated delay and compares its slope with an adaptive threshold: overuse, underuse or normal;
//  3. bwe.go (Estimator) moves the estimate: down to 85 % of what arrived at overuse, down with loss above 10 %, up by 8 % a second
//     otherwise; an estimate is never lowered because little was sent.
//
// While little is sent, what arrives says nothing about the path, and a jolt of a busy machine looks like a queue. So overuse then takes
// only 15 % off, and never below modest; and after a quiet moment the estimate climbs back fast to where it was before the first
// cut. That climb is the probe: what the estimate then lets through shows whether it holds. Each time it does not, the next
// climb waits twice as long.
//
// No goroutine, lock, clock or log; for one user at a time; times are nanoseconds, rates bits per second.
package bwe

import (
	"math"

	"konzil/sfu/twcc"
)

// Defaults of Config.
const (
	DefaultStart = 2_500_000
	DefaultMin   = 30_000
	DefaultMax   = 20_000_000
)

// Numbers of the rate controller (draft-ietf-rmcat-gcc-02 §5.5, §6).
const (
	beta          = 0.85       // what remains of the arriving rate after overuse
	growPerSecond = 1.08       // multiplicative increase
	startGrowth   = 1.5        // per second, before the first sign of congestion and while the estimate is used
	ackedHeadroom = 1.5        // the estimate grows fast only up to this multiple of what arrives
	usedShare     = 0.8        // of the estimate: more is not limited by the application
	lossHigh      = 0.10       // above: decrease
	lossLow       = 0.02       // below: increase allowed
	holdAfter     = 1e9        // ns without increase after a decrease
	minDecrease   = 200 * 1e6  // ns between two decreases, plus the round trip
	rateWindow    = 500 * 1e6  // ns over which the arriving rate is measured
	lossWindow    = 1000 * 1e6 // ns over which feedback's losses are counted
	minLossCount  = 20         // packets that make a loss figure
	maxStep       = 1e9        // ns: growth for a longer silence is not made up for

	modest       = 300_000 // bits per second that a mere trend of delay cannot talk an application-limited estimate below
	climbRate    = 2.0     // per second, back to where the estimate was
	climbWaitMin = 1e9     // ns without overuse before a climb
	climbWaitMax = 32e9    // the same after many that failed
	climbForget  = 60e9    // ns without overuse after which failures are forgotten
)

// Config bounds an estimate; zero fields get defaults.
type Config struct{ Start, Min, Max uint64 }

// Estimator is the estimate of one receiver. Use New.
type Estimator struct {
	cfg  Config
	rate float64

	groups groups
	trend  trend
	acked  window // what arrives, by when we heard of it
	sent   window // what was sent, arrived or not, by when it was sent
	sentAt int64  // of the newest in sent

	congested    bool // overuse or loss was seen at least once
	lastGrow     int64
	lastDecrease int64
	nearMax      float64 // rate at which overuse was met, slowly forgotten; 0: unknown
	rtt          int64
	before       float64 // estimate before the cuts that are not climbed back yet; 0: none
	climbWait    int64
	climbed      bool // since the last cut the estimate has climbed

	lossFrom  int64
	lost, got int
	lossSeen  float64 // last finished figure
	limited   bool
}

// New makes an estimator.
func New(cfg Config) *Estimator {
	if cfg.Start == 0 {
		cfg.Start = DefaultStart
	}
	if cfg.Min == 0 {
		cfg.Min = DefaultMin
	}
	if cfg.Max == 0 {
		cfg.Max = DefaultMax
	}
	cfg.Max = max(cfg.Max, cfg.Min)
	e := &Estimator{cfg: cfg, rtt: 100 * 1e6, limited: true}
	e.set(float64(cfg.Start))
	e.trend.reset()
	return e
}

func (e *Estimator) set(r float64) {
	e.rate = math.Min(math.Max(r, float64(e.cfg.Min)), float64(e.cfg.Max))
}

// OnFeedback takes what feedback that arrived now said, in order of sequence numbers.
func (e *Estimator) OnFeedback(now int64, acked []twcc.Acked) {
	usage := normal
	for i := range acked {
		a := &acked[i]
		if a.SendTime >= e.sentAt {
			e.sentAt = a.SendTime
			e.sent.add(a.SendTime, a.Size)
		}
		if a.ArrivalTime < 0 {
			e.lost++
			continue
		}
		e.got++
		e.acked.add(now, a.Size)
		if dSend, dArrive, at, ok := e.groups.add(a.SendTime, a.ArrivalTime); ok {
			if u := e.trend.add(dSend, dArrive, at); u != normal {
				usage = u
			}
		}
	}
	if e.lossFrom == 0 {
		e.lossFrom = now
	}
	if now-e.lossFrom >= lossWindow && e.lost+e.got >= minLossCount {
		f := float64(e.lost) / float64(e.lost+e.got)
		e.lost, e.got, e.lossFrom = 0, 0, now
		e.onLoss(now, f)
	}
	switch usage {
	case overuse:
		e.onOveruse(now)
	case normal:
		e.grow(now)
	case underuse: // queues are draining: neither up nor down
		e.lastGrow = now
	}
}

// OnLossReport takes the fraction lost (1/256) of a receiver report. With transport-wide feedback it is not needed.
func (e *Estimator) OnLossReport(now int64, fraction uint8) {
	e.onLoss(now, float64(fraction)/256)
	if fraction == 0 {
		e.grow(now)
	}
}

// OnRTT takes a measured round-trip time.
func (e *Estimator) OnRTT(ns int64) {
	if ns > 0 {
		e.rtt += (ns - e.rtt) / 8
	}
}

// Bitrate is the present estimate.
func (e *Estimator) Bitrate(now int64) uint64 { return uint64(e.rate) }

// AppLimited reports whether less than the estimate allows is being sent, as of the last feedback: the estimate is then a guess.
func (e *Estimator) AppLimited() bool { return e.limited }

// Acked is the rate that arrives, 0 when unknown.
func (e *Estimator) Acked(now int64) uint64 { return uint64(e.acked.rate(now)) }

// Loss is the last measured loss, 0..1.
func (e *Estimator) Loss() float64 { return e.lossSeen }

func (e *Estimator) mayDecrease(now int64) bool {
	return e.lastDecrease == 0 || now-e.lastDecrease >= minDecrease+e.rtt
}

func (e *Estimator) onLoss(now int64, f float64) {
	e.lossSeen = f
	if f <= lossHigh || !e.mayDecrease(now) {
		return
	}
	e.congested = true
	e.lastDecrease, e.lastGrow = now, now
	e.set(e.rate * (1 - 0.5*f))
}

func (e *Estimator) onOveruse(now int64) {
	if !e.mayDecrease(now) {
		return
	}
	got := e.acked.rate(now)
	e.noteCut(now)
	e.congested = true
	e.lastDecrease, e.lastGrow = now, now
	switch {
	case e.appLimited():
		e.set(math.Min(e.rate, math.Max(beta*e.rate, modest)))
	case got > 0:
		e.nearMax = got
		e.set(math.Min(beta*got, e.rate))
	default:
		e.set(beta * e.rate)
	}
}

// appLimited tells that less than the estimate was sent, so that what arrived says nothing about the path.
func (e *Estimator) appLimited() bool { return e.sent.rate(e.sentAt) < usedShare*e.rate }

// noteCut remembers where the estimate was, and what the last climb was worth.
func (e *Estimator) noteCut(now int64) {
	e.before = math.Max(e.before, e.rate)
	switch {
	case e.climbWait == 0 || now-e.lastDecrease > climbForget:
		e.climbWait, e.before = climbWaitMin, e.rate
	case e.climbed:
		e.climbWait = min(2*e.climbWait, climbWaitMax)
		e.before = e.rate
	}
	e.climbed = false
}

// grow raises the estimate for the time since the last call.
func (e *Estimator) grow(now int64) {
	dt := min(now-e.lastGrow, maxStep)
	if e.lastGrow == 0 {
		dt = 0
	}
	e.lastGrow = now
	got := e.acked.rate(now)
	e.limited = e.appLimited()
	hold := int64(holdAfter)
	if e.limited {
		hold = max(hold, e.climbWait)
	}
	if dt <= 0 || e.lossSeen > lossLow || e.lastDecrease != 0 && now-e.lastDecrease < hold {
		return
	}
	sec := float64(dt) / 1e9
	next := e.rate * math.Pow(growPerSecond, sec)
	switch {
	case e.limited && e.rate < e.before:
		next = math.Min(e.rate*math.Pow(climbRate, sec), e.before)
		e.climbed = true
	case e.nearMax > 0 && e.rate > 0.9*e.nearMax && e.rate < 1.1*e.nearMax:
		// Near where it broke last time: about one packet a round trip (draft §5.5).
		next = e.rate + 1200*8*sec*1e9/float64(e.rtt+100*1e6)
	case !e.congested && !e.limited:
		next = math.Max(next, math.Min(e.rate*math.Pow(startGrowth, sec), got*ackedHeadroom))
	}
	if e.nearMax > 0 && e.rate >= 1.1*e.nearMax {
		e.nearMax = 0 // the path has become better
	}
	e.set(next)
}

// window measures a rate over the last rateWindow in ten buckets.
type window struct {
	bits  [10]float64
	at    int64 // index of the newest bucket
	since int64 // first bucket ever
}

const bucket = rateWindow / 10

func (w *window) move(now int64) {
	i := now / bucket
	if w.since == 0 || i-w.at > int64(len(w.bits)) {
		// Nothing for a whole window: what comes next is measured afresh.
		*w = window{at: i, since: i}
		return
	}
	for w.at < i {
		w.at++
		w.bits[w.at%10] = 0
	}
}

func (w *window) add(now int64, bytes int) {
	w.move(now)
	w.bits[w.at%10] += float64(bytes) * 8
}

func (w *window) rate(now int64) float64 {
	w.move(now)
	n := min(w.at-w.since+1, 10)
	if n < 3 { // too short to mean anything
		return 0
	}
	sum := 0.0
	for _, b := range w.bits {
		sum += b
	}
	return sum * 1e9 / (float64(n) * bucket)
}
