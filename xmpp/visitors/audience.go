package visitors

import (
	"time"

	"golang.org/x/time/rate"

	"konzil/xmpp/jitsi"
	"konzil/xmpp/stanza"
)

// Namespaces.
const (
	nsMUC         = "http://jabber.org/protocol/muc"
	nsUser        = "http://jabber.org/protocol/muc#user"
	nsPing        = "urn:xmpp:ping"
	nsNick        = "http://jabber.org/protocol/nick"
	nsDisplayName = "http://jitsi.org/protocol/display-name"
	nsAddress     = "http://jabber.org/protocol/address"
	nsVisitors    = "jitsi:visitors"
)

// audience is the visitors of one meeting. Its lock guards all of it but door, which Component.mu does.
type audience struct {
	jitsi.Queue
	c          *Component
	main, room stanza.JID
	door       door

	stage  map[string]player // by nick: who takes part
	order  []string          // nicks of stage, as they came, the focus first
	shown  bool              // stage is known; what is said before is in it
	seats  map[string]*seat  // by nick
	byReal map[stanza.JID]*seat
	reals  []stanza.JID        // of seats, in the order they came; a new slice after each change, for the queue shares it
	told   map[stanza.JID]bool // moderators who know of the raised hands
	over   bool
	stop   func() bool // the timer that ends an audience nobody is in
}

// player is somebody in the meeting.
type player struct {
	shown *stanza.Stanza // presence as visitors see it
	real  stanza.JID
}

// seat is a visitor.
type seat struct {
	nick     string
	addr     stanza.JID // in the audience
	real     stanza.JID
	presence []*stanza.Element
	name     string // display name
	hand     bool   // raised
	limit    *rate.Limiter
}

func newAudience(c *Component, main, room stanza.JID) *audience {
	return &audience{
		Queue: jitsi.Queue{Router: c.Router}, c: c, main: main, room: room, door: door{promised: map[string]bool{}, former: map[stanza.JID]bool{}},
		stage: map[string]player{}, seats: map[string]*seat{}, byReal: map[stanza.JID]*seat{}, told: map[stanza.JID]bool{},
	}
}

// The lock is held, as for all of this package's methods of an audience.

// awaited keeps an audience until those can have come who were sent to it.
func (a *audience) awaited() {
	if len(a.seats) == 0 {
		a.wait(arrival)
	}
}

func (a *audience) wait(d time.Duration) {
	a.stopTimer()
	a.stop = a.c.opt.after(d, func() {
		a.Lock()
		defer a.Unlock()
		if len(a.seats) == 0 && !a.over {
			a.over = true
			a.c.drop(a)
		}
	})
}

func (a *audience) stopTimer() {
	if a.stop != nil {
		a.stop()
		a.stop = nil
	}
}

// end sends everybody away: the meeting is over.
func (a *audience) end() {
	a.over = true
	a.stopTimer()
	a.c.drop(a)
	destroy := stanza.NewElement(nsUser, "destroy").Add(stanza.TextElement(nsUser, "reason", "Conference ended."))
	for _, real := range a.reals {
		s := a.byReal[real]
		x := userX("none", "none", stanza.JID{}, "110").Add(destroy)
		a.Put(stanza.NewPresence("unavailable", s.addr, s.real, x))
		a.tellFocus(s, "unavailable")
	}
	a.c.count.seats.Add(-int64(len(a.seats)))
	clear(a.seats)
	clear(a.byReal)
	a.reals = nil
}

// userX is the muc#user extension.
func userX(affiliation, role string, jid stanza.JID, codes ...string) *stanza.Element {
	x := stanza.NewElement(nsUser, "x").Add(stanza.NewElement(nsUser, "item", "affiliation", affiliation, "role", role, "jid", jid.String()))
	for _, code := range codes {
		x.Add(stanza.NewElement(nsUser, "status", "code", code))
	}
	return x
}

// full tells that too much waits to be routed.
func (a *audience) full() bool {
	if a.Waiting() < maxQueued {
		return false
	}
	a.c.count.overflows.Add(1)
	return true
}
