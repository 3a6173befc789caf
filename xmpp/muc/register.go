package muc

import (
	"context"

	"konzil/xmpp/stanza"
)

// registerIQ is the registration of a nick (XEP-0045 §7.10): who has one is a member, and nobody else may use the nick. Open rooms
// register at once; moderated and members-only ones ask their admins, if one is inside (§9.9). The room is locked, as for all of this file.
func (r *room) registerIQ(st *stanza.Stanza) {
	q := st.Child(nsRegister, "query")
	bare := st.From.Bare()
	aff := r.affiliation(bare)
	switch {
	case r.meeting || r.svc.cfg.HideRooms && r.locked || bare.Local() == "":
		r.fail(st, stanza.ErrServiceUnavailable)
	case aff == outcast:
		r.fail(st, stanza.ErrNotAllowed.With("You are banned from this room"))
	case st.Type == "get":
		r.answer(st.Result(r.registerForm(bare)))
	case q.Child(nsRegister, "remove") != nil:
		r.unregister(st, bare)
	default:
		r.register(st, q, bare, aff)
	}
}

func (r *room) registerForm(bare stanza.JID) *stanza.Element {
	q := stanza.NewElement(nsRegister, "query")
	nick := r.aff[bare].nick
	if nick != "" {
		q.Add(stanza.NewElement(nsRegister, "registered"), stanza.TextElement(nsRegister, "username", nick))
	}
	return q.Add(stanza.NewElement(nsData, "x", "type", "form").Add(
		stanza.TextElement(nsData, "title", "Registration with "+r.jid.String()),
		field("FORM_TYPE", "hidden", "", nsRegisterForm),
		field("muc#register_roomnick", "text-single", "Nickname", nick).Add(stanza.NewElement(nsData, "required"))))
}

func (r *room) register(st *stanza.Stanza, q *stanza.Element, bare stanza.JID, aff affiliation) {
	f, perr := parseForm(q.Child(nsData, "x"))
	if perr != nil || f.formType() != nsRegisterForm {
		r.fail(st, stanza.ErrBadRequest)
		return
	}
	nick, err := r.cleanNick(f.value("muc#register_roomnick"), bare)
	switch o := r.nicks[nick]; {
	case err != nil:
		r.fail(st, err)
	case r.reservedBy(nick, bare), o != nil && o.bare() != bare:
		r.fail(st, stanza.ErrConflict.With("The nickname is taken"))
	case aff == none && len(r.aff) >= r.svc.cfg.MaxAffiliations:
		r.fail(st, stanza.ErrResourceConstraint.With("The lists of this room are full"))
	case aff == none && (r.set.MembersOnly || r.set.Moderated):
		r.askAdmins(st, nick)
	default:
		e := r.aff[bare]
		e.aff, e.nick = max(aff, member), nick
		r.enlist(st, bare, e, func() { r.svc.reply(st.Result()) })
	}
}

// cleanNick is a nick as it stands in addresses.
func (r *room) cleanNick(nick string, bare stanza.JID) (string, *stanza.Error) {
	addr, jerr := r.jid.WithResource(nick)
	if jerr != nil || nick == "" {
		return "", stanza.ErrNotAcceptable.With("That is no nickname")
	}
	return addr.Resource(), r.badNick(addr.Resource(), bare)
}

// reservedBy tells whether the nick is registered by somebody else.
func (r *room) reservedBy(nick string, than stanza.JID) bool {
	holder, ok := r.reserved[nick]
	return ok && holder != than
}

// enlist changes one entry of the lists, and what occupants feel of it.
func (r *room) enlist(st *stanza.Stanza, bare stanza.JID, e affEntry, then func()) {
	changed, shifts := r.applyAffiliations([]edit{{bare: bare, entry: e}}, "")
	r.stored(st, func(ctx context.Context, s Store) error { return s.SetAffiliations(ctx, r.jid.String(), changed) }, then)
	r.tellAbsent(shifts)
}

// unregister gives the nick back; a member who has nothing but that is none any more.
func (r *room) unregister(st *stanza.Stanza, bare stanza.JID) {
	e, ok := r.aff[bare]
	if !ok || e.nick == "" {
		r.fail(st, &stanza.Error{Type: "auth", Condition: "registration-required"})
		return
	}
	if e.nick = ""; e.aff == member {
		e.aff = none
	}
	r.enlist(st, bare, e, func() { r.svc.reply(st.Result()) })
}

// askAdmins shows the wish to the admins who are inside (§9.9).
func (r *room) askAdmins(st *stanza.Stanza, nick string) {
	var to []stanza.JID
	for _, o := range r.order {
		if r.affiliation(o.bare()) >= admin && !r.svc.admins[o.bare()] {
			to = append(to, o.jids()...)
		}
	}
	if len(to) == 0 {
		r.fail(st, stanza.ErrNotAllowed.With("An owner has to make you a member, and none is here"))
		return
	}
	r.send(stanza.NewMessage("", r.jid, stanza.JID{}, stanza.NewElement(nsData, "x", "type", "form").Add(
		stanza.TextElement(nsData, "title", "Registration request"),
		field("FORM_TYPE", "hidden", "", nsRegisterForm),
		field("muc#register_jid", "jid-single", "User", st.From.Bare().String()),
		field("muc#register_roomnick", "text-single", "Nickname", nick),
		field("muc#register_allow", "boolean", "May this person be a member?", "0"))), to...)
	r.answer(st.Result())
}

// approve is an admin's answer to that.
func (r *room) approve(st *stanza.Stanza, f form) {
	bare, jerr := stanza.ParseJID(f.value("muc#register_jid"))
	switch {
	case r.affiliation(st.From.Bare()) < admin:
		r.fail(st, stanza.ErrForbidden.With("Only admins and owners may do that"))
		return
	case jerr != nil || bare.Local() == "":
		r.fail(st, stanza.ErrJIDMalformed)
		return
	case !f.flag("muc#register_allow") || r.affiliation(bare.Bare()) != none:
		return
	}
	nick, err := r.cleanNick(f.value("muc#register_roomnick"), bare.Bare())
	switch {
	case err != nil:
		r.fail(st, err)
	case r.reservedBy(nick, bare.Bare()):
		r.fail(st, stanza.ErrConflict.With("The nickname is taken"))
	case len(r.aff) >= r.svc.cfg.MaxAffiliations:
		r.fail(st, stanza.ErrResourceConstraint.With("The lists of this room are full"))
	default:
		r.enlist(st, bare.Bare(), affEntry{aff: member, nick: nick}, func() {})
	}
}
