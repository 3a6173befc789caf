// Package bwe estimates how much may be sent to one receiver, from transport-wide feedback (package twcc) and the round-trip time. The
// structure is that of "A Google Congestion Control Algorithm for Real-Time Communication" (draft-ietf-rmcat-gcc-02) with what came
// after it, GoogCC v2:
//
//  1. window.go measures what is sent and what arrives;
//  2. group.go joins packets sent in one burst and measures how the gap between bursts changed on the way;
//  3. jump.go leaves out what is a change of path, and trend.go fits a line to the accumulated delay and compares its slope with an adaptive threshold: overuse, underuse or normal;
//  4. aimd.go moves the estimate by delay: to 85 % of what arrives at overuse, up by 8 % a second otherwise, slowly near the capacity
//     that the link was last seen to have, and not above 1.5 times what arrives;
//  5. probe.go finds out more: when a better layer would be wanted than the estimate allows, Due asks for a short burst at that rate,
//     and what comes back of it raises the estimate at once, step by step (exponential at the start);
//  6. loss.go explains losses by a share that the path always loses and a limit above which it loses all, and lowers the estimate to
//     that limit. Random loss is so told apart from congestion;
//  7. report.go stands in for receivers that send REMB or receiver reports only.
//
// While little is sent (State.AppLimited), what arrives says nothing about the path, and a jolt of a busy machine looks like a queue. Overuse
// is then believed only while a queue stands, and the estimate does not fall below modest for it.
//
// No goroutine, lock, clock or log; for one user at a time; nothing is allocated after New; times are nanoseconds, rates bits per second.
package bwe

import (
	"math"

	"konzil/sfu/twcc"
)

// Defaults of Config.
const (
	DefaultStart = 2_500_000
	DefaultMin   = 30_000
	// DefaultMax is 45 cameras of 2 Mbit/s with the room that allocation wants above them, and what package twcc can still tell of: its window is 0.4 s of
	// that, a long round trip and the interval of feedback.
	DefaultMax = 100_000_000
)

const (
	usedShare  = 0.8       // of the estimate: more is not limited by the application
	modest     = 300_000   // bits per second that a mere trend of delay cannot talk an application-limited estimate below
	standing   = 30 * 1e6  // ns of queueing delay that make a trend of delay believable while little is sent
	defaultRTT = 100 * 1e6 // ns until one was measured

	congestedFor  = 1e9 // ns after a decrease in which a standing queue explains losses
	congestedMost = 3e9 // ns since the queue began to stand in which it does
)

// Config bounds an estimate; zero fields get defaults.
type Config struct{ Start, Min, Max uint64 }

// Estimator is the estimate of one receiver. Use New.
type Estimator struct {
	cfg     Config
	rate    float64
	probing bool // probes can be sent

	groups  groups
	trend   trend
	transit transit
	acked   window // what arrives, by the receiver's clock
	sent    window // what was sent, arrived or not, by our clock
	sentAt  int64  // of the newest in sent
	fedAt   int64  // when there was feedback last, 0: never
	rtt     int64
	limited bool
	filling int64 // since when a queue explains losses, 0: none does
	full    bool  // what the delay-based estimate knows of the link was measured while we filled it

	delay   aimd
	loss    lossModel
	probe   prober
	reports reported
	usage   usage
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
	e := &Estimator{cfg: cfg, rtt: defaultRTT, limited: true}
	e.delay.rate = e.bound(float64(cfg.Start))
	e.settle()
	e.trend.reset()
	return e
}

func (e *Estimator) bound(r float64) float64 {
	return math.Min(math.Max(r, float64(e.cfg.Min)), float64(e.cfg.Max))
}

// settle makes the estimate of its parts.
func (e *Estimator) settle() {
	r := e.delay.rate
	if e.loss.limited {
		r = math.Min(r, e.loss.result)
	}
	if e.fedAt == 0 && e.reports.remb > 0 {
		r = math.Min(r, e.reports.remb)
	}
	e.rate = e.bound(r)
}

// OnFeedback takes what feedback that arrived now said, in order of sequence numbers.
func (e *Estimator) OnFeedback(now int64, acked []twcc.Acked) {
	if len(acked) == 0 {
		return
	}
	for i := range acked {
		e.packet(&acked[i])
	}
	e.fedAt = now
	e.usage = e.trend.state
	got := e.acked.rate(windowLen)
	e.limited = e.sent.rate(windowLen) < usedShare*e.rate
	switch e.usage {
	case overuse:
		e.onOveruse(now)
	case normal:
		e.delay.increase(now, e.rtt, got, e.ceiling(got), e.limited)
	case underuse: // queues are draining: neither up nor down
		e.delay.held = true
	}
	e.fill(now)
	e.answer(now)
	e.delay.rate = e.bound(e.delay.rate)
	e.loss.update(e.sentAt, e.delay.rate, got, e.limited, float64(e.cfg.Min), float64(e.cfg.Max))
	e.settle()
}

// packet counts one reported packet.
func (e *Estimator) packet(a *twcc.Acked) {
	if a.SendTime >= e.sentAt && !a.Late {
		e.sentAt = a.SendTime
		e.sent.add(a.SendTime, a.Size)
	}
	if p := &e.probe; a.Probe != 0 && a.Probe == p.now.ID {
		p.m.packet(a)
	}
	e.trend.leaps.packet(a.ArrivalTime < 0)
	if a.Late {
		e.loss.found()
	} else {
		e.loss.packet(a.Size, a.ArrivalTime < 0)
	}
	if a.ArrivalTime < 0 {
		return
	}
	e.acked.add(a.ArrivalTime, a.Size)
	if dSend, dArrive, at, ok := e.groups.add(a.SendTime, a.ArrivalTime); ok {
		if moved := e.trend.add(dSend, dArrive, at); moved > 0 {
			e.transit.move(moved)
		}
		e.transit.add(e.groups.prev.lastSend, at)
	} else if !e.groups.prev.set { // it began anew
		e.transit = transit{}
	}
}

// ceiling is how far the estimate may grow by itself: where nothing more is sent, only a probe can tell more. Without probes growth goes
// on, and what is then sent is the probe.
func (e *Estimator) ceiling(got float64) float64 {
	if !e.probing || got == 0 {
		return float64(e.cfg.Max)
	}
	return ackedHeadroom*got + ackedSlack
}

func (e *Estimator) onOveruse(now int64) {
	got := e.acked.rate(shortWindow)
	if got == 0 {
		got = e.delay.rate
	}
	if !e.delay.mayDecrease(now, e.rtt, got) {
		return
	}
	e.full = e.Narrow() || !e.limited || e.transit.queue() > probeQueue
	if !e.limited {
		e.delay.decrease(now, got)
		e.probe.cut(now)
		return
	}
	if e.transit.queue() < standing {
		return
	}
	was := e.delay.rate
	e.delay.decrease(now, got)
	e.delay.rate = math.Max(e.delay.rate, math.Min(modest, was))
	e.probe.cut(now)
}

// answer takes the result of a probe when it is complete.
func (e *Estimator) answer(now int64) {
	p := &e.probe
	if p.now.ID == 0 || now < p.now.End || e.sentAt < p.now.End && now < p.now.End+probeAnswer+2*e.rtt {
		return
	}
	r := p.m.rate()
	rate := p.now.Rate
	p.end(now, r >= probeGood*rate)
	if r > e.delay.rate && e.usage != overuse {
		e.delay.rate = r
		e.delay.lastChange = now
		if r > e.delay.link.upper() {
			e.delay.link = capacity{}
		}
	}
}

// SetWish takes what the allocation would send if the estimate allowed it: in all with the next better layer of something, and with the
// best of everything. 0: there is nothing better. The estimate is probed up to that.
func (e *Estimator) SetWish(next, all uint64) { e.probe.wish(float64(next), float64(all)) }

// SetProbing says whether probes can be sent to the receiver at all.
func (e *Estimator) SetProbing(can bool) { e.probing = can }

// Due tells whether a probe is to be sent, and which. It is asked every few milliseconds.
func (e *Estimator) Due(now int64) (Probe, bool) {
	p := &e.probe
	if p.now.ID == 0 {
		if !e.probing || p.next <= e.rate {
			return Probe{}, false
		}
		rate := p.want(now, e.rate)
		if rate <= e.rate || e.crowded(now) {
			return Probe{}, false
		}
		d := int64(probeTime)
		switch {
		case !e.byReports(now):
		case e.reports.remb > 0:
			d = rembProbeTime
		case e.fedAt == 0:
			return Probe{}, false // nobody would tell what came of it
		}
		p.begin(now, math.Min(rate, float64(e.cfg.Max)), d)
	}
	if now >= p.now.End {
		switch {
		case !e.byReports(now) || e.reports.remb == 0: // feedback may have ended with the probe
			e.answer(now)
			e.delay.rate = e.bound(e.delay.rate)
			e.settle()
		case now > p.now.End+2*probeAnswer+2*e.rtt: // no REMB at all
			p.end(now, false)
		}
		return Probe{}, false
	}
	return p.now, true
}

// crowded says that a probe would only lengthen a queue or add to losses, as far as is known: when nothing has flowed for a while, nothing is.
func (e *Estimator) crowded(now int64) bool {
	if e.fedAt != 0 && now-e.fedAt > probeStale {
		return false
	}
	return e.usage == overuse || e.transit.queue() > probeQueue || e.loss.average > preferUpTo || e.loss.limited && e.loss.average > inherentOffset
}

// OnRTT takes a measured round-trip time.
func (e *Estimator) OnRTT(ns int64) {
	if ns > 0 {
		e.rtt += (ns - e.rtt) / 8
	}
}

// Bitrate is the present estimate.
func (e *Estimator) Bitrate() uint64 { return uint64(e.rate) }

// Measured says whether anything was heard of the path: before, the estimate is only where it starts.
func (e *Estimator) Measured() bool { return e.fedAt != 0 || e.reports.remb > 0 }

// Queue is how much longer packets take than they could, ns, as of the last feedback.
func (e *Estimator) Queue() int64 { return e.transit.queue() }

// Congested says that losses are those of a queue that has just filled, and not the path's own: as of the last feedback, and for a moment only, since
// a queue that others fill loses as much of whatever we send.
func (e *Estimator) Congested() bool { return e.filling != 0 && e.fedAt-e.filling < congestedMost }

// fill notes since when a queue stands that is long, or made the estimate sink a moment ago.
func (e *Estimator) fill(now int64) {
	q := e.transit.queue()
	switch {
	case q <= probeQueue && (q <= standing || e.delay.lastDecrease == 0 || now-e.delay.lastDecrease >= congestedFor):
		e.filling = 0
	case e.filling == 0:
		e.filling = now
	}
}

// Narrow says that the path was seen to be full at about the estimate, and nothing since has shown that it carries more.
func (e *Estimator) Narrow() bool { return e.full && e.delay.link.known() }

// ProbeRate is the rate of the probe that is being sent, 0 for none.
func (e *Estimator) ProbeRate() float64 { return e.probe.now.Rate }

// State is what an estimate is made of, for people.
type State struct {
	Delay, Loss uint64 // the two estimates, bits per second; Loss 0: losses set no limit
	REMB        uint64 // the receiver's own, 0: none
	Acked       uint64 // bits per second that arrive, 0: unknown
	LossShare   float64
	Queue, RTT  int64 // ns
	Overuse     bool
	AppLimited  bool
	Probing     uint64 // bits per second of the probe that is under way, 0: none
	Failed      int    // probes since the last that found more
}

// State tells how the estimate came about.
func (e *Estimator) State() State {
	s := State{
		Delay: uint64(e.delay.rate), REMB: uint64(e.reports.remb), Acked: uint64(e.acked.rate(windowLen)), LossShare: e.loss.average,
		Queue: e.transit.queue(), RTT: e.rtt, Overuse: e.usage == overuse, AppLimited: e.limited, Probing: uint64(e.probe.now.Rate), Failed: e.probe.failed,
	}
	if e.loss.limited {
		s.Loss = uint64(e.loss.result)
	}
	return s
}
