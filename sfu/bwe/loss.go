package bwe

import "math"

// Numbers of the loss-based estimate. The structure is that of GoogCC's second loss-based estimator; where our values differ, why is said.
const (
	lossObservations = 20        // kept: five seconds while packets flow
	observationTime  = 250 * 1e6 // ns that make an observation at least
	observationDecay = 0.9       // weight of an observation against the next one
	minObservations  = 3         // before the estimate counts
	inherentMin      = 1e-3      // loss that is always thought possible without congestion
	inherentStart    = 0.01
	inherentOffset   = 0.05    // loss up to this plus lossBalance/rate may be the path's own
	lossBalance      = 200_000 // bits per second; libwebrtc has 75,000 and would send 1.5 Mb/s at 10 % of random loss: here a top layer passes
	newtonStep       = 0.75
	preferUpTo       = 0.18 // average loss below which higher candidates are preferred, above it lower ones
	preferSmoothing  = 0.002
	preferLinear     = 0.0002 // weight of the preference per kbit/s
	preferLog        = 0.02
	recoverFactor    = 1.3       // most that the estimate grows while losses limit it
	recoverWindow    = 300 * 1e6 // ns, in this time
)

// lossModel explains the losses seen by a channel that loses a share of all packets (inherent) and all that exceeds a rate (limit). Of
// some candidates for the rate the one under which the observations are likeliest is taken.
type lossModel struct {
	obs     [lossObservations]observation
	n       int // observations ever
	losses  int // observations kept that have a loss
	part    observation
	since   int64 // sending time of the last packet of the newest observation
	best    channel
	limited bool    // the loss-based estimate is below the one by delay
	result  float64 // bits per second
	average float64 // recent loss, 0..1
	plain   float64 // the same over all observations kept: steadier

	window   float64 // limit of growth in the present window
	windowAt int64
}

type observation struct {
	packets, lost int
	bytes         int
	rate          float64 // bits per second, sent
}

type channel struct{ inherent, limit float64 }

// weight of the observation that is age behind the newest.
var weights = func() (w [lossObservations]float64) {
	for i := range w {
		w[i] = math.Pow(observationDecay, float64(i))
	}
	return w
}()

// packet counts one reported packet.
func (m *lossModel) packet(bytes int, lost bool) {
	m.part.packets++
	m.part.bytes += bytes
	if lost {
		m.part.lost++
	}
}

// found takes back one that was told lost and was only late.
func (m *lossModel) found() {
	if m.part.lost > 0 {
		m.part.lost--
	}
}

// update takes the sending time of the newest packet reported, the estimate by delay, what arrives (0: unknown) and whether the
// application limits the rate. It returns the estimate, which is never above delay.
func (m *lossModel) update(sentAt int64, delay, acked float64, limited bool, low, high float64) float64 {
	if m.observe(sentAt) {
		m.estimate(delay, acked, limited, high)
		if !m.limited {
			m.window = 0
		}
	}
	if m.n < minObservations {
		return delay
	}
	m.result = math.Max(low, math.Min(math.Min(m.best.limit, m.upper(high)), delay))
	m.limited = m.result < delay
	return m.result
}

// observe closes the observation at hand when it is long enough.
func (m *lossModel) observe(sentAt int64) bool {
	if m.part.packets == 0 {
		return false
	}
	if m.since == 0 {
		m.since = sentAt
	}
	d := sentAt - m.since
	if d < observationTime {
		return false
	}
	m.since = sentAt
	m.part.rate = float64(m.part.bytes) * 8e9 / float64(d)
	o := &m.obs[m.n%lossObservations]
	if o.lost > 0 {
		m.losses--
	}
	if m.part.lost > 0 {
		m.losses++
	}
	*o, m.part = m.part, observation{}
	m.n++
	var packets, lost, all, gone float64
	m.each(func(o *observation, w float64) {
		packets, lost = packets+w*float64(o.packets), lost+w*float64(o.lost)
		all, gone = all+float64(o.packets), gone+float64(o.lost)
	})
	m.average, m.plain = lost/packets, gone/all
	return true
}

// each calls f for the observations kept, with their weights.
func (m *lossModel) each(f func(o *observation, w float64)) {
	for i := range min(m.n, lossObservations) {
		f(&m.obs[(m.n-1-i)%lossObservations], weights[i])
	}
}

// upper is the most that the average loss allows: more would explain it by the path's own loss alone no longer.
func (m *lossModel) upper(high float64) float64 {
	l := math.Min(m.plain, m.average) // a few lost packets more or less of a thin stream mean nothing
	if l <= inherentOffset {
		return high
	}
	return math.Min(high, lossBalance/(l-inherentOffset))
}

// estimate chooses the channel.
func (m *lossModel) estimate(delay, acked float64, limited bool, high float64) {
	if m.best.limit == 0 {
		m.best = channel{inherentStart, delay}
	}
	if m.losses == 0 { // nothing to explain: the usual case, and cheap
		m.best = channel{math.Max(inherentMin, m.best.inherent*observationDecay), math.Max(m.best.limit, delay)}
		return
	}
	if !m.limited {
		// Delay alone decided so far; a candidate below that means that losses do from now on.
		m.best.limit = math.Max(m.best.limit, delay)
	}
	top := high
	if m.limited && m.window > 0 {
		top = math.Max(m.window, m.best.limit)
	}
	candidates := [5]float64{1.02 * m.best.limit, m.best.limit, 0.95 * m.best.limit, acked, delay}
	if limited {
		candidates[3] = 0 // what arrives says nothing
	}
	if delay <= m.best.limit {
		candidates[4] = 0
	}
	old, best, most := m.best, m.best, math.Inf(-1)
	for _, limit := range candidates {
		if limit <= 0 {
			continue
		}
		c := m.fit(channel{old.inherent, math.Min(limit, top)})
		if o := m.objective(c); o > most {
			most, best = o, c
		}
	}
	if best.limit > old.limit && m.average > best.inherent {
		best.limit = old.limit // losses that the path itself does not explain: no growth
	}
	m.best = best
	if now := m.since; m.window == 0 || now-m.windowAt >= recoverWindow {
		m.window, m.windowAt = recoverFactor*math.Min(m.best.limit, delay), now
	}
}

// feasible bounds the path's own loss: the higher the rate, the less of it is believed.
func feasible(c channel) float64 {
	return math.Min(math.Max(c.inherent, inherentMin), math.Min(1, inherentOffset+lossBalance/c.limit))
}

// probability that a packet is lost when rate is sent.
func (c *channel) probability(rate float64) float64 {
	p := c.inherent
	if rate > c.limit {
		p += (1 - p) * (rate - c.limit) / rate
	}
	return math.Min(math.Max(p, 1e-6), 1-1e-6)
}

// fit moves the path's own loss one Newton step towards the likeliest.
func (m *lossModel) fit(c channel) channel {
	c.inherent = feasible(c)
	var first, second float64
	m.each(func(o *observation, w float64) {
		p := c.probability(o.rate)
		lost, got := float64(o.lost), float64(o.packets-o.lost)
		first += w * (lost/p - got/(1-p))
		second -= w * (lost/(p*p) + got/((1-p)*(1-p)))
	})
	if second < 0 {
		c.inherent -= newtonStep * first / second
	}
	c.inherent = feasible(c)
	return c
}

// objective is the logarithm of the likelihood, with a preference for high rates while losses are few.
func (m *lossModel) objective(c channel) float64 {
	k := c.limit / 1000
	d := preferUpTo - m.average
	bias := (preferLinear*k + preferLog*math.Log(1+k)) * d / (preferSmoothing + math.Abs(d))
	sum := 0.0
	m.each(func(o *observation, w float64) {
		p := c.probability(o.rate)
		sum += w * (float64(o.lost)*math.Log(p) + float64(o.packets-o.lost)*math.Log(1-p) + bias*float64(o.packets))
	})
	return sum
}
