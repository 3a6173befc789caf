package lobby

import (
	"konzil/xmpp/jitsi"
	"konzil/xmpp/stanza"
)

// Newcomer is somebody at the door of a room.
type Newcomer struct {
	Room, Real        stanza.JID
	Name, Affiliation string
	Meeting           bool
	MembersOnly       bool
	Password          bool // the right one was given
}

// Door judges who comes to a meeting: a refusal, or an affiliation that is given. It runs with the meeting locked.
func (c *Component) Door(n Newcomer) (*stanza.Error, string) {
	room, err := c.address(n.Room) // the lobby is there, or will be in a moment: Configured comes after the change
	if err != nil || !n.Meeting || !n.MembersOnly || n.Affiliation != "none" {
		return nil, ""
	}
	switch {
	case c.whiteListed(n.Real), n.Password:
		return nil, "member"
	case n.Name == "" && !c.opt.NameOptional:
		return stanza.ErrNotAcceptable.With("A display name is needed", stanza.NewElement(jitsi.NSJitMeet, "displayname-required", "lobby", "true")), ""
	}
	return stanza.ErrRegistrationRequired.With("Only members may enter; knock in the lobby", stanza.TextElement(jitsi.NSJitMeet, "lobbyroom", room.String())), ""
}

// Porch judges who comes to a lobby room: people are there what they are in the meeting, if that is moderator; else they knock. It runs with the
// lobby room locked.
func (c *Component) Porch(n Newcomer) (*stanza.Error, string) {
	c.mu.Lock()
	l := c.byRoom[n.Room]
	c.mu.Unlock()
	if l == nil {
		return stanza.ErrItemNotFound.With("The lobby is closed"), ""
	}
	switch c.meetings.Affiliation(l.meeting, n.Real.Bare()) {
	case "owner", "admin":
		return nil, "owner"
	case "outcast":
		return stanza.ErrForbidden.With("You are banned from this meeting"), ""
	}
	if n.Name == "" && !c.opt.NameOptional {
		return stanza.ErrNotAcceptable.With("A display name is needed", stanza.NewElement(jitsi.NSJitMeet, "displayname-required", "lobby", "true")), ""
	}
	return nil, ""
}

// Inside is the observer of the lobby's rooms.
type Inside struct {
	c *Component
	// Name is the display name of the session real in a lobby room, and whether it is a moderator there.
	Name func(room, real stanza.JID) (name string, moderator bool)
}

// Inside makes the observer of the lobby's rooms; name is as Inside.Name has it.
func (c *Component) Inside(name func(room, real stanza.JID) (string, bool)) *Inside {
	return &Inside{c, name}
}

// Joining implements the observer of rooms.
func (i *Inside) Joining(_, _ stanza.JID, _ string, _ func(*stanza.Stanza)) {}

// Joined notes who knocks.
func (i *Inside) Joined(room, real stanza.JID, nick string) {
	name, moderator := i.Name(room, real)
	addr, err := room.WithResource(nick)
	if err != nil || moderator {
		return
	}
	i.c.mu.Lock()
	l := i.c.byRoom[room]
	if l != nil {
		i.c.knocks["knock"]++
		l.knockers[real] = knocker{addr, name}
	}
	i.c.mu.Unlock()
	if l != nil && i.c.opt.Persistent {
		i.c.meetings.Hold(l.meeting, true)
	}
}

// Left forgets who knocked.
func (i *Inside) Left(room, real stanza.JID, _ string) {
	i.c.mu.Lock()
	l := i.c.byRoom[room]
	last := false
	if l != nil {
		delete(l.knockers, real)
		last = len(l.knockers) == 0
	}
	i.c.mu.Unlock()
	if last && i.c.opt.Persistent {
		i.c.meetings.Hold(l.meeting, false)
	}
}

// Destroyed implements the observer of rooms.
func (i *Inside) Destroyed(stanza.JID) {}

// Kicked tells the meeting that a knocker was sent away, in the name that who did it has there: jitsi-meet takes another one in the lobby.
func (i *Inside) Kicked(room, _, by stanza.JID, nick, name string) {
	i.c.mu.Lock()
	l := i.c.byRoom[room]
	i.c.mu.Unlock()
	addr, err := room.WithResource(nick)
	if l == nil || err != nil {
		return
	}
	i.c.count("denied")
	i.c.tell(l.meeting, i.c.meetings.Nick(l.meeting, by), notice{Event: "LOBBY-ACCESS-DENIED", Value: addr.String(), Name: name})
}
