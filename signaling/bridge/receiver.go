package bridge

import (
	"slices"

	"konzil/sfu"
	"konzil/signaling/bridgechan"
)

// Heights, of the smaller side, that hold before a client has said what it wants.
const (
	defaultHeight   = 180 // its first message has no default, or it has no channel to say anything on
	initialHeight   = 0   // before the first message: nothing
	unlimitedLastN  = -1
	maxKeptSelected = 256 // of on-stage and selected lists; nobody shows more at once
)

// receiver is what one endpoint wants of video, as its messages add up. Pure.
type receiver struct {
	lastN             int
	onStage, selected []string // source names
	onStageEPs, selEP []string // legacy: endpoint ids
	def               sfu.Constraint
	sources           map[string]bridgechan.Constraint
	heard             bool // a ReceiverVideoConstraints came
}

func newReceiver() receiver {
	return receiver{lastN: unlimitedLastN, def: sfu.Constraint{MaxHeight: initialHeight, MaxFrameRate: -1}}
}

// apply takes a message: absent fields keep what they were, a constraints map replaces the whole map.
func (r *receiver) apply(m bridgechan.ReceiverVideoConstraints) {
	if m.LastN != nil {
		r.lastN = *m.LastN
	}
	keep := func(dst *[]string, src []string) {
		if src != nil {
			*dst = src[:min(len(src), maxKeptSelected)]
		}
	}
	keep(&r.onStage, m.OnStage)
	keep(&r.selected, m.Selected)
	keep(&r.onStageEPs, m.OnStageEndpoints)
	keep(&r.selEP, m.SelectedEndpoints)
	switch {
	case m.Default != nil:
		r.def = sfu.Constraint(*m.Default)
	case !r.heard:
		r.def = sfu.Constraint{MaxHeight: defaultHeight, MaxFrameRate: -1}
	}
	if m.Constraints != nil {
		r.sources = m.Constraints
	}
	r.heard = true
}

// silent gives a client that cannot speak something to see. It tells whether that changed anything.
func (r *receiver) silent() bool {
	if r.heard {
		return false
	}
	r.heard = true
	r.def = sfu.Constraint{MaxHeight: defaultHeight, MaxFrameRate: -1}
	return true
}

// constraints is r in the sfu's terms. videoOf gives the video sources of an endpoint, nil for a name that is none.
func (r *receiver) constraints(videoOf func(endpoint string) []string) sfu.VideoConstraints {
	expand := func(names, endpoints []string) []string {
		out := slices.Clone(names)
		for _, ep := range endpoints {
			for _, s := range videoOf(ep) {
				if !slices.Contains(out, s) {
					out = append(out, s)
				}
			}
		}
		return out
	}
	c := sfu.VideoConstraints{LastN: r.lastN, OnStage: expand(r.onStage, r.onStageEPs), Selected: expand(r.selected, r.selEP),
		Default: r.def, Sources: make(map[string]sfu.Constraint, len(r.sources))}
	for name, x := range r.sources { // an endpoint's constraint goes to all its video
		for _, s := range videoOf(name) {
			c.Sources[s] = sfu.Constraint(x)
		}
	}
	for name, x := range r.sources { // a source's own comes first
		if videoOf(name) == nil {
			c.Sources[name] = sfu.Constraint(x)
		}
	}
	return c
}

// legacy tells that r names endpoints, so that it must be worked out anew when somebody's sources change.
func (r *receiver) legacy(isEndpoint func(string) bool) bool {
	if len(r.onStageEPs)+len(r.selEP) > 0 {
		return true
	}
	for name := range r.sources {
		if isEndpoint(name) {
			return true
		}
	}
	return false
}

// wants tells whether any of the sources is on stage or has a constraint above nothing.
func (r *receiver) wants(endpoint string, sources []string) bool {
	if slices.Contains(r.onStageEPs, endpoint) {
		return true
	}
	if x, ok := r.sources[endpoint]; ok && x.MaxHeight != 0 {
		return true
	}
	for _, s := range sources {
		x, ok := r.sources[s]
		if slices.Contains(r.onStage, s) || ok && x.MaxHeight != 0 || !ok && r.def.MaxHeight != 0 {
			return true
		}
	}
	return false
}
