package muc

import (
	"context"
	"strings"

	"konzil/xmpp/stanza"
)

// handleMessage takes messages for the room and for occupants. The room is locked, as for all of this file.
func (r *room) handleMessage(st *stanza.Stanza) {
	o := r.sessions[st.From]
	switch {
	case st.Type == "error":
		r.messageError(o, st)
	case !st.To.IsBare():
		r.private(o, st)
	case st.Type == "groupchat":
		r.groupchat(o, st)
	case st.Has(nsUser, "x"):
		r.mediate(o, st)
	case st.Has(nsData, "x"):
		r.voice(o, st)
	default:
		r.fail(st, stanza.ErrBadRequest.With("A message to the room itself has to be of type groupchat"))
	}
}

// groupchat is a message to all (XEP-0045 §7.4), or a new subject (§8.1).
func (r *room) groupchat(o *occupant, st *stanza.Stanza) {
	switch {
	case o == nil:
		r.fail(st, stanza.ErrNotAcceptable.With("Only occupants may speak in this room"))
		return
	case isSubject(st):
		r.newSubject(o, st)
		return
	case r.meeting && st.Has(nsFasten, "apply-to"):
		r.moderate(st)
		return
	case o.role < participant:
		r.fail(st, stanza.ErrForbidden.With("Visitors may not speak in this room"))
		return
	case !r.mayBroadcast(o.sessionOf(st.From), st):
		return
	}
	edited := false
	if r.meeting {
		var err *stanza.Error
		if edited, err = r.rewrite(o, st); err != nil {
			r.fail(st, err)
			return
		}
	}
	if st.ID == "" { // jitsi-meet sends none, and its people react to messages by it
		st = st.WithID(newID())
	}
	r.svc.count.messages.Add(1)
	r.marked(o, st)
	payload := append(r.cleanMessage(st), stanza.NewElement(nsOccupant, "occupant-id", "id", o.id))
	if edited { // the message that it corrects is kept
		payload = append(payload, stanza.NewElement(nsHints, "no-store"))
	}
	var before func() error
	if target := st.Child(nsRetract, "retract").Attr("id"); target != "" {
		before = r.retract(o, st.ID, target)
	}
	var said *stanza.Stanza
	r.say(st, o, st, func(id string) *stanza.Stanza {
		said = r.stamped(st, payload, id).WithFromTo(o.addr, stanza.JID{})
		return said
	}, before)
	if said == nil {
		return
	}
	r.broadcast(func(b BroadcastObserver) { b.Said(r.jid, said) })
	if r.set.ForwardMentions {
		r.forwardMentions(said)
	}
}

// stamped is st with that payload and the id that the room gave it, "" for none.
func (r *room) stamped(st *stanza.Stanza, payload []*stanza.Element, id string) *stanza.Stanza {
	if id == "" {
		return st.WithPayload(payload...)
	}
	return st.WithPayload(append(payload, stanza.NewElement(nsSID, "stanza-id", "by", r.jid.String(), "id", id))...)
}

// cleanMessage gives the children of a groupchat or private message but those by which a client could speak for a server: ids of
// the room (XEP-0359 §6, XEP-0421 §4), room notices, delay stamps of the room, wrapped messages of carbons and archives.
func (r *room) cleanMessage(st *stanza.Stanza) []*stanza.Element {
	var out []*stanza.Element
	for _, e := range st.Payload() {
		switch {
		case e.Space == nsSID && e.Local == "stanza-id", e.Space == nsOccupant, e.Space == nsUser:
		case e.Space == nsDelay && strings.HasPrefix(e.Attr("from"), r.jid.String()):
		case e.Space == nsCarbons && (e.Local == "sent" || e.Local == "received"):
		case isMAM(e.Name), e.Space == nsRetract && (e.Local == "retracted" || e.Child(nsModerate, "moderated") != nil):
		case e.Space == nsFasten && (e.Child(nsModerate0, "moderated") != nil || e.Child(nsModerate, "moderated") != nil):
		case e.Space == nsNick && r.meeting: // the name is said by the presence
		default:
			out = append(out, e)
		}
	}
	return out
}

// isSubject tells a change of subject from a message that has one (§8.1).
func isSubject(st *stanza.Stanza) bool {
	return st.Has(stanza.NSClient, "subject") && !st.Has(stanza.NSClient, "body") && !st.Has(stanza.NSClient, "thread")
}

func (r *room) newSubject(o *occupant, st *stanza.Stanza) {
	text := st.Child(stanza.NSClient, "subject").Text()
	switch {
	case o.role < moderator && (!r.set.ChangeSubject || o.role < participant):
		r.fail(st, stanza.ErrForbidden.With("Only moderators may change the subject"))
		return
	case len(text) > r.svc.cfg.MaxSubject:
		r.fail(st, stanza.ErrNotAcceptable.With("The subject is too long"))
		return
	case !r.mayBroadcast(o.sessionOf(st.From), st):
		return
	}
	r.subject = subject{text: text, by: o.addr, at: r.svc.now()}
	payload := append(r.cleanMessage(st), stanza.NewElement(nsOccupant, "occupant-id", "id", o.id))
	var save func() error
	if r.svc.store != nil && r.set.Persistent {
		rec := r.record(false)
		save = func() error {
			ctx, cancel := context.WithTimeout(context.Background(), r.svc.cfg.StoreTimeout)
			defer cancel()
			return r.svc.store.SaveRoom(ctx, rec)
		}
	}
	r.say(st, o, st, func(id string) *stanza.Stanza { return r.stamped(st, payload, id).WithFromTo(o.addr, stanza.JID{}) }, save)
}

// subjectStanza is what newcomers get, also when there is no subject: it ends the history for them (§7.2.15).
func (r *room) subjectStanza() *stanza.Stanza {
	from := r.jid
	el := []*stanza.Element{stanza.TextElement(stanza.NSClient, "subject", r.subject.text)}
	if !r.subject.by.IsZero() {
		from = r.subject.by
		el = append(el, delay(r.jid, r.subject.at))
	}
	return stanza.NewMessage("groupchat", from, stanza.JID{}, el...)
}

// private is a message from one occupant to another (§7.5).
func (r *room) private(o *occupant, st *stanza.Stanza) {
	to := r.nicks[st.To.Resource()]
	switch {
	case o == nil:
		r.fail(st, stanza.ErrNotAcceptable.With("Only occupants may write to occupants"))
		return
	case st.Type == "groupchat":
		r.fail(st, stanza.ErrBadRequest.With("A private message cannot be of type groupchat"))
		return
	case to == nil:
		r.fail(st, stanza.ErrItemNotFound.With("There is nobody of that name in the room"))
		return
	case !r.mayWrite(o) || !r.sees(o, to) && !r.sees(to, o):
		r.fail(st, stanza.ErrForbidden.With("Private messages are not allowed here"))
		return
	case r.full(st):
		return
	}
	r.svc.count.private.Add(1)
	r.pass(o, to, st)
}

// pass hands on a private message.
func (r *room) pass(from, to *occupant, st *stanza.Stanza) {
	payload := append(r.cleanMessage(st), stanza.NewElement(nsUser, "x"), stanza.NewElement(nsOccupant, "occupant-id", "id", from.id))
	r.sendOccupant(to, st.WithPayload(payload...).WithFrom(from.addr))
}

// sendOccupant queues st for all sessions of an occupant; several of an account of ours get it as one message, which its archive has once.
func (r *room) sendOccupant(o *occupant, st *stanza.Stanza) {
	jids := o.jids() // one account has a nick (mayShare)
	if len(jids) > 1 && r.svc.local[jids[0].Domain()] {
		r.answer(st.ForAll(jids))
		return
	}
	r.send(st, jids...)
}

// mayWrite tells whether o may write to single occupants (muc#roomconfig_allowpm).
func (r *room) mayWrite(o *occupant) bool {
	switch r.set.AllowPM {
	case "participants":
		return o.role >= participant
	case "moderators":
		return o.role == moderator
	case "none":
		return false
	}
	return true
}

// messageError is a message that did not arrive: its recipient is gone, or the error goes to who wrote it.
func (r *room) messageError(o *occupant, st *stanza.Stanza) {
	if o == nil {
		return
	}
	if unreachable(st) {
		r.ghost(o, st)
		return
	}
	if to := r.nicks[st.To.Resource()]; to != nil {
		r.sendOccupant(to, st.WithFrom(o.addr))
	}
}
