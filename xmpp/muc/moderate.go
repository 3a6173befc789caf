package muc

import (
	"konzil/xmpp/stanza"
)

const (
	nsModerate0 = "urn:xmpp:message-moderate:0"
	nsRetract0  = "urn:xmpp:message-retract:0"
	// maxGraves bounds the tombstones of a room that wait for the disk; beyond that only the retraction itself is in the archive.
	maxGraves = 256
)

// retract takes a message of o's own out of the past and, with what it returns and once the retraction is on disk, out of the
// archive (XEP-0424). The room is locked.
func (r *room) retract(o *occupant, retraction, target string) func() error {
	r.loadPast()
	r.unremember(func(e histEntry) bool {
		mine := e.by == o.id && (e.id == target || e.st.ID == target)
		if mine {
			target = e.id
		}
		return mine
	})
	if !r.archived() {
		return nil
	}
	own := func(m *stanza.Stanza) bool { return m.Child(nsOccupant, "occupant-id").Attr("id") == o.id }
	at := r.svc.now()
	return func() error {
		r.bury(func() { r.entomb(target, own, retracted(retraction, at)) })
		return nil
	}
}

// bury puts tombstones one after another, by one goroutine for each room. The room is not locked.
func (r *room) bury(grave func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.graves) >= maxGraves {
		r.svc.count.overflows.Add(1)
		return
	}
	if r.graves = append(r.graves, grave); len(r.graves) > 1 {
		return
	}
	r.svc.tasks.run(func() {
		for {
			r.mu.Lock()
			if len(r.graves) == 0 {
				r.mu.Unlock()
				return
			}
			f := r.graves[0]
			r.mu.Unlock()
			f()
			r.mu.Lock()
			r.graves = r.graves[1:]
			r.mu.Unlock()
		}
	})
}

// moderation is a moderator's wish to take somebody's message back.
type moderation struct {
	id, reason string
}

// readModeration understands XEP-0425 in its present form, in that of its version 0.2 (by XEP-0422), and as jitsi-meet says it in a message.
func readModeration(st *stanza.Stanza) (moderation, bool) {
	if el := st.Child(nsModerate, "moderate"); el != nil {
		return moderation{el.Attr("id"), el.Child(nsModerate, "reason").Text()}, el.Child(nsRetract, "retract") != nil
	}
	to := st.Child(nsFasten, "apply-to")
	for _, ns := range []string{nsModerate0, nsModerate} {
		for _, name := range []string{"moderate", "moderated"} {
			if el := to.Child(ns, name); el != nil {
				return moderation{to.Attr("id"), el.Child(ns, "reason").Text()}, el.Child(nsRetract0, "retract") != nil || el.Child(nsRetract, "retract") != nil
			}
		}
	}
	return moderation{}, false
}

// moderate carries it out (XEP-0425 §3). st is the iq or message that asks for it. The room is locked.
func (r *room) moderate(st *stanza.Stanza) {
	o := r.sessions[st.From]
	m, ok := readModeration(st)
	switch {
	case o == nil || o.role < moderator:
		r.fail(st, stanza.ErrForbidden.With("Only moderators may retract messages of others"))
		return
	case !ok || m.id == "":
		r.fail(st, stanza.ErrBadRequest)
		return
	case len(m.reason) > r.svc.cfg.MaxSubject:
		r.fail(st, stanza.ErrNotAcceptable.With("The reason is too long"))
		return
	case !r.mayBroadcast(o.sessionOf(st.From), st):
		return
	}
	r.loadPast()
	r.unremember(func(e histEntry) bool { return e.id == m.id || r.meeting && e.st.ID == m.id })
	id, by, occupant := newID(), o.addr.String(), o.id
	if !r.archived() {
		r.tellModeration(st, m, id, by, occupant)
		return
	}
	grave := retracted(id, r.svc.now(), moderatedBy(nsModerate, by, occupant))
	if m.reason != "" {
		grave.Add(stanza.TextElement(nsRetract, "reason", m.reason))
	}
	anybodys := func(*stanza.Stanza) bool { return true }
	if !r.svc.tasks.runFor(st.From.Bare(), func() {
		err := r.entomb(m.id, anybodys, grave)
		r.mu.Lock()
		defer r.flush()
		switch {
		case err != nil:
			r.fail(st, err)
		case !r.dead:
			r.tellModeration(st, m, id, by, occupant)
		}
	}) {
		r.svc.count.overflows.Add(1)
		r.fail(st, stanza.ErrResourceConstraint.With("Too much at once, wait a little"))
	}
}

// tellModeration tells all, in the words of both versions, and then who asked. The room is locked.
func (r *room) tellModeration(st *stanza.Stanza, m moderation, id, by, occupant string) {
	r.svc.count.moderated.Add(1)
	now := stanza.NewElement(nsRetract, "retract", "id", m.id).Add(moderatedBy(nsModerate, by, occupant))
	ns, retract := nsModerate0, nsRetract0
	if r.meeting {
		ns, retract = nsModerate, nsRetract // as jitsi-meet has it
	}
	then := moderatedBy(ns, by, occupant).Add(stanza.NewElement(retract, "retract"))
	if m.reason != "" {
		now.Add(stanza.TextElement(nsRetract, "reason", m.reason))
		then.Add(stanza.TextElement(ns, "reason", m.reason))
	}
	msg := stanza.NewMessage("groupchat", r.jid, stanza.JID{}, now, stanza.NewElement(nsFasten, "apply-to", "id", m.id).Add(then)).WithID(id)
	payload := msg.Payload()
	r.say(st, nil, msg, func(sid string) *stanza.Stanza { return r.stamped(msg, payload, sid) }, nil)
	if st.Kind == stanza.IQ {
		r.answer(st.Result())
	}
}

func moderatedBy(ns, by, occupant string) *stanza.Element {
	return stanza.NewElement(ns, "moderated", "by", by).Add(stanza.NewElement(nsOccupant, "occupant-id", "id", occupant))
}
