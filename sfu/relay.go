package sfu

import (
	"fmt"
	"slices"

	"konzil/sfu/alloc"
	"konzil/sfu/rewrite"
)

// Relays. A conference that is spread over several bridges has an endpoint with EndpointConfig.Relay for each other bridge: one transport over
// which each sends what its own clients send, each layer at most once, under the SSRCs of the clients. So
//
//   - sources of a relay's endpoint belong to those at the other end (Source.Owner), whom a voice stands for beside our own endpoints;
//   - what comes from a relay goes to our clients, never to another relay: bridges are a full mesh, nothing passes two of them;
//   - a relay gets all audio, and of video what the other bridge says that its clients want (Endpoint.SetConstraints), up to the lowest layer
//     that is tall enough for it. The other bridge chooses among those for each client. Servers are well connected: there is no estimate
//     and no pacing between them.
//
// What our clients want of a relay's sources comes out as Events.SenderConstraint, as it does for our own clients' sources.

// voice is somebody whom sources belong to and who may speak: an endpoint of ours, or one at the other end of a relay. Control goroutine.
type voice struct {
	id    string
	index int32
	ep    *Endpoint // that brings the sources
	names []string  // of the sources, in order
}

// join adds a voice, last in the order of speakers.
func (c *Conference) join(id string, e *Endpoint) *voice {
	v := &voice{id: id, index: c.nextIndex, ep: e}
	c.nextIndex++
	c.byIndex[v.index] = v
	c.voices = append(c.voices, v)
	return v
}

// leave takes a voice out.
func (c *Conference) leave(v *voice) {
	delete(c.byIndex, v.index)
	c.det.Remove(v.index)
	c.voices = slices.DeleteFunc(c.voices, func(x *voice) bool { return x == v })
}

// voiceOf finds or makes the voice of a source's owner.
func (e *Endpoint) voiceOf(owner string) *voice {
	if !e.cfg.Relay {
		owner = e.id
	}
	v := e.voices[owner]
	if v == nil {
		v = e.conf.join(owner, e)
		e.voices[owner] = v
	}
	return v
}

// nameSources gives each voice of e the names of its sources; those at the other end of a relay without any are voices no more.
func (e *Endpoint) nameSources() {
	for _, v := range e.voices {
		v.names = v.names[:0]
	}
	for _, name := range e.ownNames() {
		v := e.sources[name].by
		v.names = append(v.names, name)
	}
	if !e.cfg.Relay {
		return
	}
	for id, v := range e.voices {
		if len(v.names) == 0 {
			delete(e.voices, id)
			e.conf.leave(v)
		}
	}
}

// checkOwner refuses sources of others than e itself, and a relay's of one of our own endpoints or of another relay's.
func (e *Endpoint) checkOwner(s *Source) error {
	if !e.cfg.Relay {
		if s.Owner != "" && s.Owner != e.id {
			return fmt.Errorf("%w: %q of %q", ErrSources, s.Name, s.Owner)
		}
		return nil
	}
	if s.Owner == "" {
		return fmt.Errorf("%w: %q of nobody", ErrSources, s.Name)
	}
	for _, v := range e.conf.voices {
		if v.id == s.Owner && v.ep != e {
			return fmt.Errorf("%w: %q of %q, who is at %q", ErrSources, s.Name, s.Owner, v.ep.id)
		}
	}
	return nil
}

// mayGet tells whether a source can go to e at all.
func (e *Endpoint) mayGet(src *source) bool {
	return src.ep != e && !(e.cfg.Relay && src.ep.cfg.Relay)
}

// allocateRelay decides what goes to another bridge. tallest is as for allocateVideo.
func (c *Conference) allocateRelay(e *Endpoint, tallest map[*source]int) {
	e.dirty = false
	s := &c.scratch
	for i, src := range s.videoOf {
		if !e.mayGet(src) {
			continue
		}
		h := 0
		if e.connected && e.want != nil {
			h = e.want.Default.MaxHeight
			if l, ok := e.want.Per[src.name]; ok {
				h = l.MaxHeight
			}
		}
		if h != 0 && tallest != nil {
			if t, ok := tallest[src]; !ok || t >= 0 && (h < 0 || h > t) {
				tallest[src] = h
			}
		}
		more := h != 0
		for _, tr := range src.tracks {
			e.relay(tr, more)
			if h > 0 && tallestOf(s.video[i].Layers, tr.ssrc) >= h {
				more = false
			}
		}
	}
	for _, src := range s.audioOf {
		if e.mayGet(src) {
			e.relay(src.tracks[0], e.connected)
		}
	}
}

// tallestOf is the height of what an SSRC carries, 0: nothing now.
func tallestOf(layers []alloc.Layer, ssrc uint32) (h int) {
	for i := range layers {
		if layers[i].SSRC == ssrc {
			h = max(h, layers[i].Height)
		}
	}
	return h
}

// relay makes one SSRC flow to another bridge, or stops it.
func (e *Endpoint) relay(tr *track, on bool) {
	sb := e.relayed[tr]
	if sb == nil {
		if !on {
			return
		}
		rtx := tr.rtx
		if tr.src.kind == Audio || !e.hasRTX {
			rtx = 0
		}
		o := e.sendFor(tr.ssrc, rtx, 0, tr.src.kind)
		if o == nil {
			return
		}
		sb = &sub{src: tr.src, out: o}
		e.relayed[tr] = sb
	}
	var target uint32
	if on {
		target = tr.ssrc
	}
	if sb.layer != target {
		sb.layer, sb.sid, sb.tid = target, rewrite.All, rewrite.All
		e.apply(sb)
	}
}
