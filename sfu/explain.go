package sfu

import (
	"fmt"
	"slices"
	"strings"

	"konzil/sfu/alloc"
	"konzil/sfu/bwe"
)

// Explanation tells of a conference who gets what, and why. It is for people: texts may change.
type Explanation struct {
	Conference string
	Speakers   []string // endpoints in speaker order
	Receivers  []ReceiverExplanation
}

// ReceiverExplanation is one endpoint as a receiver. Rates are bits per second.
type ReceiverExplanation struct {
	Endpoint  string
	Connected bool
	Estimate  uint64 // what may be sent in all
	Other     uint64 // of that audio and repetitions
	Budget    uint64 // what is left for video
	Allocated uint64 // video chosen
	Next      uint64 // video with the next better layer of something; 0: nothing is better
	Wanted    uint64 // video with the best of everything that is wanted; 0: that is what is sent
	Why       string // in plain words: what sets the estimate
	Path      PathExplanation
	LastN     int      // -1: unlimited
	OnStage   []string `json:",omitempty"`
	Sources   []SourceExplanation
}

// PathExplanation is what was measured of the way to a receiver.
type PathExplanation struct {
	ByDelay, ByLoss, REMB, Acked uint64 // estimates and what arrives, bits per second; 0: none
	Loss                         float64
	RTT, Queue                   float64 // ms
	Probing                      uint64  // bits per second, 0: no probe is under way
	FailedProbes                 int
	Held                         int // packets held back by pacing now
}

// SourceExplanation is one video source at a receiver, in the order of priority.
type SourceExplanation struct {
	Source    string
	MaxHeight int // the effective constraint, after last-n; -1: unlimited
	Layer     string
	Bitrate   uint64
	Height    int
	FPS       float64
	Flowing   uint32 // SSRC of the layer that is being forwarded, 0: none
	Layers    []string
	Why       string // in plain words
}

// Explain tells of every receiver and source why this layer was chosen. Errors: none; a closed conference explains nothing.
func (c *Conference) Explain() Explanation {
	x := Explanation{Conference: c.id}
	c.do(func() {
		c.gather()
		for _, v := range c.voices {
			x.Speakers = append(x.Speakers, v.id)
		}
		for _, e := range c.ordered {
			if !e.cfg.Relay {
				x.Receivers = append(x.Receivers, c.explain(e))
			}
		}
	})
	return x
}

// Explain tells it of the conferences whose ids it is given, of all without.
func (s *SFU) Explain(ids ...string) []Explanation {
	s.mu.Lock()
	var cs []*Conference
	for id, c := range s.confs {
		if len(ids) == 0 || slices.Contains(ids, id) {
			cs = append(cs, c)
		}
	}
	s.mu.Unlock()
	out := make([]Explanation, 0, len(cs))
	for _, c := range cs {
		out = append(out, c.Explain())
	}
	slices.SortFunc(out, func(a, b Explanation) int { return strings.Compare(a.Conference, b.Conference) })
	return out
}

// explain makes the allocation of e once more, without changing anything.
func (c *Conference) explain(e *Endpoint) ReceiverExplanation {
	d := &e.down
	e.sh.mu.Lock()
	st := e.m.est.State()
	held := e.m.pacer.n
	e.sh.mu.Unlock()
	x := ReceiverExplanation{
		Endpoint: e.id, Connected: e.connected, Estimate: d.estimate, Other: uint64(d.other), Budget: d.free(), Allocated: d.cost,
		Next: d.next, Wanted: d.all, Why: whyEstimate(&st), LastN: -1,
		Path: PathExplanation{
			ByDelay: st.Delay, ByLoss: st.Loss, REMB: st.REMB, Acked: st.Acked, Loss: st.LossShare, RTT: float64(st.RTT) / 1e6,
			Queue: float64(st.Queue) / 1e6, Probing: st.Probing, FailedProbes: st.Failed, Held: held,
		},
	}
	if e.want == nil {
		x.Why = "it has not said yet what it wants to see: no video is sent; " + x.Why
		return x
	}
	x.LastN, x.OnStage = e.want.LastN, e.want.OnStage
	s := &c.scratch
	s.choices = s.choices[:0]
	if c.receivable(e) {
		s.choices = alloc.Allocate(s.sources, e.want, d.budget(), s.choices)
	}
	for i := range s.choices {
		x.Sources = append(x.Sources, c.explainSource(e, &s.choices[i], d))
	}
	return x
}

func (c *Conference) explainSource(e *Endpoint, ch *alloc.Choice, d *downlink) SourceExplanation {
	src := c.scratch.of[ch.Index]
	ls := c.scratch.sources[ch.Index].Layers
	x := SourceExplanation{Source: src.name, MaxHeight: ch.Effective.MaxHeight, Layer: "none"}
	for i := range ls {
		x.Layers = append(x.Layers, layerText(&ls[i]))
	}
	if sb := e.subs[src]; sb != nil {
		e.sh.mu.Lock()
		x.Flowing = sb.out.stream.Current()
		e.sh.mu.Unlock()
	}
	if ch.Layer >= 0 {
		ly := &ls[ch.Layer]
		x.Layer, x.Bitrate, x.Height, x.FPS = layerText(ly), ly.Bitrate, ly.Height, ly.FPS
	}
	x.Why = whySource(src, ls, ch, d)
	if ch.Layer >= 0 && x.Flowing != ls[ch.Layer].SSRC {
		x.Why += "; the switch waits for a keyframe"
	}
	return x
}

func layerText(ly *alloc.Layer) string {
	return fmt.Sprintf("%dp%.4g S%dT%d of %d, %d kbit/s", ly.Height, ly.FPS, ly.SID, ly.TID, ly.SSRC, ly.Bitrate/1000)
}

// whySource says in words why a source gets what it gets.
func whySource(src *source, ls []alloc.Layer, ch *alloc.Choice, d *downlink) string {
	best := ch.Best()
	switch {
	case src.video == NoVideo:
		return "the source is off"
	case ch.Effective.MaxHeight == 0:
		return "not wanted: its constraint is 0, or it is beyond last-n"
	case len(ls) == 0:
		return "wanted, but nothing of it has come lately"
	case ch.Oversend:
		return fmt.Sprintf("does not fit into the budget of %d kbit/s, but is never switched off: its lowest layer is sent all the same", d.free()/1000)
	case ch.Layer < 0:
		return fmt.Sprintf("its lowest layer (%d kbit/s) does not fit into what sources before it leave of the budget of %d kbit/s", ls[0].Bitrate/1000, d.free()/1000)
	case ch.Layer == best && best == len(ls)-1:
		return "the best there is"
	case ch.Layer == best && ch.Effective.MaxHeight > 0 && ls[ch.Layer].Height > ch.Effective.MaxHeight:
		return fmt.Sprintf("all are above the wanted %d lines: the lowest", ch.Effective.MaxHeight)
	case ch.Layer == best:
		return fmt.Sprintf("the best within the wanted %d lines and %.4g frames a second (0: any)", ch.Effective.MaxHeight, ch.Effective.MaxFPS)
	}
	return fmt.Sprintf("better ones (up to %d kbit/s) do not fit into the budget of %d kbit/s beside the others", ls[best].Bitrate/1000, d.free()/1000)
}

// whyEstimate says in words what sets an estimate.
func whyEstimate(s *bwe.State) string {
	var w []string
	switch {
	case s.REMB > 0:
		w = append(w, "the receiver estimates for itself (REMB)")
	case s.Acked == 0:
		w = append(w, "nothing was measured yet: the estimate is where it starts")
	case s.Loss > 0:
		w = append(w, fmt.Sprintf("losses (%.1f %%) limit it", 100*s.LossShare))
	case s.Overuse:
		w = append(w, fmt.Sprintf("a queue grows on the way (%d ms): it was lowered", s.Queue/1e6))
	case s.AppLimited:
		w = append(w, "more is allowed than is sent; nothing lowers it")
	default:
		w = append(w, "what is sent uses it, and delay is steady: it grows")
	}
	if s.Probing > 0 {
		w = append(w, fmt.Sprintf("a probe at %d kbit/s is under way", s.Probing/1000))
	} else if s.Failed > 0 {
		w = append(w, fmt.Sprintf("the last %d probes found no more", s.Failed))
	}
	return strings.Join(w, "; ")
}
