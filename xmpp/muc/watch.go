package muc

import "konzil/xmpp/stanza"

// An Observer may also be one of these; it is told in the same order.

// ConfigObserver learns how the configuration of a room was changed.
type ConfigObserver interface {
	// Configured comes after actor, a real full address or the room for the server, has changed the configuration.
	Configured(room, actor stanza.JID, membersOnly bool)
}

// InviteObserver learns who was invited through a room.
type InviteObserver interface {
	// Invited comes after the invitation was sent; by is a real full address.
	Invited(room, by, invitee stanza.JID)
}

// KickObserver learns who was put out by a moderator.
type KickObserver interface {
	// Kicked comes after Left. by is the real full address of who did it, zero for the server; name the display name.
	Kicked(room, real, by stanza.JID, nick, name string)
}

// PresenceObserver learns of presence updates and changes of roles.
type PresenceObserver interface {
	// Changed comes after an occupant's new presence was sent.
	Changed(room, real stanza.JID, nick string)
}

// BroadcastObserver learns what occupants of meetings show and say to all. Stanzas have no address.
type BroadcastObserver interface {
	// Shown comes after all others inside were sent what presence makes: the presence of an occupant.
	Shown(room stanza.JID, presence func() *stanza.Stanza)
	// Said comes after everybody inside was sent a message of type groupchat of an occupant.
	Said(room stanza.JID, message *stanza.Stanza)
}

func (r *room) broadcast(tell func(BroadcastObserver)) {
	if !r.meeting {
		return
	}
	for _, o := range r.svc.observers {
		if b, ok := o.(BroadcastObserver); ok {
			r.later(func() { tell(b) })
		}
	}
}

// configured tells observers. The room is locked, as for all of this file.
func (r *room) configured(actor stanza.JID) {
	membersOnly := r.set.MembersOnly
	r.observe(func(o Observer) {
		if c, ok := o.(ConfigObserver); ok {
			c.Configured(r.jid, actor, membersOnly)
		}
	})
}

func (r *room) invited(by, invitee stanza.JID) {
	r.observe(func(o Observer) {
		if i, ok := o.(InviteObserver); ok {
			i.Invited(r.jid, by, invitee)
		}
	})
}

func (r *room) kicked(who *occupant, real, by stanza.JID, name string) {
	nick := who.nick
	r.observe(func(o Observer) {
		if k, ok := o.(KickObserver); ok {
			k.Kicked(r.jid, real, by, nick, name)
		}
	})
}

func (r *room) changed(who *occupant) {
	nick, real := who.nick, who.real()
	r.observe(func(o Observer) {
		if p, ok := o.(PresenceObserver); ok {
			p.Changed(r.jid, real, nick)
		}
	})
}
