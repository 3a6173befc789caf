package muc

import "konzil/xmpp/stanza"

// voice is a visitor's request to speak, or a moderator's answer to one (XEP-0045 §7.13, §8.6). The room is locked.
func (r *room) voice(o *occupant, st *stanza.Stanza) {
	f, err := parseForm(st.Child(nsData, "x"))
	switch {
	case err == nil && f.formType() == nsRegisterForm:
		r.approve(st, f)
	case o == nil:
		r.fail(st, stanza.ErrNotAcceptable.With("Only occupants may ask for voice"))
	case err != nil || f.formType() != nsRequest:
		r.fail(st, stanza.ErrBadRequest)
	case o.role == moderator && f.has("muc#request_allow"):
		target := r.nicks[f.value("muc#roomnick")]
		if target == nil {
			r.fail(st, stanza.ErrItemNotFound)
			return
		}
		if f.flag("muc#request_allow") && target.role < participant {
			r.setRole(target, participant, o.nick, "")
		}
	case !r.mayBroadcast(o.sessionOf(st.From), st):
	default:
		r.send(stanza.NewMessage("", r.jid, stanza.JID{}, r.voiceForm(o)), r.moderators()...)
	}
}

func (r *room) moderators() []stanza.JID {
	var out []stanza.JID
	for _, o := range r.order {
		if o.role == moderator {
			out = append(out, o.jids()...)
		}
	}
	return out
}

func (r *room) voiceForm(o *occupant) *stanza.Element {
	return stanza.NewElement(nsData, "x", "type", "form").Add(
		stanza.TextElement(nsData, "title", "Request for voice"),
		field("FORM_TYPE", "hidden", "", nsRequest),
		field("muc#role", "list-single", "Role that is asked for", "participant"),
		field("muc#jid", "jid-single", "User", o.real().String()),
		field("muc#roomnick", "text-single", "Nickname", o.nick),
		field("muc#request_allow", "boolean", "May this person speak?", "false"),
	)
}
