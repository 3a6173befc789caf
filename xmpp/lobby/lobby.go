// Package lobby is the waiting rooms of Jitsi meetings (jitsi-meet's mod_muc_lobby_rooms): while a meeting is for members only, others knock
// in a room of the lobby's own MUC service, where only moderators see them, and moderators let them in.
//
// The path, in order; all of it runs on the goroutine that brings the event:
//
//  1. An owner sets muc#roomconfig_membersonly: the meetings' MUC service calls Configured, which opens <room>@lobby and shows its address in the
//     meeting's disco#info. The other way round, knockers are sent to the meeting.
//  2. Somebody without affiliation comes to the meeting: Door, a guard of that service, refuses with the lobby room's address. Password, white list
//     and membership are ways past it.
//  3. The knocker comes to the lobby room: Porch, a guard of the lobby's service, makes moderators of the meeting owners there.
//  4. A moderator invites the knocker through the meeting (Invited), or puts it out of the lobby room (Kicked): the meeting is told.
//
// HandleStanza takes what is for the lobby's domain itself and gives the rest to the MUC service.
package lobby

import (
	"slices"
	"sync"

	"konzil/xmpp"
	"konzil/xmpp/jitsi"
	"konzil/xmpp/stanza"
)

// infoField shows a meeting's waiting room in its disco#info.
const infoField = "muc#roominfo_lobbyroom"

// featNameRequired tells clients that nobody may knock without a name.
const featNameRequired = "http://jitsi.org/protocol/lobbyrooms#displayname_required"

// Meetings are the rooms that have lobbies; a MUC service.
type Meetings interface {
	Meeting(room stanza.JID) bool
	Affiliation(room, bare stanza.JID) string
	SetInfo(room stanza.JID, name, value string) bool
	Hold(room stanza.JID, hold bool) bool
	Broadcast(room stanza.JID, nick string, payload ...*stanza.Element) bool
	// Nick is that of the session real in room, "" if it is not there.
	Nick(room, real stanza.JID) string
}

// WaitingRooms are where people knock; a MUC service.
type WaitingRooms interface {
	xmpp.Handler
	// Open makes a room that stays while it is empty.
	Open(room stanza.JID) bool
	Close(room, instead stanza.JID, reason string) bool
}

// Options are the operator's.
type Options struct {
	// NameOptional lets people knock without a display name.
	NameOptional bool
	// WhiteList are domains and bare addresses that need not knock: recorders, telephone gateways.
	WhiteList []string
	// Persistent keeps an empty meeting, and its lobby, while somebody knocks.
	Persistent bool
	// RoomName is the localpart of a meeting's lobby room, which must differ for meetings of one name on several domains; nil: the meeting's.
	RoomName func(meeting stanza.JID) string
	// Changed, if set, is told when a meeting gets a lobby or loses it.
	Changed func(room stanza.JID, on bool)
}

// Component is the handler of the lobby's domain and an observer of the meetings; Inside is the observer of the lobby's rooms.
type Component struct {
	base     *jitsi.Base
	meetings Meetings
	rooms    WaitingRooms
	opt      Options

	mu      sync.Mutex                  // guards all below; not held while rooms are asked
	lobbies map[stanza.JID]*waitingRoom // by meeting
	byRoom  map[stanza.JID]*waitingRoom // by lobby room
	knocks  map[string]uint64
}

type waitingRoom struct {
	meeting, room stanza.JID
	knockers      map[stanza.JID]knocker // by real address
}

type knocker struct {
	addr stanza.JID
	name string
}

// New makes the component for domain. Mount it, let the meetings' service have it as observer and Door as guard, and the lobby's service Inside
// and Porch.
func New(domain string, router xmpp.Router, meetings Meetings, rooms WaitingRooms, opt Options) (*Component, error) {
	var features []string
	if !opt.NameOptional {
		features = append(features, featNameRequired)
	}
	base, err := jitsi.New("lobbyrooms", domain, router, nil, features...)
	if err != nil {
		return nil, err
	}
	return &Component{base: base, meetings: meetings, rooms: rooms, opt: opt, lobbies: map[stanza.JID]*waitingRoom{}, byRoom: map[stanza.JID]*waitingRoom{},
		knocks: map[string]uint64{}}, nil
}

// Features are what clients read of the server's disco#info when they do not ask the lobby itself.
func (c *Component) Features() []string {
	if c.opt.NameOptional {
		return nil
	}
	return []string{featNameRequired}
}

// Counters are numbers for metrics.
func (c *Component) Counters() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	waiting := 0
	for _, l := range c.lobbies {
		waiting += len(l.knockers)
	}
	return map[string]uint64{"lobbies": uint64(len(c.lobbies)), "waiting": uint64(waiting), "knocks_total": c.knocks["knock"],
		"granted_total": c.knocks["granted"], "denied_total": c.knocks["denied"]}
}

func (c *Component) count(what string) {
	c.mu.Lock()
	c.knocks[what]++
	c.mu.Unlock()
}

// HandleStanza implements xmpp.Handler for the lobby's domain: clients ask the domain for its features.
func (c *Component) HandleStanza(st *stanza.Stanza) {
	if q := st.Child(jitsi.NSDiscoInfo, "query"); st.To.Local() == "" && st.Kind == stanza.IQ && st.Type == "get" && q.Attr("node") == "lobbyrooms" {
		c.base.Reply(st.Result(c.base.Info("lobbyrooms")))
		return
	}
	c.rooms.HandleStanza(st)
}

// of is the lobby of a meeting, nil if it has none.
func (c *Component) of(meeting stanza.JID) *waitingRoom {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lobbies[meeting]
}

// Joining implements the observer of meetings.
func (c *Component) Joining(_, _ stanza.JID, _ string, _ func(*stanza.Stanza)) {}

// Joined implements the observer of meetings.
func (c *Component) Joined(_, _ stanza.JID, _ string) {}

// Left implements the observer of meetings.
func (c *Component) Left(_, _ stanza.JID, _ string) {}

// Destroyed ends the lobby with its meeting.
func (c *Component) Destroyed(room stanza.JID) { c.close(room, stanza.JID{}) }

// Configured opens or closes the lobby.
func (c *Component) Configured(room, actor stanza.JID, membersOnly bool) {
	if !c.meetings.Meeting(room) {
		return
	}
	nick := c.meetings.Nick(room, actor)
	switch l := c.of(room); {
	case membersOnly && l == nil:
		if !c.open(room) {
			return
		}
	case !membersOnly && l != nil:
		c.close(room, room)
		c.meetings.SetInfo(room, infoField, "")
	default:
		return
	}
	c.tell(room, nick, notice{Event: "LOBBY-ENABLED", Value: membersOnly})
	if c.opt.Changed != nil {
		c.opt.Changed(room, membersOnly)
	}
}

func (c *Component) open(meeting stanza.JID) bool {
	room, err := c.address(meeting)
	if err != nil || !c.rooms.Open(room) {
		return false
	}
	l := &waitingRoom{meeting: meeting, room: room, knockers: map[stanza.JID]knocker{}}
	c.mu.Lock()
	c.lobbies[meeting], c.byRoom[room] = l, l
	c.mu.Unlock()
	c.meetings.SetInfo(meeting, infoField, room.String())
	return true
}

// address is that of a meeting's lobby room, whether there is one or not.
func (c *Component) address(meeting stanza.JID) (stanza.JID, error) {
	name := meeting.Local()
	if c.opt.RoomName != nil {
		name = c.opt.RoomName(meeting)
	}
	return stanza.NewJID(name, c.base.Domain.String(), "")
}

// close ends the lobby of a meeting; who waits is sent on to instead, if it is not zero.
func (c *Component) close(meeting, instead stanza.JID) {
	c.mu.Lock()
	l := c.lobbies[meeting]
	if l != nil {
		delete(c.lobbies, meeting)
		delete(c.byRoom, l.room)
	}
	c.mu.Unlock()
	if l != nil {
		c.rooms.Close(l.room, instead, "Lobby room closed.")
	}
}

// Invited tells a meeting that somebody who knocks was let in.
func (c *Component) Invited(room, by, invitee stanza.JID) {
	c.mu.Lock()
	l := c.lobbies[room]
	var who knocker
	ok := false
	if l != nil {
		who, ok = l.find(invitee)
	}
	c.mu.Unlock()
	if ok {
		c.count("granted")
		c.tell(room, c.meetings.Nick(room, by), notice{Event: "LOBBY-ACCESS-GRANTED", Value: who.addr.String(), Name: who.name})
	}
}

// find is the knocker with that full address, or bare one. Component.mu is held.
func (l *waitingRoom) find(j stanza.JID) (knocker, bool) {
	for real, k := range l.knockers {
		if real == j || j.IsBare() && real.Bare() == j {
			return k, true
		}
	}
	return knocker{}, false
}

// notice is what a meeting is told of its lobby.
type notice struct {
	Type  string `json:"type"`
	Event string `json:"event"`
	Value any    `json:"value"`
	Name  string `json:"name,omitempty"`
}

func (c *Component) tell(room stanza.JID, nick string, n notice) {
	n.Type = "lobby-notify"
	c.meetings.Broadcast(room, nick, c.base.Message(stanza.JID{}, n).Payload()...)
}

// whiteListed tells that a person need not knock.
func (c *Component) whiteListed(real stanza.JID) bool {
	return slices.Contains(c.opt.WhiteList, real.Domain()) || slices.Contains(c.opt.WhiteList, real.Bare().String())
}
