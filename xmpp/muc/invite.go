package muc

import (
	"context"

	"konzil/xmpp/stanza"
)

// mediate is an invitation through the room (XEP-0045 §7.8.2) or its decline. The room is locked, as for all of this file.
func (r *room) mediate(o *occupant, st *stanza.Stanza) {
	x := st.Child(nsUser, "x")
	if d := x.Child(nsUser, "decline"); d != nil {
		r.decline(o, st, d)
		return
	}
	invites := x.ChildrenNamed(nsUser, "invite")
	switch {
	case len(invites) == 0 || len(invites) > maxInvites:
		r.fail(st, stanza.ErrBadRequest)
		return
	case o == nil && !(r.meeting && r.affiliation(st.From.Bare()) == owner): // a moderator in a breakout room lets people into the meeting
		r.fail(st, stanza.ErrNotAcceptable.With("Only occupants may invite"))
		return
	case o != nil && !r.mayInvite(o):
		r.fail(st, stanza.ErrForbidden.With("You may not invite to this room"))
		return
	case o == nil && r.full(st), o != nil && !r.mayBroadcast(o.sessionOf(st.From), st):
		return
	}
	var targets []stanza.JID
	for _, inv := range invites {
		to, err := stanza.ParseJID(inv.Attr("to"))
		if err != nil || to.IsZero() || to.Domain() == r.svc.cfg.Domain {
			r.fail(st, stanza.ErrJIDMalformed)
			return
		}
		targets = append(targets, to)
	}
	if r.set.MembersOnly { // §7.8.2: who is invited to a members-only room becomes a member
		r.makeMembers(st, targets)
	}
	for i, to := range targets {
		r.send(r.invitation(o, st.From, invites[i]), to)
		r.invited(st.From, to)
	}
}

func (r *room) mayInvite(o *occupant) bool {
	aff := r.affiliation(o.bare())
	switch {
	case aff >= admin:
		return true
	case r.set.MembersOnly && aff < member, r.svc.cfg.Waiting: // who waits lets nobody in
		return false
	default:
		return r.set.AllowInvites && o.role >= participant
	}
}

func (r *room) makeMembers(st *stanza.Stanza, targets []stanza.JID) {
	var changed []AffiliationRecord
	for _, t := range targets {
		bare := t.Bare()
		if r.affiliation(bare) != none || len(r.aff) >= r.svc.cfg.MaxAffiliations {
			continue
		}
		r.setAffiliation(bare, affEntry{aff: member})
		changed = append(changed, AffiliationRecord{JID: bare.String(), Affiliation: member.String()})
	}
	if len(changed) > 0 {
		r.stored(st, func(ctx context.Context, s Store) error { return s.SetAffiliations(ctx, r.jid.String(), changed) }, func() {})
	}
}

// invitation is what the invited one gets: from the room, with the password, and once more as a direct one (XEP-0249), which every client reads.
func (r *room) invitation(o *occupant, from stanza.JID, inv *stanza.Element) *stanza.Stanza {
	reason := inv.Child(nsUser, "reason").Text()
	out := stanza.NewElement(nsUser, "invite", "from", from.String())
	if r.set.Anonymous && o != nil {
		out.SetAttr("from", o.addr.String())
	}
	if reason != "" {
		out.Add(stanza.TextElement(nsUser, "reason", reason))
	}
	if c := inv.Child(nsUser, "continue"); c != nil {
		out.Add(stanza.NewElement(nsUser, "continue", "thread", c.Attr("thread")))
	}
	x := stanza.NewElement(nsUser, "x").Add(out)
	if r.set.Secret != "" {
		x.Add(stanza.TextElement(nsUser, "password", r.set.Secret))
	}
	return stanza.NewMessage("", r.jid, stanza.JID{}, x, stanza.TextElement(nsInviteX, "x", reason, "jid", r.jid.String()))
}

// decline goes back to who invited. Only people of the room can be told: a room is no relay for strangers.
func (r *room) decline(o *occupant, st *stanza.Stanza, d *stanza.Element) {
	to, err := stanza.ParseJID(d.Attr("to"))
	if err != nil || to.IsZero() {
		r.fail(st, stanza.ErrJIDMalformed)
		return
	}
	var recipients []stanza.JID
	if to.Bare() == r.jid {
		if inviter := r.nicks[to.Resource()]; inviter != nil {
			recipients = inviter.jids()
		}
	} else {
		for _, x := range r.order {
			if x.bare() == to.Bare() {
				recipients = append(recipients, x.jids()...)
			}
		}
	}
	if len(recipients) == 0 {
		r.fail(st, stanza.ErrItemNotFound.With("Who invited you has left"))
		return
	}
	from := st.From.Bare().String()
	if o != nil {
		from = o.addr.String()
	}
	out := stanza.NewElement(nsUser, "decline", "from", from)
	if reason := d.Child(nsUser, "reason").Text(); reason != "" {
		out.Add(stanza.TextElement(nsUser, "reason", reason))
	}
	r.send(stanza.NewMessage("", r.jid, stanza.JID{}, stanza.NewElement(nsUser, "x").Add(out)), recipients...)
}
