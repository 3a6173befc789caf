package bwe

import "math"

// Receivers without transport-wide feedback tell their own estimate (draft-alvestrand-rmcat-remb-03) and their losses in receiver reports.
const (
	lossHigh     = 0.10       // above: decrease (draft-ietf-rmcat-gcc-02 §6)
	lossLow      = 0.02       // below: increase allowed
	holdAfter    = 1e9        // ns without increase after a decrease
	reportsEvery = 200 * 1e6  // ns between two decreases by reports at least: there is one for each stream
	feedbackLife = 5000 * 1e6 // ns after which a receiver that sent transport-wide feedback is taken to have stopped
)

// reported is the estimate by what receivers tell of themselves.
type reported struct {
	remb     float64 // bits per second, 0: never told
	lastGrow int64
	lastCut  int64
}

// loss moves rate by the fraction lost, 0..1.
func (r *reported) loss(now int64, rate, f float64) float64 {
	switch {
	case f > lossHigh:
		if r.lastCut != 0 && now-r.lastCut < reportsEvery {
			return rate
		}
		r.lastCut, r.lastGrow = now, now
		return rate * (1 - 0.5*f)
	case f > lossLow, r.lastCut != 0 && now-r.lastCut < holdAfter:
		r.lastGrow = now
		return rate
	}
	dt := float64(min(now-r.lastGrow, maxStep)) / 1e9
	if r.lastGrow == 0 {
		dt = 0
	}
	r.lastGrow = now
	grow := growPerSecond
	if r.lastCut == 0 && r.remb == 0 { // nobody else would find out what the path carries
		grow = startGrowth
	}
	return rate * math.Pow(grow, dt)
}

// byReports tells that there is no transport-wide feedback to go by.
func (e *Estimator) byReports(now int64) bool { return e.fedAt == 0 || now-e.fedAt > feedbackLife }

// OnLossReport takes the fraction lost (1/256) of a receiver report. With transport-wide feedback it changes nothing.
func (e *Estimator) OnLossReport(now int64, fraction uint8) {
	if !e.byReports(now) {
		return
	}
	e.loss.average = float64(fraction) / 256
	e.delay.rate = e.bound(e.reports.loss(now, e.delay.rate, e.loss.average))
	e.settle()
}

// OnREMB takes the receiver's own estimate in bits per second. With transport-wide feedback it changes nothing.
func (e *Estimator) OnREMB(now int64, bps uint64) {
	if !e.byReports(now) {
		return
	}
	was := e.rate
	e.reports.remb = float64(bps)
	// The receiver sees delay and loss on its side; our own figure only holds it back when reports tell of loss.
	e.delay.rate = e.bound(math.Max(e.delay.rate, e.reports.remb))
	e.settle()
	if p := &e.probe; p.now.ID != 0 && now >= p.now.End {
		p.end(now, e.rate > was && e.rate >= probeGood*p.now.Rate)
	}
}
