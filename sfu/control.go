package sfu

import (
	"fmt"
	"math/bits"
	"slices"

	"konzil/sfu/alloc"
	"konzil/sfu/rewrite"
	"konzil/sfu/slots"
)

const (
	// activeFor is how long a layer counts as sent after its last packet; a shared screen may pause between frames.
	activeFor       = int64(1500e6)
	activeForScreen = int64(6000e6)
	activeForAudio  = int64(5000e6) // DTX still sends each 400 ms
	// rateSlots is the window of rate measurement in looks: one second.
	rateSlots = 10
	// guessTop is the smaller side of the top layer while nothing is known: cameras send 720p.
	guessTop = 720
)

// observed is what the control loop knows of a track. Control goroutine.
type observed struct {
	bytes   [rateSlots]rates[uint32]
	frames  [rateSlots]rates[uint16]
	took    [rateSlots]int64 // ns between the looks: they come late on a busy machine
	looked  int64            // when the last look was
	slot    int
	filled  int
	heights [maxSID + 1]int
	spatial uint8 // mask of the spatial layers that are being sent
	active  bool
	svc, dd bool // layers in one SSRC; told by the dependency descriptor
	apart   bool // which do not refer to each other
}

// observe copies what the packet path gathered for e; true when an allocation should follow.
func (e *Endpoint) observe(now int64) (again bool) {
	lv := &e.conf.scratch.levels
	for _, src := range e.sources {
		for _, tr := range src.tracks {
			*lv = (*lv)[:0]
			e.sh.mu.Lock()
			bytes, frames, heights, last := tr.bytes, tr.frames, tr.heights, tr.lastRTP
			o := &tr.seen
			o.svc, o.dd, o.apart = tr.svc, tr.svc && tr.dd != nil, tr.svc && tr.apart
			tr.bytes, tr.frames = rates[uint64]{}, rates[uint32]{}
			if tr.levelHead-tr.levelTail > levelRing {
				tr.levelTail = tr.levelHead - levelRing
			}
			for ; tr.levelTail < tr.levelHead; tr.levelTail++ {
				*lv = append(*lv, tr.levels[tr.levelTail%levelRing])
			}
			e.sh.mu.Unlock()
			for _, l := range *lv {
				e.conf.det.Level(src.by.index, l.level, l.at)
			}
			if src.kind != Video {
				if active := last != 0 && now-last < activeForAudio; active != o.active {
					o.active = active
					again = true
				}
				continue
			}
			spatial, full := o.note(now, &bytes, &frames)
			limit := activeFor
			if src.video == Desktop || src.video == DesktopHighFPS {
				limit = activeForScreen
			}
			active := last != 0 && now-last < limit && src.video != NoVideo
			if active != o.active || heights != o.heights || spatial != o.spatial {
				if active && !o.active {
					o.filled = 1
				}
				o.active, o.heights, o.spatial = active, heights, spatial
				again = true
			}
			// The first looks see little but a keyframe, and may find a source too dear that is not.
			again = again || full && active
		}
	}
	e.sh.mu.Lock()
	e.down.measure(&e.m, now, e.hasRTX)
	e.sh.mu.Unlock()
	if e.down.stale() {
		e.stir()
	}
	return again
}

// note takes one look's figures. It returns the mask of the spatial layers that the window has something of, and whether the window has
// just become full.
func (o *observed) note(now int64, bytes *rates[uint64], frames *rates[uint32]) (spatial uint8, full bool) {
	o.slot = (o.slot + 1) % rateSlots
	full = o.filled == rateSlots-1
	o.filled = min(o.filled+1, rateSlots)
	o.took[o.slot] = int64(look)
	if o.looked != 0 {
		o.took[o.slot] = max(o.took[o.slot], now-o.looked)
	}
	o.looked = now
	for i := range bytes {
		for j := range bytes[i] {
			o.bytes[o.slot][i][j] = uint32(bytes[i][j])
			o.frames[o.slot][i][j] = uint16(frames[i][j])
		}
	}
	for s := range o.bytes {
		for i := range o.bytes[s] {
			if o.bytes[s][i] != [maxTID + 1]uint32{} {
				spatial |= 1 << i
			}
		}
	}
	return spatial, full
}

// seconds is the time that the window covers.
func (o *observed) seconds() float64 {
	var ns int64
	for i := range o.filled {
		ns += o.took[(o.slot-i+rateSlots)%rateSlots]
	}
	return float64(max(ns, int64(look))) / 1e9
}

// layers appends the active layers of a source, low to high, with their measured rates.
func (src *source) layers(dst []alloc.Layer) []alloc.Layer {
	n, sent := len(src.tracks), 0
	for _, tr := range src.tracks {
		if tr.seen.active {
			sent++
		}
	}
	for i, tr := range src.tracks {
		if o := &tr.seen; o.active {
			guess := guessTop >> max(n-1-i, 0)
			if o.svc && sent == 1 { // simulcast layers may have dependency descriptors, too
				guess = guessTop
			}
			dst = o.layers(dst, tr.ssrc, guess)
		}
	}
	return dst
}

// layers appends the layers of one SSRC. What it takes to forward one is what all lower ones take, too, unless they are apart. top is the height of the
// highest one when nothing tells it; each lower spatial layer has half of it then.
func (o *observed) layers(dst []alloc.Layer, ssrc uint32, top int) []alloc.Layer {
	at := len(dst)
	secs := o.seconds()
	var below [maxTID + 1]uint64 // bytes of the lower spatial layers
	for sid := range maxSID + 1 {
		h := o.heights[sid]
		if h == 0 {
			h = top >> max(bits.Len8(o.spatial)-1-sid, 0)
		}
		if o.apart {
			below = [maxTID + 1]uint64{}
		}
		var sum, fps float64
		for tid := range maxTID + 1 {
			var b, f uint64
			for s := range rateSlots {
				b += uint64(o.bytes[s][sid][tid])
				f += uint64(o.frames[s][sid][tid])
			}
			below[tid] += b
			sum += float64(below[tid])
			fps += float64(f) / secs
			if b > 0 {
				dst = append(dst, alloc.Layer{SSRC: ssrc, SID: uint8(sid), TID: uint8(tid), Height: h, FPS: fps, Bitrate: uint64(sum * 8 / secs)})
			}
		}
	}
	if len(dst) == at {
		h := o.heights[0]
		if h == 0 {
			h = top
		}
		dst = append(dst, alloc.Layer{SSRC: ssrc, TID: maxTID, Height: h})
	}
	return dst
}

// allocate decides for every receiver what it gets, tells those concerned, and makes the packet path do it.
func (c *Conference) allocate(now int64) {
	c.dirty, c.stirred, c.again = false, false, 0
	c.allocated = now
	tallest := map[*source]int{}
	c.gather()
	for _, e := range c.ordered {
		if e.cfg.Relay {
			c.allocateRelay(e, tallest)
			continue
		}
		c.allocateVideo(e, now, tallest)
		c.allocateAudio(e, now)
	}
	if c.fansDirty {
		c.rebuildFans()
	}
	c.constrainSenders(tallest, now)
	for _, e := range c.ordered {
		for _, src := range e.sources {
			src.retyped = false
		}
	}
	end := c.s.now()
	c.rested = end + min(restAfter*(end-now), int64(maxRest))
}

// stir has the allocation of one receiver made again at once.
func (e *Endpoint) stir() { e.dirty, e.conf.stirred = true, true }

// reallocate decides again for the receivers that were stirred; what is sent is as it was.
func (c *Conference) reallocate(now int64) {
	c.stirred = false
	c.gather()
	for _, e := range c.ordered {
		switch {
		case !e.dirty:
		case e.cfg.Relay:
			c.allocateRelay(e, nil)
		default:
			c.allocateVideo(e, now, nil)
			c.allocateAudio(e, now)
		}
	}
	if c.fansDirty {
		c.rebuildFans()
	}
}

// gather lists the sources of all endpoints in speaker order, with the layers that are being sent: the same for every
// receiver, so it is done once.
func (c *Conference) gather() {
	s := &c.scratch
	clear(s.of) // sources that have gone, and their histories, are let go
	clear(s.videoOf)
	clear(s.audioOf)
	s.of = s.of[:0]
	s.video, s.videoOf, s.audioOf, s.layers = s.video[:0], s.videoOf[:0], s.audioOf[:0], s.layers[:0]
	for _, v := range c.voices {
		for _, name := range v.names {
			src := v.ep.sources[name]
			if src.kind == Audio {
				s.audioOf = append(s.audioOf, src)
				continue
			}
			n := len(s.layers)
			s.layers = src.layers(s.layers)
			s.video = append(s.video, alloc.Source{Name: name, Type: uint8(src.video), Layers: s.layers[n:len(s.layers):len(s.layers)]})
			s.videoOf = append(s.videoOf, src)
		}
	}
}

// allocateVideo chooses the layers of one receiver. tallest collects what is wanted of each source; nil: it has not changed.
func (c *Conference) allocateVideo(e *Endpoint, now int64, tallest map[*source]int) {
	s := &c.scratch
	s.choices = s.choices[:0]
	if c.receivable(e) {
		e.down.cost = e.heldCost(s.sources, s.of)
		e.over = e.down.over()
		s.choices = alloc.Allocate(s.sources, e.want, e.down.budget(), s.choices)
	}
	e.dirty, e.again = false, 0
	e.note(s.sources, s.choices)
	got := map[*source]bool{}
	var forwarded []string
	var changed []SourceMapping
	for i := range s.choices {
		ch := &s.choices[i]
		src := s.of[ch.Index]
		h := ch.Effective.MaxHeight
		if h != 0 && tallest != nil {
			if t, ok := tallest[src]; !ok || (t >= 0 && (h < 0 || h > t)) {
				tallest[src] = h
			}
		}
		var ssrc uint32
		var sid, tid uint8
		var held heldLayer
		layers := s.sources[ch.Index].Layers
		switch {
		case ch.Layer >= 0:
			ly := &layers[ch.Layer]
			ssrc, sid, tid = ly.SSRC, ly.SID, ly.TID
			top := ch.Layer == len(layers)-1 || layers[ch.Layer+1].SSRC != ssrc
			if top || layers[ch.Layer+1].SID != sid {
				tid = rewrite.All // a temporal layer that was not seen yet too
			}
			if top && (h < 0 || h > ly.Height) {
				sid = rewrite.All // and a spatial one, as far as it is wanted
			}
			forwarded = append(forwarded, src.name)
			held = heldLayer{ly.SSRC, ly.SID, ly.TID}
		case h != 0 && len(layers) == 0 && src.video != NoVideo && (!e.cfg.SSRCRewriting || e.subs[src] != nil):
			// Wanted but not sent yet: the first keyframe shall pass at once. A slot is given only to what is sent.
			ssrc, tid = src.tracks[0].ssrc, rewrite.All
		default:
			continue
		}
		if m, ok := e.subscribe(src, ssrc, sid, tid, now, ch.Layer >= 0); ok {
			got[src] = true
			e.subs[src].held = held
			if m != nil {
				changed = append(changed, *m)
			}
		}
	}
	c.finishVideo(e, got, forwarded, changed)
}

// receivable lists what e could get, in speaker order; false when it gets nothing yet.
func (c *Conference) receivable(e *Endpoint) bool {
	c.offer(e)
	return e.want != nil && e.connected
}

// offer lists what the others send, as far as e can take it.
func (c *Conference) offer(e *Endpoint) {
	s := &c.scratch
	clear(s.of)
	s.sources, s.of = s.sources[:0], s.of[:0]
	for i, src := range s.videoOf {
		if e.mayGet(src) {
			s.of = append(s.of, src)
			v := s.video[i]
			if n := len(v.Layers); n > 1 && e.ext.dd == 0 && src.tracks[0].seen.dd && !src.tracks[0].seen.apart {
				v.Layers = v.Layers[n-1:] // see send: it gets the whole stream
			}
			s.sources = append(s.sources, v)
		}
	}
}

// finishVideo stops what is not chosen any more and tells the receiver. Mappings go out before media can: the new
// targets are set in apply, after the event.
func (c *Conference) finishVideo(e *Endpoint, got map[*source]bool, forwarded []string, changed []SourceMapping) {
	for src, sb := range e.subs {
		if src.kind == Video && !got[src] && sb.layer != 0 {
			sb.layer, sb.pending, sb.held = 0, true, heldLayer{}
			if e.videoSlots != nil {
				e.videoSlots.SetForwarded(src.name, false)
			}
		}
	}
	if len(changed) > 0 {
		c.ev.VideoMappings(e.id, changed)
	}
	for _, sb := range e.subs {
		switch {
		case !sb.pending || sb.src.kind != Video:
		case sb.layer != 0 && !e.knows(sb, c.s.now()):
		default:
			e.apply(sb)
		}
	}
	slices.Sort(forwarded)
	if !slices.Equal(forwarded, e.forwarded) {
		e.forwarded = forwarded
		c.ev.ForwardedSources(e.id, slices.Clone(forwarded))
	}
}

// allocateAudio gives a receiver every audio source that it subscribes to.
func (c *Conference) allocateAudio(e *Endpoint, now int64) {
	var changed []SourceMapping
	crowded := e.cfg.SSRCRewriting && len(c.scratch.audioOf) > slots.MaxAudio
	for _, src := range c.scratch.audioOf {
		if src.ep == e {
			continue
		}
		if !e.hears() || !e.audio.wants(src.name) {
			if sb := e.subs[src]; sb != nil && sb.layer != 0 {
				sb.layer, sb.pending = 0, true
				if e.audioSlots != nil {
					e.audioSlots.SetForwarded(src.name, false)
				}
			}
			continue
		}
		// While there are slots for all, all have one. Else silent sources give theirs to those that are heard.
		flows := !crowded || src.tracks[0].seen.active
		if !flows && e.subs[src] == nil {
			continue
		}
		if m, _ := e.subscribe(src, src.tracks[0].ssrc, rewrite.All, rewrite.All, now, flows); m != nil {
			changed = append(changed, *m)
		}
	}
	if len(changed) > 0 {
		c.ev.AudioMappings(e.id, changed)
	}
	for _, sb := range e.subs {
		switch {
		case !sb.pending || sb.src.kind != Audio:
		case sb.layer != 0 && (!e.connected || !e.knows(sb, now)):
		default:
			e.apply(sb)
		}
	}
}

// hears says whether e can be told of audio. One that has not connected yet learns of the slots meanwhile: it needs time to take them in.
func (e *Endpoint) hears() bool { return e.ready && (e.connected || e.connectedAt == 0) }

// wants says whether an audio source is subscribed to.
func (a *AudioSubscription) wants(name string) bool {
	if a.None {
		return slices.Contains(a.Include, name)
	}
	return !slices.Contains(a.Exclude, name)
}

// subscribe makes src flow to e on the given layer, from the next apply on. It returns the mapping when the receiver has
// to be told of one, and false when there is no slot.
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
			sb = &sub{src: src, out: e.sendFor(out, rtx, 0, src.kind), notBefore: now + announceTime}
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
		sb = &sub{src: src, out: e.sendFor(src.tracks[0].ssrc, rtx, fec, src.kind)}
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

// sendFor finds or makes the outgoing SSRC. One that was used before goes on where it stopped: see send.
func (e *Endpoint) sendFor(ssrc, rtx, fec uint32, kind MediaKind) *send {
	if o := e.sends[ssrc]; o != nil {
		return o
	}
	o := newSend(ssrc, rtx, kind)
	if rtx == 0 && kind == Video {
		o.exts = make([]sentExt, plainRing)
	}
	if fec != 0 {
		o.protection = newProtection(fec)
	}
	e.sends[ssrc] = o
	e.sh.mu.Lock()
	e.m.sends[ssrc] = o
	if rtx != 0 {
		e.m.sends[rtx] = o
	}
	e.sh.mu.Unlock()
	return o
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
		if e.relayed[tr] != nil {
			e.relay(tr, false)
			delete(e.relayed, tr)
		}
	}
	sb := e.subs[src]
	if sb == nil {
		return
	}
	sb.layer = 0
	e.apply(sb)
	delete(e.subs, src)
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

// unwantedFor is how long nobody must have wanted a source before its sender is told so for the first time. Receivers say what they
// want only once their channel is open; a sender told 0 in between would stop for nothing.
const unwantedFor = 1500 * 1e6

// constrainSenders tells each sender the tallest that anybody wants of its sources, when that has changed. When somebody has said for
// the first time what it wants, all are told again: Jitsi clients keep the figure with the session that is active when it comes, so two who
// were connected to each other may not know it.
func (c *Conference) constrainSenders(tallest map[*source]int, now int64) {
	retell := c.retell
	c.retell = false
	for _, e := range c.ordered {
		for _, name := range e.ownNames() {
			src := e.sources[name]
			if src.kind != Video {
				continue
			}
			h := tallest[src]
			old, told := e.constraint[name]
			if !told && h == 0 {
				if !c.othersHaveSpoken(e) {
					continue
				}
				since, ok := e.unwanted[name]
				if !ok {
					since, e.unwanted[name] = now, now
				}
				if now-since < unwantedFor && !e.cfg.Relay {
					c.again = sooner(c.again, since+unwantedFor)
					continue
				}
			}
			delete(e.unwanted, name)
			// Two may be connected to each other, and would take the figure for that path: wait until media comes here again. Who was told 0
			// sends nothing before it is told otherwise.
			if len(c.voices) == 2 && !e.cfg.Relay && !src.sending() && h != 0 && (!told || old != 0) {
				continue
			}
			if !told || old != h || retell {
				e.constraint[name] = h
				c.ev.SenderConstraint(e.id, name, h)
			}
		}
	}
}

// sending tells whether anything of src has come lately.
func (src *source) sending() bool {
	for _, tr := range src.tracks {
		if tr.seen.active {
			return true
		}
	}
	return false
}

// othersHaveSpoken tells whether any receiver but e has said what it wants.
func (c *Conference) othersHaveSpoken(e *Endpoint) bool {
	for _, o := range c.ordered {
		if o != e && o.want != nil {
			return true
		}
	}
	return false
}

// freshKey is how young a keyframe must be to do for a new speaker: receivers that put the speaker on stage take it from the cache.
const freshKey = int64(replaySwitch)

// prepare asks for keyframes of a new speaker's cameras: clients will want them larger in a moment, all at the same time.
func (c *Conference) prepare(v *voice, now int64) {
	if len(c.voices) < 3 {
		return // of two nobody changes places
	}
	e := v.ep
	e.sh.mu.Lock()
	defer e.sh.mu.Unlock()
	e.sh.clock = now
	for _, name := range v.names {
		src := e.sources[name]
		if src.kind != Video || src.video != Camera {
			continue
		}
		for _, tr := range src.tracks {
			if tr.seen.active && now-tr.lastKey > freshKey {
				e.sh.wantKeyframe(tr, now)
			}
		}
	}
	e.sh.flush()
}
