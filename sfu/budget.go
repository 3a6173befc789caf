package sfu

import "konzil/sfu/alloc"

const (
	// mediaShare is what remains of an estimate for what allocation counts (bytes of RTP packets as they came in): SRTP's tag and our
	// header extensions are 20 to 40 bytes of about 1000.
	mediaShare = 0.96
	// keepAbove and keepBelow are the hysteresis of allocation: layers that need more than they did, or an estimate that sinks a little,
	// change nothing while the need is at most keepAbove of the budget; a better layer must fit into keepBelow of it.
	keepAbove, keepBelow = 1.05, 0.92
	// otherDecay is the weight of the past in the rate of audio and repetitions, each look: half a second.
	otherDecay = 0.8
)

// downlink is what the control loop knows of a receiver's path. Control goroutine.
type downlink struct {
	estimate uint64  // bits per second
	other    float64 // of them audio, repetitions and repair packets
	looked   int64
	sent     [Video + 1]uint64 // bytes as last looked at
	repaired uint64            // repetitions and repair packets
	cost     uint64            // of what is allocated, as allocation counts
	next     uint64            // of the next better layer, 0: none
	all      uint64            // of all that is wanted, 0: nothing more
	lowest   bool              // what is allocated is above the estimate on purpose
}

// measure reads the estimate and what of it does not go to video. The caller holds the shard's mu.
func (d *downlink) measure(m *media, now int64, probing bool) {
	d.estimate = m.est.Bitrate()
	m.seen = d.estimate
	m.est.SetProbing(probing)
	repaired := m.rtxBytes + m.fecBytes
	bytes := m.sentBytes[Audio] - d.sent[Audio] + repaired - d.repaired
	if dt := now - d.looked; d.looked != 0 && dt > 0 {
		d.other = otherDecay*d.other + (1-otherDecay)*float64(bytes)*8e9/float64(dt)
	}
	d.sent, d.repaired, d.looked = m.sentBytes, repaired, now
}

// free is what the estimate leaves for video.
func (d *downlink) free() uint64 { return uint64(max(0, (float64(d.estimate)-d.other)*mediaShare)) }

// budget is what allocation may use, with hysteresis.
func (d *downlink) budget() uint64 {
	b := float64(d.free())
	if c := float64(d.cost); c >= keepBelow*b && c <= keepAbove*b {
		return d.cost
	} else if c > 0 && c < keepBelow*b {
		return uint64(keepBelow * b)
	}
	return uint64(b)
}

// stale says whether an allocation would change something.
func (d *downlink) stale() bool {
	return d.over() && !d.lowest || d.next > 0 && float64(d.next) <= keepBelow*float64(d.free())
}

// over says that what is allocated, at its present cost, does not fit.
func (d *downlink) over() bool { return float64(d.cost) > keepAbove*float64(d.free()) }

// squeeze looks at the estimate when it has fallen (shard.squeezed).
func (e *Endpoint) squeeze() {
	if e.removed {
		return
	}
	e.sh.mu.Lock()
	e.down.estimate = e.m.est.Bitrate()
	e.sh.mu.Unlock()
	if e.down.stale() {
		e.stir()
	}
}

// wish is the estimate that a budget for cost would need.
func (d *downlink) wish(cost uint64) uint64 {
	if cost == 0 {
		return 0
	}
	return uint64(float64(cost)/keepBelow/mediaShare + d.other)
}

// heldLayer names the layer of a source that the last allocation gave; the zero value is none.
type heldLayer struct {
	ssrc     uint32
	sid, tid uint8
}

// heldCost is what the layers that e has now need at present.
func (e *Endpoint) heldCost(sources []alloc.Source, of []*source) (cost uint64) {
	for i, src := range of {
		sb := e.subs[src]
		if sb == nil || sb.held.ssrc == 0 {
			continue
		}
		for j := range sources[i].Layers {
			if ly := &sources[i].Layers[j]; (heldLayer{ly.SSRC, ly.SID, ly.TID}) == sb.held {
				cost += ly.Bitrate
				break
			}
		}
	}
	return cost
}

// note keeps what an allocation came to, and tells the estimator what it is to look for.
func (e *Endpoint) note(sources []alloc.Source, choices []alloc.Choice) {
	d := &e.down
	d.cost, d.next, d.all, d.lowest = alloc.Sum(sources, choices)
	e.sh.mu.Lock()
	e.m.est.SetWish(d.wish(d.next), d.wish(d.all))
	e.sh.mu.Unlock()
}
