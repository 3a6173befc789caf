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
}

// better tells whether a new conference of a region is better off with a than with b.
func better(a, b *state, region string, now time.Time) bool {
	rank := func(s *state) (r int) {
		for _, bad := range []bool{!s.open, now.Sub(s.failed) < rest, s.fallback, s.load(now) >= overload, region != "" && s.region != region} {
			r <<= 1
			if bad {
				r |= 1
			}
		}
		return r
	}
	ra, rb := rank(a), rank(b)
	if ra != rb {
		return ra < rb
	}
	return a.load(now) < b.load(now)
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
