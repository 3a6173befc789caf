package sfu

import (
	"slices"

	"konzil/sfu/alloc"
	"konzil/sfu/rewrite"
	"konzil/sfu/slots"
)

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
