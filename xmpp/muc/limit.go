package muc

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"konzil/xmpp/stanza"
)

// maxLimited bounds how many people's allowances are remembered; above, all are forgotten, which only errs in their favour.
const maxLimited = 50_000

// joinCost is what a join takes from a person's allowance for the join itself, as so many presences; to these come those of the occupants.
const joinCost = 10

// joinLimit bounds how often one person may enter rooms: a join costs as many stanzas as there are occupants, twice.
type joinLimit struct {
	rate  rate.Limit
	burst int

	mu sync.Mutex // guards by
	by map[stanza.JID]*rate.Limiter
}

// allow takes a join of a room with so many occupants from the allowance of who, a bare JID.
func (l *joinLimit) allow(who stanza.JID, occupants int, now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	lim := l.by[who]
	if lim == nil {
		if len(l.by) >= maxLimited {
			clear(l.by)
		}
		lim = rate.NewLimiter(l.rate, l.burst)
		l.by[who] = lim
	}
	return lim.AllowN(now, min(joinCost+occupants, l.burst))
}
