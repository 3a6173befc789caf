package sfu

import (
	"fmt"
	"iter"
	"maps"
	"slices"
)

// How what the allocation has chosen becomes what the packet path does.

// subscribe makes src flow to e on the given layer, from the next apply on. It returns the mapping when the receiver has
// to be told of one, and false when there is no slot, or no SSRC to be had.
func (e *Endpoint) subscribe(src *source, ssrc uint32, sid, tid uint8, now int64, flows bool) (*SourceMapping, bool) {
	sb := e.subs[src]
	tell := false
	if e.cfg.SSRCRewriting {
		table, letter := e.videoSlots, 'v'
		if src.kind == Audio {
			table, letter = e.audioSlots, 'a'
		}
		slot, out, rtx, changed, evicted, ok := table.Acquire(src.name, now)
		if !ok {
			return nil, false
		}
		if evicted != "" {
			if old := e.conf.sources[evicted]; old != nil {
				delete(e.subs, old)
				e.conf.fansDirty = true
			}
		}
		table.SetForwarded(src.name, flows)
		if src.kind == Audio || !e.hasRTX {
			rtx = 0
		}
		if sb == nil {
			o := e.sendFor(out, rtx, 0, src.kind)
			if o == nil {
				return nil, false
			}
			sb = &sub{src: src, out: o, notBefore: now + announceTime}
			if e.cfg.MIDDemux {
				sb.mid = fmt.Sprintf("%c%d", letter, slot)
			}
			e.subs[src] = sb
			changed = true
		}
		tell = changed || src.retyped
	} else if sb == nil {
		rtx, fec := src.tracks[0].rtx, src.fec
		if src.kind == Audio || !e.hasRTX {
			rtx = 0
		}
		if rtx == 0 || !e.hasFEC {
			fec = 0
		}
		o := e.sendFor(src.tracks[0].ssrc, rtx, fec, src.kind)
		if o == nil {
			return nil, false
		}
		sb = &sub{src: src, out: o}
		e.subs[src] = sb
	}
	if sb.layer != ssrc || sb.sid != sid || sb.tid != tid {
		sb.layer, sb.sid, sb.tid, sb.pending = ssrc, sid, tid, true
	}
	if !tell {
		return nil, true
	}
	return &SourceMapping{
		Source: src.name, Owner: src.by.id, SSRC: sb.out.ssrc, RTX: sb.out.rtxSSRC, Video: src.video, MID: sb.mid,
	}, true
}

// sendFor finds or makes the outgoing SSRC. One that was used before goes on where it stopped: see send. An SSRC keeps its part for as long as the
// keys live, since two flows under one would use packet indexes twice: nil when ssrc repaired something, and rtx or fec go without when they are taken.
func (e *Endpoint) sendFor(ssrc, rtx, fec uint32, kind MediaKind) *send {
	o := e.sends[ssrc]
	switch {
	case o == nil:
		o = e.newSend(ssrc, rtx, fec, kind)
	case o.ssrc != ssrc:
		return nil
	}
	if o.rtxSSRC == 0 && kind == Video && o.exts == nil {
		o.exts = make([]sentExt, plainRing)
	}
	e.sh.mu.Lock()
	defer e.sh.mu.Unlock()
	e.m.sends[ssrc] = o
	if o.rtxSSRC != 0 {
		e.m.sends[o.rtxSSRC] = o
	}
	return o
}

// newSend makes an outgoing SSRC that was not used before.
func (e *Endpoint) newSend(ssrc, rtx, fec uint32, kind MediaKind) *send {
	if e.sends[rtx] != nil {
		rtx = 0
	}
	if e.sends[fec] != nil || rtx == 0 {
		fec = 0
	}
	o := newSend(ssrc, rtx, kind)
	if fec != 0 {
		o.protection = newProtection(fec)
	}
	for _, x := range []uint32{ssrc, rtx, fec} {
		if x != 0 {
			e.sends[x] = o
		}
	}
	return o
}

// maxGone is how many outgoing SSRCs whose sources have ended keep all that they had: for late requests, and to fill probes.
const maxGone = 64

// retire is told of an outgoing SSRC whose source has ended. Of those that went long ago only what sendFor needs is kept: people come to a meeting and
// go, and who stays would otherwise keep the memory of all.
func (e *Endpoint) retire(o *send) {
	if e.gone = append(e.gone, o); len(e.gone) <= maxGone {
		return
	}
	o = e.gone[0]
	e.gone = e.gone[1:]
	for _, subs := range []iter.Seq[*sub]{maps.Values(e.subs), maps.Values(e.relayed)} {
		for sb := range subs {
			if sb.out == o {
				return // its source has come back
			}
		}
	}
	e.sh.mu.Lock()
	defer e.sh.mu.Unlock()
	delete(e.m.sends, o.ssrc)
	delete(e.m.sends, o.rtxSSRC)
	o.stream.Rest()
	o.exts, o.answers = nil, nil
	if o.protection != nil {
		o.protection.enc = nil
	}
}

// apply makes the packet path follow a subscription.
func (e *Endpoint) apply(sb *sub) {
	sb.pending = false
	now := e.conf.s.now()
	e.sh.mu.Lock()
	e.sh.clock = now
	o := sb.out
	if sb.layer == 0 {
		if o.src == sb.src {
			o.src, o.target, o.hold = nil, 0, 0
			o.stream.Target(0, 0)
		}
	} else {
		age := int64(replaySwitch)
		if o.src != sb.src || o.stream.Current() == 0 {
			age = replayNewcomer
		}
		if o.src != sb.src {
			o.endReplay()
		}
		o.src, o.target = sb.src, sb.layer
		if sb.mid != "" && o.midBytes == nil {
			o.midBytes = []byte(sb.mid)
		}
		o.stream.TargetSVC(sb.layer, sb.sid, sb.tid)
		if e.over && sb.src.lower(sb.layer, o.stream.Current()) {
			o.stream.Ease()
		}
		if sb.src.kind == Video && o.stream.WantsKeyframe() {
			for _, tr := range sb.src.tracks {
				if tr.ssrc == sb.layer && tr.seen.active {
					e.sh.picture(e, o, tr, age, now)
				}
			}
			e.sh.flush()
		}
	}
	e.sh.mu.Unlock()
	if on := sb.layer != 0; on != sb.linked {
		sb.linked = on
		e.conf.fansDirty = true
	}
}

// lower says that SSRC a is a lower layer than b.
func (src *source) lower(a, b uint32) bool {
	place := func(ssrc uint32) int {
		return slices.IndexFunc(src.tracks, func(tr *track) bool { return tr.ssrc == ssrc })
	}
	return place(a) < place(b)
}

// unsubscribe forgets a source that is gone.
func (e *Endpoint) unsubscribe(src *source) {
	delete(e.acked, src)
	for _, tr := range src.tracks {
		if sb := e.relayed[tr]; sb != nil {
			e.relay(tr, false)
			delete(e.relayed, tr)
			e.retire(sb.out)
		}
	}
	sb := e.subs[src]
	if sb == nil {
		return
	}
	sb.layer = 0
	e.apply(sb)
	delete(e.subs, src)
	if !e.cfg.SSRCRewriting {
		e.retire(sb.out)
	}
	if src.kind == Audio && e.audioSlots != nil {
		e.audioSlots.Forget(src.name)
	}
	if src.kind == Video && e.videoSlots != nil {
		e.videoSlots.Forget(src.name)
	}
}

// rebuildFans publishes who gets what. The lists are immutable; the packet path loads them by an atomic pointer.
func (c *Conference) rebuildFans() {
	c.fansDirty = false
	fans := make(map[*source]*fanout)
	add := func(e *Endpoint, sb *sub) {
		if !sb.linked {
			return
		}
		f := fans[sb.src]
		if f == nil {
			f = &fanout{byShard: make([][]link, len(c.s.shards))}
			fans[sb.src] = f
		}
		f.byShard[e.sh.id] = append(f.byShard[e.sh.id], link{e, sb.out})
	}
	for _, e := range c.ordered {
		for _, sb := range e.subs {
			add(e, sb)
		}
		for _, sb := range e.relayed {
			add(e, sb)
		}
	}
	for _, src := range c.sources {
		src.fan.Store(fans[src])
	}
}
