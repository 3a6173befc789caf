package bwe

import (
	"math"

	"konzil/sfu/twcc"
)

// Numbers of probing.
const (
	probeTime     = 30 * 1e6     // ns that a probe lasts at least: three ticks of who sends it,
	probeBits     = 6 * 1200 * 8 // and until it has so many bits
	rembProbeTime = 500 * 1e6    // the same for a receiver that answers with REMB: its own estimate needs time
	probeStep     = 2.0          // a probe goes up to this multiple of the estimate,
	probeFirst    = 3.0          // and the first ones up to this
	probeHeadroom = 1.1          // above what is wished, so that the result is enough for it
	probeGood     = 0.7          // share of the probed rate that must be measured for the next step to follow at once
	probeShare    = 0.8          // share of a probe's packets that must arrive
	probeAnswer   = 700 * 1e6    // ns after its end, plus two round trips, that the answer may take
	probeWaitMin  = 1e9          // ns between two probes, doubled by each that fails
	probeWaitMax  = 2e9          // a path that has become better is found within this time
	probeQueue    = 100 * 1e6    // ns of queueing delay above which no probe begins; less may be the others', whose share a probe wins back
	probeStale    = 1e9          // ns without feedback after which the last one's queue, trend and losses forbid no probe
	probeBunched  = 2.5          // arriving so much faster than sent means that packets were held up together: worth nothing
)

// Probe is a short burst above the estimate. The packets that are sent meanwhile, media too, shall make up Rate together and carry ID.
type Probe struct {
	ID   uint8   // never 0
	Rate float64 // bits per second
	End  int64   // ns: nothing of it is sent from then on
}

// prober decides when to probe, and measures.
type prober struct {
	next, all float64 // wished: for the next better layer, and for all of them
	now       Probe   // ID 0: none
	id        uint8
	done      bool // the probe was sent, its answer is waited for
	wait      int64
	at        int64 // when the next may begin
	failed    int
	tried     bool // there was one

	m measure
}

// measure is what came back of a probe.
type measure struct {
	packets, lost         int
	bytes, first, last    int // in all, of the first packet, of the last burst
	sendFirst, sendLast   int64
	arriveFirst, arriveTo int64
}

// wish takes what is wanted: the total for the next better layer of something, and for everything. 0: nothing more.
func (p *prober) wish(next, all float64) {
	if next > p.next*1.2 { // something new is wanted: no reason to wait for what failed
		p.at, p.wait = 0, 0
	}
	p.next, p.all = next, math.Max(next, all)
}

// want is the rate of the probe that is due, 0 for none.
func (p *prober) want(now int64, rate float64) float64 {
	if p.now.ID != 0 || now < p.at || p.next <= 0 || rate >= p.next {
		return 0
	}
	step := probeStep
	if !p.tried {
		step = probeFirst
	}
	return math.Min(probeHeadroom*p.all, step*rate)
}

// begin starts a probe of at least d.
func (p *prober) begin(now int64, rate float64, d int64) {
	if p.id++; p.id == 0 {
		p.id = 1
	}
	d = max(d, int64(probeBits*1e9/rate))
	p.now, p.done, p.tried, p.m = Probe{ID: p.id, Rate: rate, End: now + d}, false, true, measure{}
}

// end counts the probe at hand as a success or a failure.
func (p *prober) end(now int64, good bool) {
	p.now, p.done = Probe{}, false
	if good {
		p.wait, p.failed, p.at = probeWaitMin, 0, now
		return
	}
	p.failed++
	p.wait = min(max(2*p.wait, probeWaitMin), probeWaitMax)
	p.at = now + p.wait
}

// cut is told of a decrease: a probe would only lengthen the queue.
func (p *prober) cut(now int64) {
	if p.now.ID != 0 {
		p.end(now, false)
	}
	p.at = max(p.at, now+probeWaitMin)
}

// packet takes one reported packet of the probe.
func (m *measure) packet(a *twcc.Acked) {
	send, arrive, size := a.SendTime, a.ArrivalTime, a.Size
	switch {
	case a.Late:
		m.lost--
	case arrive < 0:
		m.packets++
		m.lost++
		return
	default:
		m.packets++
	}
	switch {
	case m.bytes == 0:
		m.sendFirst, m.sendLast, m.arriveFirst, m.arriveTo, m.first, m.last = send, send, arrive, arrive, size, 0
	case send > m.sendLast:
		m.sendLast, m.last = send, 0
	}
	if send == m.sendLast {
		m.last += size
	}
	m.bytes += size
	m.arriveTo = max(m.arriveTo, arrive)
}

// rate is what the path carried, in bits per second; 0 when the probe tells nothing.
func (m *measure) rate() float64 {
	if m.packets < 4 || float64(m.packets-m.lost) < probeShare*float64(m.packets) || m.sendLast <= m.sendFirst {
		return 0
	}
	// The last burst is sent after the interval, the first packet arrives before it.
	send := float64(m.bytes-m.last) * 8e9 / float64(m.sendLast-m.sendFirst)
	got := math.Inf(1)
	if m.arriveTo > m.arriveFirst {
		got = float64(m.bytes-m.first) * 8e9 / float64(m.arriveTo-m.arriveFirst)
	}
	switch {
	case got > probeBunched*send:
		return 0
	case got < 0.9*send:
		return 0.95 * got // the path is full at this rate: stay below
	}
	return math.Min(send, got)
}
