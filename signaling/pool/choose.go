package pool

import "time"

const (
	// overload is the stress above which a bridge gets no conference while there are others.
	overload = 0.8
	// placing is how much stress a conference that was placed less than settling ago counts for: it is not in the bridge's own figures yet.
	placing  = 0.01
	settling = 20 * time.Second
	// rest is how long a bridge that failed is passed over.
	rest = time.Minute
)

// state is what is known of a bridge.
type state struct {
	stress   float64
	region   string
	open     bool // takes new conferences: healthy, neither draining nor shutting down
	failed   time.Time
	placed   []time.Time // when it got conferences lately
	fallback bool        // only when there is no other
	relayID  string      // for other bridges of a conference, "": it works alone
	version  string
}

// candidate is a bridge that a new endpoint of a conference may get.
type candidate struct {
	*state
	in   bool // the conference is there already
	full bool // with as many endpoints as may be
}

// better tells whether an endpoint of a region is better off with a than with b.
func (a *candidate) better(b *candidate, region string, now time.Time) bool {
	ra, rb := a.rank(region, now), b.rank(region, now)
	if ra != rb {
		return ra < rb
	}
	return a.load(now) < b.load(now)
}

// rank has a bit for each thing that speaks against a bridge, the worst first.
func (a *candidate) rank(region string, now time.Time) (r int) {
	for _, bad := range []bool{!a.open, now.Sub(a.failed) < rest, a.fallback, a.full, a.load(now) >= overload, region != "" && a.region != region, !a.in} {
		r <<= 1
		if bad {
			r |= 1
		}
	}
	return r
}

// together tells whether two bridges can have a conference together.
func (s *state) together(o *state) bool {
	return s.relayID != "" && o.relayID != "" && s.relayID != o.relayID && s.version == o.version
}

// load is the stress with what is on its way.
func (s *state) load(now time.Time) float64 {
	n := 0
	for _, t := range s.placed {
		if now.Sub(t) < settling {
			n++
		}
	}
	return s.stress + placing*float64(n)
}

// got notes a conference that was placed now.
func (s *state) got(now time.Time) {
	kept := s.placed[:0]
	for _, t := range s.placed {
		if now.Sub(t) < settling {
			kept = append(kept, t)
		}
	}
	s.placed = append(kept, now)
}
