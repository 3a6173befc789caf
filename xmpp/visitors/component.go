package visitors

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"konzil/xmpp"
	"konzil/xmpp/jitsi"
	"konzil/xmpp/stanza"
)

// Node is the name of the visitor node; jitsi-meet makes its domain of it.
const (
	Node = "v1"
	Door = Node + ".meet.jitsi"
)

// Limits of one audience.
const (
	maxPresence = 16 << 10 // bytes; as in rooms
	maxFormer   = 1024     // remembered to have left the meeting: they may come back from breakout rooms
	maxPromised = 1024     // let in by moderators and not forgotten yet
	maxQueued   = 4096     // entries that wait to be routed; visitors are refused above that
)

// Rooms are the meetings.
type Rooms interface {
	jitsi.People
	Stage(room stanza.JID) (jitsi.Stage, bool)
	// Door tells whether there is that meeting, whether only members may enter, and whether password opens it.
	Door(room stanza.JID, password string) (there, membersOnly, unlocked bool)
	Affiliation(room, bare stanza.JID) string
	// Broadcast says something to all in the room, as the room with nick "".
	Broadcast(room stanza.JID, nick string, payload ...*stanza.Element) bool
}

// Facts are what a meeting's metadata says of its visitors.
type Facts struct {
	Off         bool // it takes none
	Limit       int  // instead of Options.Limit, unless 0
	AutoPromote bool // who raises a hand is let in
}

// Options of a component.
type Options struct {
	Home        string     // domain of the meetings: room@conference.HOME, room@conference.TENANT.HOME
	Focus       stanza.JID // full address, as it is in meetings
	Limit       int        // so many take part before newcomers become visitors
	MaxVisitors int        // of one meeting
	Rate        int        // stanzas a second for all that one visitor may send for long, five seconds' worth at once

	Facts    func(room stanza.JID) Facts                        // nil: none
	Resident func(room, real stanza.JID) bool                   // who goes into the meeting itself in any case; nil: nobody
	Refuse   func(room, real stanza.JID) *stanza.Error          // why somebody may not watch; nil: everybody may
	Promoted func(room stanza.JID, nick string)                 // hears who came from the audience; nil: nobody
	Seated   func(room, real stanza.JID)                        // hears who has come to watch a meeting; nil: nobody
	after    func(d time.Duration, f func()) (stop func() bool) // time.AfterFunc but in tests
}

// Times.
const (
	arrival = time.Minute      // a client that was sent to the audience takes so long at most to get there (jicofo's vnode-join-latency-interval)
	linger  = 15 * time.Second // an audience that everybody left waits for those who come again
)

// Component is the handler of visitors.D and of the rooms of the visitor node, and an observer of the meetings.
type Component struct {
	*jitsi.Base
	rooms Rooms
	opt   Options

	mu        sync.Mutex               // guards audiences and their door; taken after every other lock
	audiences map[stanza.JID]*audience // by meeting

	count struct {
		joins, refused, redirects, hands, promotions, demotions, messages, overflows atomic.Uint64
		seats                                                                        atomic.Int64
	}
}

// door is who may pass from an audience into its meeting.
type door struct {
	promised map[string]bool     // names of guests whom a moderator let in
	former   map[stanza.JID]bool // bare addresses of who has been inside
}

// New makes the component of domain. Mount it there and at conference.Door, and let the MUC service have it as observer and its
// Door as guard.
func New(domain string, router xmpp.Router, rooms Rooms, opt Options) (*Component, error) {
	base, err := jitsi.New("visitors", domain, router, rooms)
	if err != nil {
		return nil, err
	}
	if opt.after == nil {
		opt.after = func(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }
	}
	return &Component{Base: base, rooms: rooms, opt: opt, audiences: map[stanza.JID]*audience{}}, nil
}

// Counters are numbers for metrics.
func (c *Component) Counters() map[string]uint64 {
	c.mu.Lock()
	n := len(c.audiences)
	c.mu.Unlock()
	k := &c.count
	return map[string]uint64{
		"meetings": uint64(n), "seats": uint64(max(0, k.seats.Load())), "joins_total": k.joins.Load(), "refused_total": k.refused.Load(),
		"redirects_total": k.redirects.Load(), "hands_total": k.hands.Load(), "promotions_total": k.promotions.Load(),
		"demotions_total": k.demotions.Load(), "messages_total": k.messages.Load(), "overflows_total": k.overflows.Load(),
	}
}

// Main is the meeting that a room of the node shows; false: it is no such room.
func (c *Component) Main(room stanza.JID) (stanza.JID, bool) { return swap(room, Door, c.opt.Home) }

// swap gives the room of the same name below another domain.
func swap(room stanza.JID, from, to string) (stanza.JID, bool) {
	prefix, ok := strings.CutSuffix(room.Domain(), "."+from)
	if !ok || prefix != "conference" && !strings.HasPrefix(prefix, "conference.") || room.Local() == "" {
		return stanza.JID{}, false
	}
	j, err := stanza.NewJID(room.Local(), prefix+"."+to, "")
	return j, err == nil
}

func (c *Component) facts(room stanza.JID) Facts {
	if c.opt.Facts == nil {
		return Facts{}
	}
	return c.opt.Facts(room)
}

// Offers tells whether a meeting can have an audience.
func (c *Component) Offers(room stanza.JID) bool {
	_, ok := swap(room, c.opt.Home, Door)
	return ok && !c.facts(room).Off
}

func (c *Component) resident(room, real stanza.JID) bool {
	return c.opt.Resident != nil && !real.IsZero() && c.opt.Resident(room, real)
}

// Redirect names the node where who asks for a meeting is to go instead, "" for none. people are those who take part; wish: it wants to
// watch. who is zero if it is not known (jicofo's redirectVisitor).
func (c *Component) Redirect(room, who stanza.JID, wish bool, people int) string {
	f := c.facts(room)
	limit := c.opt.Limit
	if f.Limit > 0 {
		limit = f.Limit
	}
	a := c.audience(room)
	there, membersOnly, _ := c.rooms.Door(room, "")
	switch {
	case !there || f.Off || membersOnly || people == 0: // no audience of a lobby, nor of nobody
		return ""
	case !wish && (c.resident(room, who) || c.admitted(room, who)):
		return ""
	case !wish && a == nil && people < limit:
		return ""
	}
	if a == nil {
		if a = c.open(room); a == nil {
			return ""
		}
	}
	a.Lock()
	a.awaited()
	a.Unlock()
	c.count.redirects.Add(1)
	return Node
}

// audience is that of a meeting, nil for none.
func (c *Component) audience(main stanza.JID) *audience {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.audiences[main]
}

// open makes the audience of a meeting, or finds it; nil: there can be none.
func (c *Component) open(main stanza.JID) *audience {
	room, ok := swap(main, c.opt.Home, Door)
	if !ok {
		return nil
	}
	c.mu.Lock()
	a := c.audiences[main]
	if a == nil {
		a = newAudience(c, main, room)
		c.audiences[main] = a
	}
	c.mu.Unlock()
	a.Lock()
	a.look()
	a.Unlock()
	return a
}

// drop forgets an audience that is over.
func (c *Component) drop(a *audience) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.audiences[a.main] == a {
		delete(c.audiences, a.main)
	}
}

// Door looks at somebody who wants to enter the meeting itself: while there is an audience only those may who were let in, or have been
// inside. It is called with the room locked. pass: no password is needed.
func (c *Component) Door(room, real stanza.JID) (pass bool, _ *stanza.Error) {
	c.mu.Lock()
	a := c.audiences[room]
	promised := a != nil && a.door.promised[real.Local()]
	former := a != nil && a.door.former[real.Bare()]
	c.mu.Unlock()
	if a == nil || promised || former || c.resident(room, real) {
		return promised, nil
	}
	c.count.refused.Add(1)
	return false, stanza.ErrNotAllowed.With("Visitor needs to be allowed by a moderator", stanza.NewElement(nsVisitors, "promotion-not-allowed"))
}

// admitted tells whether somebody may enter the meeting of an audience.
func (c *Component) admitted(room, real stanza.JID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.audiences[room]
	return a != nil && (a.door.promised[real.Local()] || a.door.former[real.Bare()])
}

// Promised tells whether the guests' name was given to a visitor who may enter the meeting room.
func (c *Component) Promised(room stanza.JID, name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.audiences[room]
	return a != nil && a.door.promised[name]
}

// Watched is the meeting that somebody watches, and who that is there; false: none.
func (c *Component) Watched(real stanza.JID) (stanza.JID, jitsi.Person, bool) {
	for _, a := range c.all() {
		a.Lock()
		s := a.byReal[real]
		if s != nil {
			who := jitsi.Person{Addr: s.addr, Real: s.real, Name: s.name, Role: "visitor"}
			a.Unlock()
			return a.main, who, true
		}
		a.Unlock()
	}
	return stanza.JID{}, jitsi.Person{}, false
}

// Watching are those who watch a meeting.
func (c *Component) Watching(main stanza.JID) []stanza.JID {
	a := c.audience(main)
	if a == nil {
		return nil
	}
	a.Lock()
	defer a.Unlock()
	return a.reals
}

// all are the audiences that there are.
func (c *Component) all() []*audience {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Values(c.audiences))
}

// Close ends the timers.
func (c *Component) Close() {
	for _, a := range c.all() {
		a.Lock()
		a.stopTimer()
		a.Unlock()
	}
}

// HandleStanza takes what is for the component, and for the rooms of the node.
func (c *Component) HandleStanza(st *stanza.Stanza) {
	if st.To.Domain() == c.Domain.Domain() {
		c.Serve(st, func(*stanza.Stanza) *stanza.Error { return stanza.ErrServiceUnavailable })
		return
	}
	if st.To.Local() == "" {
		c.service(st)
		return
	}
	main, ok := c.Main(st.To.Bare())
	var a *audience
	if ok {
		a = c.audience(main)
	}
	entering := ok && st.Kind == stanza.Presence && st.Type == "" && !st.To.IsBare() && st.Has(nsMUC, "x")
	if entering {
		if err := c.refusal(main, st); err != nil {
			c.count.refused.Add(1)
			c.Reply(st.ErrorReply(err))
			return
		}
		a = c.open(main)
	}
	if a == nil {
		if st.Kind != stanza.Presence {
			c.Reply(st.ErrorReply(stanza.ErrItemNotFound.With("There is no such room")))
		}
		return
	}
	a.Lock()
	defer a.Unlock()
	switch {
	case a.over:
		if st.Kind == stanza.IQ || entering {
			a.Put(st.ErrorReply(stanza.ErrItemNotFound))
		}
	case st.Kind == stanza.Presence:
		a.presence(st, entering)
	case st.Kind == stanza.Message:
		a.message(st)
	default:
		a.iq(st)
	}
}

// service answers for the domain of the rooms.
func (c *Component) service(st *stanza.Stanza) {
	switch {
	case st.Kind == stanza.IQ && st.Type == "get" && st.First() == stanza.Name{Space: jitsi.NSDiscoInfo, Local: "query"}:
		q := stanza.NewElement(jitsi.NSDiscoInfo, "query").Add(
			stanza.NewElement(jitsi.NSDiscoInfo, "identity", "category", "conference", "type", "text", "name", "Visitors"))
		for _, f := range []string{jitsi.NSDiscoInfo, nsMUC, nsPing} {
			q.Add(stanza.NewElement(jitsi.NSDiscoInfo, "feature", "var", f))
		}
		c.Reply(st.Result(q))
	case st.Kind == stanza.IQ && st.Type == "get" && st.First() == stanza.Name{Space: nsPing, Local: "ping"}:
		c.Reply(st.Result())
	case st.Kind != stanza.Presence:
		c.Reply(st.ErrorReply(stanza.ErrServiceUnavailable))
	}
}
