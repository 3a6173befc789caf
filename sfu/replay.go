package sfu

import (
	"konzil/sfu/dd"
	"konzil/sfu/rewrite"
)

// The keyframe cache. A receiver that begins to see a layer, or has lost its picture, gets the newest keyframe and what followed it from
// the shared history (Galene's idea), when that is complete and can be sent in a moment; else the sender is asked for a keyframe.
//
//  1. shard.picture (the receiver's shard) is asked by Endpoint.apply and for each PLI;
//  2. startReplay (the sender's shard, which has the history) checks the bounds and makes a replay;
//  3. runReplay sends at once and then at each tick what the rate allows, until it has caught up with what comes in;
//  4. shard.cached (the receiver's shard) sends a packet as if it had just come. Live packets of the layer are held back until the last
//     one: the replay brings them too, in order.
//
// rewrite.Stream.Replay gives these frames the timestamps of their sending, and leaves out higher temporal layers.
const (
	// replayTime is how long a repetition may take: longer, and asking for a keyframe is faster.
	replayTime = 400e6
	// replayGain is the rate of a repetition over the receiver's estimate; libwebrtc's pacer sends keyframes at 2.5 times the estimate.
	replayGain = 2
	// minReplayRate and maxReplayRate bound it, in bits per second.
	minReplayRate, maxReplayRate = 1e6, 50e6
	// replayPackets is how far the history is walked. It keeps more than that (leastHistory).
	replayPackets = 256
	// maxReplays bounds the repetitions that one shard runs at a time; beyond it keyframes are asked for.
	maxReplays = 256
	// replayPause is the least time between two repetitions to one receiver on one SSRC, ns.
	replayPause = 1e9
	// The greatest age of the keyframe, ns: for one who sees nothing, for one whose picture is broken, and for a change of layer, where
	// the picture must not jump back.
	replayNewcomer = 10e9
	replayBroken   = 2e9
	replaySwitch   = 500e6
)

// keyCache is what a track knows of its newest keyframe.
type keyCache struct {
	have bool
	seq  uint16            // its first packet
	ts   uint32            // its timestamp
	cost [maxSID + 1]int64 // bytes since then by spatial layer, lowest temporal layer only
}

// replay is a repetition in progress; the sender's shard owns it.
type replay struct {
	tr     *track
	ep     *Endpoint
	out    *send
	next   uint16
	rate   int64 // bytes per tick
	credit int64
	until  int64
	ran    int64 // when it last went on
}

// picture gets tr onto o soon, from the cache when its keyframe is no older than age, else by asking the sender.
func (sh *shard) picture(e *Endpoint, o *send, tr *track, age, now int64) {
	if o.hold > now && o.held == tr.ssrc {
		return // under way
	}
	if sh.s.cfg.NoKeyframeCache || o.replayed != 0 && now-o.replayed < replayPause {
		sh.askKeyframe(tr, now)
		return
	}
	rate := replayRate(e.m.est.Bitrate())
	if tr.ep.sh == sh {
		sh.startReplay(tr, e, o, rate, age, now)
		return
	}
	tr.ep.sh.inbox.push(tr.ep.sh, item{kind: itemReplayAsk, tr: tr, want: repeat{ep: e, out: o}, rate: rate, age: age}, nil)
}

// replayRate is the rate of a repetition in bytes per second.
func replayRate(estimate uint64) int64 {
	return int64(min(max(replayGain*estimate, minReplayRate), maxReplayRate)) / 8
}

// startReplay begins a repetition of tr for a receiver at rate bytes per second, or asks for a keyframe.
func (sh *shard) startReplay(tr *track, e *Endpoint, o *send, rate, age, now int64) {
	for i := range sh.replays {
		if r := &sh.replays[i]; r.out == o && r.tr == tr {
			r.out = nil // it begins anew
		}
	}
	if len(sh.replays) == maxReplays || !sh.replayable(tr, rate, age, now) {
		sh.count.inc(cReplayRefused)
		sh.wantKeyframe(tr, now)
		return
	}
	sh.count.inc(cReplays)
	perTick := rate * int64(tick) / 1e9
	r := replay{tr: tr, ep: e, out: o, next: tr.key.seq, rate: perTick, credit: 2 * perTick, until: now + 2*replayTime, ran: now}
	if !sh.runReplay(&r, now, false) {
		sh.replays = append(sh.replays, r)
		sh.press()
	}
}

// replayable says whether all since the last keyframe is there and not too much.
func (sh *shard) replayable(tr *track, rate, age, now int64) bool {
	if tr.ep.m.gone || tr.hist == nil || !tr.key.have || now-tr.lastKey > age {
		return false
	}
	var cost int64
	for _, n := range tr.key.cost {
		cost += n
	}
	n := int(tr.gen.Newest()-tr.key.seq) + 1
	if n > replayPackets || cost > rate*replayTime/1e9 {
		return false
	}
	for i := range n {
		seq := tr.key.seq + uint16(i)
		if _, ok := tr.hist.Get(seq); !ok && !tr.gen.Got(seq) {
			return false
		}
	}
	return true
}

// runReplays goes on with all repetitions.
func (sh *shard) runReplays(now int64) {
	keep := sh.replays[:0]
	for i := range sh.replays {
		r := &sh.replays[i]
		r.credit = min(r.credit, 0) + r.rate*max(1, (now-r.ran)/int64(tick))
		r.ran = now
		if !sh.runReplay(r, now, true) {
			keep = append(keep, *r)
		}
	}
	clear(sh.replays[len(keep):])
	sh.replays = keep
}

// runReplay sends what the rate allows; true when the repetition is over. may says whether it may end now.
func (sh *shard) runReplay(r *replay, now int64, may bool) bool {
	tr := r.tr
	if r.out == nil || tr.ep.m.gone || tr.hist == nil || tr.ep.m.muted[Video] {
		return true // what was held back is let through when the receiver's wait ends
	}
	late := now >= r.until
	end := tr.gen.Newest() + 1
	for r.next != end && (r.credit > 0 || late) {
		pkt, ok := tr.hist.Get(r.next)
		if !ok && !late && !tr.gen.Got(r.next) {
			break // lost on its way to us; it is being asked for
		}
		if ok || tr.gen.Got(r.next) {
			if !sh.toCached(r, pkt, r.next == tr.key.seq, false, now) {
				return now >= r.until+replayTime // again at the next tick; in the end the receiver's wait ends by itself
			}
			r.credit -= int64(len(pkt))
		}
		r.next++
	}
	if r.next != end || !may || !tr.src.reaches(r.ep, r.out) && !late {
		return false
	}
	return sh.toCached(r, nil, false, true, now) || now >= r.until+replayTime
}

// reaches says whether live packets of src get to out.
func (src *source) reaches(e *Endpoint, out *send) bool {
	f := src.fan.Load()
	if f == nil || e.sh.id >= len(f.byShard) {
		return false
	}
	for i := range f.byShard[e.sh.id] {
		if f.byShard[e.sh.id][i].out == out {
			return true
		}
	}
	return false
}

// toCached gives one packet of a repetition to the receiver's shard; false when that has no room for it now. No packet: one without payload, or with
// last the end.
func (sh *shard) toCached(r *replay, pkt []byte, key, last bool, now int64) bool {
	tr := r.tr
	it := item{
		kind: itemReplay, tr: tr, codec: tr.codec, key: key, padding: pkt == nil, last: last, dd: tr.dd, active: tr.active, seq: r.next,
		ts: tr.clock, want: repeat{ep: r.ep, out: r.out},
	}
	if r.ep.sh != sh {
		return r.ep.sh.inbox.push(r.ep.sh, it, pkt)
	}
	if pkt != nil {
		pkt = append(sh.copied[:0], pkt...) // it will be patched, the stored one must not be
	}
	sh.cached(&it, pkt, now)
	return true
}

// cached sends one packet of a repetition to a receiver of this shard.
func (sh *shard) cached(it *item, plain []byte, now int64) {
	e, o, tr := it.want.ep, it.want.out, it.tr
	if e.m.gone || e.m.sealer == nil || o.src != tr.src {
		return // it wants something else by now
	}
	if it.key && o.target == tr.ssrc {
		o.hold, o.held, o.replayed = now+3*replayTime, tr.ssrc, now
		o.stream.Replay()
	}
	if o.hold == 0 || o.held != tr.ssrc {
		return
	}
	if it.last {
		o.endReplay()
		return
	}
	p := sh.reopen(tr, plain, it.codec, it.dd, it.active)
	if p == nil {
		return
	}
	p.in.SSRC, p.in.Seq, p.in.ClockRate, p.in.Arrival = tr.ssrc, it.seq, it.ts, now
	p.in.Padding, p.in.Start, p.in.Keyframe = it.padding, it.key, it.key
	p.in.TS, p.in.Marker = p.hdr.Timestamp, p.hdr.Marker
	p.cached = true
	sh.send(&link{e, o}, p)
	p.cached = false
	sh.count.inc(cReplayPackets)
}

// endReplay lets live packets through again.
func (o *send) endReplay() {
	o.hold = 0
	o.stream.Live()
}

// reopen makes the packet at hand of one that was opened before. plain may be empty: a packet without payload.
func (sh *shard) reopen(tr *track, plain []byte, id codecID, st *dd.Structure, active uint32) *packet {
	p := &sh.pkt
	p.in = rewrite.In{}
	p.level, p.orientation, p.dd, p.ddOut = nil, nil, nil, nil
	p.raw, p.tr, p.codec, p.payload = plain, tr, id, nil
	if len(plain) == 0 {
		return p
	}
	if p.hdr.Parse(plain) != nil {
		return nil
	}
	if c := tr.ep.pts[p.hdr.PayloadType]; c != codecNone {
		p.codec = c
	}
	p.payload = plain[p.hdr.PayloadOff:p.hdr.PayloadEnd]
	ext := tr.ep.ext
	if ext.orientation != 0 {
		p.orientation = p.hdr.Ext(plain, ext.orientation)
	}
	if ext.dd != 0 {
		p.dd = p.hdr.Ext(plain, ext.dd)
	}
	sh.handedLayers(p, st, active)
	return p
}

// sinceKey keeps the account of what a repetition would cost.
func (tr *track) sinceKey(p *packet, sid, tid int) {
	if p.in.Keyframe {
		tr.key = keyCache{have: true, seq: p.hdr.Seq, ts: p.hdr.Timestamp}
	}
	if tid == 0 {
		tr.key.cost[sid] += int64(len(p.raw))
	}
}
