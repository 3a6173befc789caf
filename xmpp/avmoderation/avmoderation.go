// Package avmoderation is the av_moderation component of Jitsi meetings: moderators decide who may switch on microphone, camera or
// screen (jitsi-meet's mod_av_moderation_component).
//
// The path, in order; all of it runs on the goroutine that brings the event:
//
//  1. The MUC service tells who is in which meeting (Joined, Left, Destroyed): clients do not name the room in what they send.
//  2. A moderator sends <av_moderation/>: HandleStanza checks it and changes the state of that meeting. What must be said is appended
//     to one queue, so that all hear it in one order, and routed without the lock.
//  3. The focus, which sits in every meeting, hears it like everybody else, mutes whom it must and refuses to let them unmute.
package avmoderation

import (
	"encoding/json"
	"slices"
	"sync"
	"sync/atomic"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

const (
	nsJitMeet   = "http://jitsi.org/jitmeet"
	nsDiscoInfo = "http://jabber.org/protocol/disco#info"
	nsPing      = "urn:xmpp:ping"
)

// Rooms answers about meetings; the MUC service does. Addresses are bare for rooms, full for occupants.
type Rooms interface {
	Meeting(room stanza.JID) bool
	Standing(room, real stanza.JID) (inside, moderator bool)
	Recipients(room stanza.JID) []stanza.JID
}

// Component is the handler of its domain and an observer of rooms.
type Component struct {
	domain stanza.JID
	router xmpp.Router
	rooms  Rooms

	mu       sync.Mutex // guards all below; not held while something is routed
	people   map[stanza.JID]person
	meetings map[stanza.JID]map[string]*state // by room, then kind of media
	queue    []*stanza.Stanza
	routing  bool

	changes, refused atomic.Uint64
}

// person is where a session is: the meeting that it entered last, and its address there.
type person struct{ room, addr stanza.JID }

// state of one kind of media that is moderated.
type state struct {
	actor   stanza.JID
	allowed []string // occupant addresses
}

// New makes the component for domain. Mount it, and let the MUC service have it as observer.
func New(domain string, router xmpp.Router, rooms Rooms) (*Component, error) {
	d, err := stanza.ParseJID(domain)
	if err != nil {
		return nil, err
	}
	return &Component{domain: d, router: router, rooms: rooms, people: map[stanza.JID]person{}, meetings: map[stanza.JID]map[string]*state{}}, nil
}

// Counters are numbers for metrics.
func (c *Component) Counters() map[string]uint64 {
	c.mu.Lock()
	n := len(c.meetings)
	c.mu.Unlock()
	return map[string]uint64{"meetings": uint64(n), "changes_total": c.changes.Load(), "refused_total": c.refused.Load()}
}

// event is what clients and the focus are told.
type event struct {
	Type       string              `json:"type"`
	Room       string              `json:"room"`
	Enabled    *bool               `json:"enabled,omitempty"`
	Actor      string              `json:"actor,omitempty"`
	MediaType  string              `json:"mediaType"`
	Whitelists map[string][]string `json:"whitelists,omitempty"`
	Approved   bool                `json:"approved,omitempty"`
	Removed    bool                `json:"removed,omitempty"`
}

// tell queues e for each of to. mu is held.
func (c *Component) tell(room stanza.JID, e event, to ...stanza.JID) {
	e.Type, e.Room = "av_moderation", room.String()
	b, err := json.Marshal(e)
	if err != nil { // strings and booleans
		panic("avmoderation: " + err.Error())
	}
	st := stanza.NewMessage("", c.domain, stanza.JID{}, stanza.TextElement(nsJitMeet, "json-message", string(b), "room", room.String()))
	for _, j := range to {
		c.queue = append(c.queue, st.WithTo(j))
	}
}

// flush routes what is queued, in order; it is called with mu and gives it back.
func (c *Component) flush() {
	if c.routing {
		c.mu.Unlock()
		return
	}
	c.routing = true
	for len(c.queue) > 0 {
		batch := c.queue
		c.queue = nil
		c.mu.Unlock()
		for _, st := range batch {
			c.router.Route(st)
		}
		c.mu.Lock()
	}
	c.routing = false
	c.mu.Unlock()
}

// Joining implements the observer of rooms.
func (c *Component) Joining(_, _ stanza.JID, _ string, _ func(*stanza.Stanza)) {}

// Joined tells a newcomer what is moderated.
func (c *Component) Joined(room, real stanza.JID, nick string) {
	addr, err := room.WithResource(nick)
	if err != nil || !c.rooms.Meeting(room) {
		return
	}
	_, moderator := c.rooms.Standing(room, real)
	c.mu.Lock()
	defer c.flush()
	c.people[real] = person{room, addr}
	on := true
	for _, media := range mediaTypes {
		s := c.meetings[room][media]
		if s == nil {
			continue
		}
		c.tell(room, event{Enabled: &on, Actor: s.actor.String(), MediaType: media}, real)
		if moderator {
			c.tell(room, event{Whitelists: map[string][]string{media: s.allowed}, MediaType: media}, real)
		}
	}
}

// Left implements the observer of rooms: permissions end with the visit.
func (c *Component) Left(room, real stanza.JID, _ string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.people[real]
	if !ok || p.room != room {
		return
	}
	delete(c.people, real)
	for _, s := range c.meetings[room] {
		s.allowed = slices.DeleteFunc(slices.Clone(s.allowed), func(a string) bool { return a == p.addr.String() })
	}
}

// Destroyed implements the observer of rooms.
func (c *Component) Destroyed(room stanza.JID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.meetings, room)
}

var mediaTypes = [...]string{"audio", "video", "desktop"}

// HandleStanza implements xmpp.Handler for the component's domain.
func (c *Component) HandleStanza(st *stanza.Stanza) {
	switch el := st.Child(nsJitMeet, "av_moderation"); {
	case st.Kind == stanza.Presence, st.Type == "error", st.Type == "result":
		// nothing to say
	case st.Kind == stanza.IQ:
		c.iq(st)
	case el == nil:
		c.reply(st.ErrorReply(stanza.ErrServiceUnavailable))
	default:
		if err := c.change(st.From, el); err != nil {
			c.refused.Add(1)
			c.reply(st.ErrorReply(err))
			return
		}
		c.changes.Add(1)
	}
}

func (c *Component) reply(st *stanza.Stanza) {
	if st != nil {
		c.router.Route(st)
	}
}

func (c *Component) iq(st *stanza.Stanza) {
	switch n := st.First(); {
	case st.Type == "get" && n == stanza.Name{Space: nsDiscoInfo, Local: "query"}:
		c.reply(st.Result(stanza.NewElement(nsDiscoInfo, "query", "node", st.Child(nsDiscoInfo, "query").Attr("node")).Add(
			stanza.NewElement(nsDiscoInfo, "identity", "category", "component", "type", "av_moderation", "name", c.domain.String()),
			stanza.NewElement(nsDiscoInfo, "feature", "var", nsDiscoInfo), stanza.NewElement(nsDiscoInfo, "feature", "var", nsPing))))
	case st.Type == "get" && n == stanza.Name{Space: nsPing, Local: "ping"}:
		c.reply(st.Result())
	default:
		c.reply(st.ErrorReply(stanza.ErrServiceUnavailable))
	}
}

// change is a moderator's wish.
func (c *Component) change(from stanza.JID, el *stanza.Element) *stanza.Error {
	c.mu.Lock()
	p, known := c.people[from]
	c.mu.Unlock()
	if !known {
		return stanza.ErrForbidden.With("You are in no meeting")
	}
	if _, moderator := c.rooms.Standing(p.room, from); !moderator { // asked without the lock: rooms call us while they hold none, too
		return stanza.ErrForbidden.With("Only moderators may do that")
	}
	media := el.Attr("mediaType")
	if !slices.Contains(mediaTypes[:], media) {
		return stanza.ErrBadRequest.With("mediaType is audio, video or desktop")
	}
	recipients := c.rooms.Recipients(p.room)
	var moderators []stanza.JID
	for _, j := range recipients {
		if _, m := c.rooms.Standing(p.room, j); m {
			moderators = append(moderators, j)
		}
	}
	c.mu.Lock()
	defer c.flush()
	switch enable := el.Attr("enable"); {
	case enable == "true" || enable == "false":
		c.enable(p, media, enable == "true", recipients)
		return nil
	case el.Attr("jidToWhitelist") != "":
		return c.permit(p.room, media, el.Attr("jidToWhitelist"), true, moderators)
	case el.Attr("jidToBlacklist") != "":
		return c.permit(p.room, media, el.Attr("jidToBlacklist"), false, moderators)
	}
	return stanza.ErrBadRequest
}

// enable switches moderation of media; a second time changes nothing. mu is held, as for the next.
func (c *Component) enable(p person, media string, on bool, recipients []stanza.JID) {
	m := c.meetings[p.room]
	if (m[media] != nil) == on {
		return
	}
	if on {
		if m == nil {
			m = map[string]*state{}
			c.meetings[p.room] = m
		}
		m[media] = &state{actor: p.addr, allowed: []string{}} // never null in JSON
	} else if delete(m, media); len(m) == 0 {
		delete(c.meetings, p.room)
	}
	c.tell(p.room, event{Enabled: &on, Actor: p.addr.String(), MediaType: media}, recipients...)
}

// permit lets an occupant unmute, or takes that back; moderators learn the list, the occupant what concerns it.
func (c *Component) permit(room stanza.JID, media, who string, allow bool, moderators []stanza.JID) *stanza.Error {
	s := c.meetings[room][media]
	if s == nil {
		return stanza.ErrUnexpectedRequest.With("That is not moderated")
	}
	var real []stanza.JID
	for j, p := range c.people {
		if p.room == room && p.addr.String() == who {
			real = append(real, j)
		}
	}
	if len(real) == 0 {
		return stanza.ErrItemNotFound.With("There is nobody of that name in the meeting")
	}
	s.allowed = slices.DeleteFunc(slices.Clone(s.allowed), func(a string) bool { return a == who })
	if allow {
		s.allowed = append(s.allowed, who)
	}
	c.tell(room, event{Whitelists: map[string][]string{media: s.allowed}, MediaType: media, Removed: !allow}, moderators...)
	c.tell(room, event{MediaType: media, Approved: allow, Removed: !allow}, real...)
	return nil
}
