// Package jitsi is what the components of Jitsi meetings have in common: each owns a domain that clients find by an identity in the
// server's disco#info, takes messages whose sender's meeting it has to find out by itself, and tells people JSON.
//
// The path, in order; all of it runs on the goroutine that brings the event:
//
//  1. The MUC service tells who is in which meeting: Base.Joined, Base.Left. Clients do not name the room in most of what they send.
//  2. Base.Serve takes a stanza for the domain: it answers disco#info and ping, hands messages to the component, and sends its error back.
//  3. The component changes its state between Lock and Unlock and queues what must be said by Tell. Unlock routes the queue without the
//     lock, one goroutine at a time, so that all hear it in one order (queue.go).
//
// What a component keeps of each meeting is in its Meetings (meetings.go), which forgets it when the meeting ends.
package jitsi

import (
	"encoding/json"
	"sync/atomic"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// Namespaces of what components and clients say.
const (
	NSJitMeet   = "http://jitsi.org/jitmeet"
	NSDiscoInfo = "http://jabber.org/protocol/disco#info"
	nsPing      = "urn:xmpp:ping"
)

// Rooms answers about meetings; the MUC service does. Addresses are bare for rooms, full for occupants.
type Rooms interface {
	// Meeting tells whether room is a meeting room, not a chat room of people.
	Meeting(room stanza.JID) bool
	// Standing tells whether the session real is in room, and whether as a moderator.
	Standing(room, real stanza.JID) (inside, moderator bool)
	// Recipients are the sessions in room.
	Recipients(room stanza.JID) []stanza.JID
}

// People tells more of who is in a meeting.
type People interface {
	Rooms
	// People are those in room but the focus, in the order of their joins.
	People(room stanza.JID) []Person
	// Person is the one with that real address; false if it is not in room.
	Person(room, real stanza.JID) (Person, bool)
}

// Person is somebody in a room.
type Person struct {
	Addr, Real stanza.JID
	Name       string // display name, "" for none
	Email      string
	Role       string
	Hidden     bool // a part of the service: the focus, a recorder
	Gateway    bool // a telephone gateway (jigasi)
}

// ID is the nick, which Jitsi clients take for the participant's id.
func (p Person) ID() string { return p.Addr.Resource() }

// Stage is a meeting as those see it who are shown it from outside. Stanzas are from the meeting's addresses, and to nobody yet.
type Stage struct {
	Presences   []*stanza.Stanza // of all occupants, the focus first
	Past        []*stanza.Stanza // what newcomers get of the conversation, with the times
	Subject     *stanza.Stanza
	Description *stanza.Element // the answer to disco#info
}

// Place is where a session is: the meeting that it entered last, and its address there.
type Place struct{ Room, Addr stanza.JID }

// Base is embedded by a component.
type Base struct {
	Queue    // its lock guards people and the state of the component
	Domain   stanza.JID
	Rooms    Rooms
	identity string
	features []string
	people   map[stanza.JID]Place

	changes, refused atomic.Uint64
}

// New makes the base of a component that is announced as component/identity; features are in its disco#info. The error is for an address
// that is none.
func New(identity, domain string, router xmpp.Router, rooms Rooms, features ...string) (*Base, error) {
	d, err := stanza.ParseJID(domain)
	if err != nil {
		return nil, err
	}
	return &Base{Queue: Queue{Router: router}, Domain: d, Rooms: rooms, identity: identity, features: features, people: map[stanza.JID]Place{}}, nil
}

// Message carries v as JSON to nobody yet. room, if it is not zero, is named beside it.
func (b *Base) Message(room stanza.JID, v any) *stanza.Stanza {
	text, err := json.Marshal(v)
	if err != nil { // components marshal their own structs
		panic("jitsi: " + err.Error())
	}
	return stanza.NewMessage("", b.Domain, stanza.JID{}, stanza.TextElement(NSJitMeet, "json-message", string(text), "room", room.String()))
}

// Tell queues v as JSON for each of to. The lock is held.
func (b *Base) Tell(room stanza.JID, v any, to ...stanza.JID) {
	if len(to) == 0 {
		return
	}
	b.PutTo(b.Message(room, v), to)
}

// Joining implements the observer of rooms.
func (b *Base) Joining(_, _ stanza.JID, _ string, _ func(*stanza.Stanza)) {}

// Joined implements the observer of rooms.
func (b *Base) Joined(room, real stanza.JID, nick string) {
	b.Lock()
	defer b.Unlock()
	b.Enter(room, real, nick)
}

// Left implements the observer of rooms.
func (b *Base) Left(room, real stanza.JID, _ string) {
	b.Lock()
	defer b.Unlock()
	b.Leave(room, real)
}

// Destroyed implements the observer of rooms.
func (b *Base) Destroyed(stanza.JID) {}

// Enter notes where real is, if room is a meeting. The lock is held.
func (b *Base) Enter(room, real stanza.JID, nick string) (Place, bool) {
	addr, err := room.WithResource(nick)
	if err != nil || !b.Rooms.Meeting(room) {
		return Place{}, false
	}
	p := Place{room, addr}
	b.people[real] = p
	return p, true
}

// Leave forgets real if it is in room: it may have entered another meanwhile. The lock is held.
func (b *Base) Leave(room, real stanza.JID) (Place, bool) {
	p, ok := b.people[real]
	if !ok || p.Room != room {
		return Place{}, false
	}
	delete(b.people, real)
	return p, true
}

// Who is the session with an occupant's address, false if there is none. The lock is held.
func (b *Base) Who(addr stanza.JID) (stanza.JID, bool) {
	for real, p := range b.people {
		if p.Addr == addr {
			return real, true
		}
	}
	return stanza.JID{}, false
}

var errNowhere = stanza.ErrForbidden.With("You are in no meeting")

// sender is where the sender of a message is, and whether it is a moderator there. It is called without the lock: rooms hold none either
// when they call observers.
func (b *Base) sender(real stanza.JID) (p Place, moderator bool, err *stanza.Error) {
	b.mu.Lock()
	p, known := b.people[real]
	b.mu.Unlock()
	inside := false
	if known {
		inside, moderator = b.Rooms.Standing(p.Room, real)
	}
	if !inside {
		return Place{}, false, errNowhere
	}
	return p, moderator, nil
}

// Participant is sender for components that pass on who has said something; people are those that Rooms answers for.
func (b *Base) Participant(people People, real stanza.JID) (Place, Person, *stanza.Error) {
	place, _, err := b.sender(real)
	if err != nil {
		return Place{}, Person{}, err
	}
	p, ok := people.Person(place.Room, real)
	if !ok { // it left meanwhile
		return Place{}, Person{}, errNowhere
	}
	return place, p, nil
}

// Moderator is sender for what only moderators may do.
func (b *Base) Moderator(real stanza.JID) (Place, *stanza.Error) {
	p, moderator, err := b.sender(real)
	if err == nil && !moderator {
		err = stanza.ErrForbidden.With("Only moderators may do that")
	}
	return p, err
}

// Serve takes a stanza for the component's domain. Messages go to handle; its error is sent back, and counted.
func (b *Base) Serve(st *stanza.Stanza, handle func(*stanza.Stanza) *stanza.Error) {
	switch {
	case st.Kind == stanza.Presence, st.Type == "error", st.Type == "result":
		// nothing to say
	case st.Kind == stanza.IQ:
		b.Reply(b.answer(st))
	default:
		if err := handle(st); err != nil {
			b.refused.Add(1)
			b.Reply(st.ErrorReply(err))
			return
		}
		b.changes.Add(1)
	}
}

// Reply routes an answer, nil is passed over.
func (b *Base) Reply(st *stanza.Stanza) {
	if st != nil {
		b.Router.Route(st)
	}
}

// answer is that of disco#info and ping; the rest is refused.
func (b *Base) answer(st *stanza.Stanza) *stanza.Stanza {
	if st.Type == "get" {
		switch st.First() {
		case stanza.Name{Space: NSDiscoInfo, Local: "query"}:
			return st.Result(b.Info(st.Child(NSDiscoInfo, "query").Attr("node")))
		case stanza.Name{Space: nsPing, Local: "ping"}:
			return st.Result()
		}
	}
	return st.ErrorReply(stanza.ErrServiceUnavailable)
}

// Info is the component's disco#info.
func (b *Base) Info(node string) *stanza.Element {
	q := stanza.NewElement(NSDiscoInfo, "query", "node", node).Add(
		stanza.NewElement(NSDiscoInfo, "identity", "category", "component", "type", b.identity, "name", b.Domain.String()))
	for _, f := range append([]string{NSDiscoInfo, nsPing}, b.features...) {
		q.Add(stanza.NewElement(NSDiscoInfo, "feature", "var", f))
	}
	return q
}

// Counters are numbers for metrics. meetings is what the component keeps something of.
func (b *Base) Counters(meetings int) map[string]uint64 {
	return map[string]uint64{"meetings": uint64(meetings), "changes_total": b.changes.Load(), "refused_total": b.refused.Load()}
}

// ValidNick tells whether nick is one that Jitsi clients can have: it is an endpoint id (jitsi-meet's mod_muc_resource_validate).
func ValidNick(nick string) bool {
	for i := range len(nick) {
		switch c := nick[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_' && i > 0:
		default:
			return false
		}
	}
	return nick != ""
}

// Child is the element of a message by which clients command a component: in the namespace of Jitsi, or in none of its own, as lib-jitsi-meet sends
// some.
func Child(st *stanza.Stanza, local string) *stanza.Element {
	if el := st.Child(NSJitMeet, local); el != nil {
		return el
	}
	return st.Child(stanza.NSClient, local)
}

// NamedRoom is the meeting that el names, for the components whose clients do name it.
func NamedRoom(el *stanza.Element) (stanza.JID, *stanza.Error) {
	room, err := stanza.ParseJID(el.Attr("room"))
	if err != nil || room.Local() == "" {
		return stanza.JID{}, stanza.ErrBadRequest.With("The attribute room is missing")
	}
	return room.Bare(), nil
}
