package muc

import (
	"konzil/xmpp/jitsi"
	"konzil/xmpp/stanza"
)

// Group is several services as one, for who asks about rooms of all of them. The first takes what is of none of their domains: it may serve
// further ones.
type Group []*Service

// For is the service of a room.
func (g Group) For(room stanza.JID) *Service {
	for _, s := range g {
		if s.cfg.Domain == room.Domain() {
			return s
		}
	}
	return g[0]
}

// Meeting tells whether room is there and was made by an admin.
func (g Group) Meeting(room stanza.JID) bool { return g.For(room).Meeting(room) }

// Standing tells whether the session real is in room, and whether as a moderator.
func (g Group) Standing(room, real stanza.JID) (inside, moderator bool) {
	return g.For(room).Standing(room, real)
}

// Recipients are the sessions in room.
func (g Group) Recipients(room stanza.JID) []stanza.JID { return g.For(room).Recipients(room) }

// People implements jitsi.People.
func (g Group) People(room stanza.JID) (out []jitsi.Person) {
	for _, o := range g.For(room).Occupants(room) {
		if !o.Admin {
			out = append(out, o.person())
		}
	}
	return out
}

// Person implements jitsi.People.
func (g Group) Person(room, real stanza.JID) (jitsi.Person, bool) {
	o, ok := g.For(room).Occupant(room, real)
	return o.person(), ok
}

func (o Occupant) person() jitsi.Person {
	return jitsi.Person{Addr: o.Address, Real: o.Real, Name: o.Name, Email: o.Email, Role: o.Role, Hidden: o.Admin || o.Hidden, Gateway: o.Gateway}
}

// Affiliation is that of a bare address in room.
func (g Group) Affiliation(room, bare stanza.JID) string { return g.For(room).Affiliation(room, bare) }

// Info is a field that SetInfo or Opening gave.
func (g Group) Info(room stanza.JID, name string) string { return g.For(room).Info(room, name) }

// Hold keeps a room while nobody is inside, or lets it go.
func (g Group) Hold(room stanza.JID, hold bool) bool { return g.For(room).Hold(room, hold) }

// SetSubject changes the subject for the server.
func (g Group) SetSubject(room stanza.JID, text string) bool {
	return g.For(room).SetSubject(room, text)
}

// Kick puts an occupant out for the server.
func (g Group) Kick(room stanza.JID, nick, reason string) bool {
	return g.For(room).Kick(room, nick, reason)
}

// MeetingID is the UUID of this life of a room.
func (g Group) MeetingID(room stanza.JID) (string, bool) { return g.For(room).MeetingID(room) }

// Stage is a meeting as those see it who are shown it from outside; false if there is none.
func (g Group) Stage(room stanza.JID) (jitsi.Stage, bool) { return g.For(room).Stage(room) }

// Door tells whether there is that meeting, whether only members may enter, and whether password opens it.
func (g Group) Door(room stanza.JID, password string) (there, membersOnly, unlocked bool) {
	return g.For(room).Door(room, password)
}

// Broadcast sends a message of type groupchat to everybody inside.
func (g Group) Broadcast(room stanza.JID, nick string, payload ...*stanza.Element) bool {
	return g.For(room).Broadcast(room, nick, payload...)
}

// Close ends a room.
func (g Group) Close(room, instead stanza.JID, reason string) bool {
	return g.For(room).Close(room, instead, reason)
}
