package sfu

import "konzil/sfu/alloc"

// A newcomer's first pictures. ICE and DTLS take some round trips, and so does a keyframe that must be asked for. So it is asked for as soon
// as the newcomer has answered the offer, and lies in the keyframe cache (replay.go) when the handshakes are done: the newcomer then sees
// something at once, and not after the next round trip to the sender and the next picture of that. Most clients say over their channel what they want to
// see, which takes two round trips more: of simulcast a keyframe is then asked for when they have connected.

// foreseenShare is the part of what a repetition may cost that may be used up when the newcomer has yet to connect: the rest is for what the
// sender sends until then.
const foreseenShare = 2

// foreseenSpeakers is of how many sources, in speaker order, those are foreseen that have not said yet what they want: the stage, and some beside it.
const foreseenSpeakers = 4

// foresee asks for the keyframes that e will need when it has connected for the first time, as far as what it will get is known: of
// simulcast only when e has said what it wants.
func (c *Conference) foresee(e *Endpoint, now int64) {
	if e.removed || e.cfg.Relay || e.connectedAt != 0 || c.s.cfg.NoKeyframeCache {
		return
	}
	c.gather()
	c.offer(e)
	s := &c.scratch
	if e.want == nil {
		for _, src := range s.of {
			if len(src.tracks) == 1 {
				e.foreseeTrack(src.tracks[0], now)
			}
		}
		return
	}
	s.choices = alloc.Allocate(s.sources, e.want, e.down.budget(), s.choices[:0])
	for i := range s.choices {
		if ch := &s.choices[i]; ch.Layer >= 0 {
			ssrc := s.sources[ch.Index].Layers[ch.Layer].SSRC
			for _, tr := range s.of[ch.Index].tracks {
				if tr.ssrc == ssrc {
					e.foreseeTrack(tr, now)
				}
			}
		}
	}
}

// foreseeSpeakers asks for keyframes of what e, which has connected and has not said what it wants, will probably want, in all layers: libwebrtc's encoders
// make keyframes of all when they are asked for one.
func (c *Conference) foreseeSpeakers(e *Endpoint, now int64) {
	if e.removed || e.cfg.Relay || e.want != nil || c.s.cfg.NoKeyframeCache {
		return
	}
	c.gather()
	c.offer(e)
	for _, src := range c.scratch.of[:min(len(c.scratch.of), foreseenSpeakers)] {
		for _, tr := range src.tracks {
			e.foreseeTrack(tr, now)
		}
	}
}

// foreseeTrack asks for a keyframe of tr unless the one in the cache will do for e.
func (e *Endpoint) foreseeTrack(tr *track, now int64) {
	if !tr.seen.active {
		return
	}
	sh := tr.ep.sh
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.clock = now
	if !sh.replayable(tr, replayRate(e.down.estimate)/foreseenShare, replayNewcomer, now) {
		sh.count.inc(cForeseen)
		sh.wantKeyframe(tr, now)
		sh.flush()
	}
}
