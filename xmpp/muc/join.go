package muc

import (
	"crypto/subtle"
	"slices"
	"strings"

	"konzil/xmpp/jitsi"
	"konzil/xmpp/stanza"
)

// enter lets a newcomer in or tells why not (XEP-0045 §7.2). The room is locked, as for all of this file.
func (r *room) enter(st *stanza.Stanza) {
	pass, err := r.guarded(st)
	if err == nil {
		err = r.refusal(st, pass)
	}
	if err != nil {
		r.svc.count.joinErrors.Add(1)
		r.fail(st, err)
		r.dieIfEmpty()
		return
	}
	bare := st.From.Bare()
	if r.meeting && r.set.MembersOnly && r.affiliation(bare) == none { // it knows the password
		r.setAffiliation(bare, affEntry{aff: member})
	}
	known := r.nicks[st.To.Resource()] != nil
	o, s := r.admit(st.From, st.To, st.To.Resource(), r.defaultRole(r.affiliation(bare)))
	s.presence, s.lang = r.clean(st), st.Lang
	r.note(st.From)
	var codes []int
	if r.founder == st.From {
		r.founder = stanza.JID{}
		codes = append(codes, 201)
	}
	r.svc.count.joins.Add(1)
	r.welcome(o, s, st, known, codes)
}

// reenter is a join of who is inside already: its client has lost what it knew, so it is told everything again.
func (r *room) reenter(o *occupant, st *stanza.Stanza) {
	s := o.sessionOf(st.From)
	if !r.mayBroadcast(s, st) || r.tooBig(st) {
		return
	}
	s.presence, s.lang = r.clean(st), st.Lang
	r.note(st.From)
	r.welcome(o, s, st, s != o.primary(), nil)
}

// welcome sends a newcomer, in this order: what observers have, all other presences (admins first), its own, history and subject. The
// others get its presence unless they see another session of that nick already.
func (r *room) welcome(o *occupant, s *session, st *stanza.Stanza, quiet bool, codes []int) {
	jid, nick := s.jid, o.nick
	send := func(m *stanza.Stanza) { r.svc.router.Route(m.WithTo(jid)) }
	r.observe(func(ob Observer) { ob.Joining(r.jid, jid, nick, send) })
	others := make([]*stanza.Stanza, 0, len(r.order))
	for _, first := range []bool{true, false} {
		for _, x := range r.order {
			if x != o && r.shows(x.role) && r.sees(o, x) && r.svc.admins[x.bare()] == first {
				others = append(others, r.shownTo(x, o.role))
			}
		}
	}
	r.sendAll(others, jid)
	p := r.presenceOf(o)
	p.id, p.selfCodes = st.ID, append(r.roomCodes(), codes...)
	if quiet {
		p.real, p.children = jid, s.presence
		r.send(p.build(true, true), jid)
	} else {
		r.announce(o, []stanza.JID{jid}, p)
	}
	if r.set.Avatar != "" {
		r.send(r.avatarPresence(), jid)
	}
	r.replay(st, jid)
	r.send(r.subjectStanza(), jid)
	r.observe(func(ob Observer) { ob.Joined(r.jid, jid, nick) })
}

// roomCodes are the status codes that tell a newcomer what kind of room it is (§7.2.3, §7.2.12).
func (r *room) roomCodes() []int {
	var codes []int
	if !r.set.Anonymous {
		codes = append(codes, 100)
	}
	if r.logged() {
		codes = append(codes, 170)
	}
	return codes
}

// refusal is why the newcomer of st may not enter, nil if it may. pass: it needs no password.
func (r *room) refusal(st *stanza.Stanza, pass bool) *stanza.Error {
	bare := st.From.Bare()
	nick := st.To.Resource()
	aff := r.affiliation(bare)
	if err := r.badNick(nick, bare); err != nil {
		return err
	}
	switch {
	case st.Size() > r.svc.cfg.MaxPresence:
		return stanza.ErrPolicyViolation.With("The presence is too big")
	case aff == outcast: // §7.2.7
		return stanza.ErrForbidden.With("You are banned from this room")
	case r.locked && aff < owner: // §10.1.1
		return stanza.ErrItemNotFound.With("The room is not configured yet")
	case r.set.MembersOnly && aff == none && !(r.meeting && r.set.Secret != "" && r.passwordIn(st)): // §7.2.6; in a meeting the password will do
		return stanza.ErrRegistrationRequired.With("Only members may enter this room")
	case r.set.Secret != "" && aff < owner && !pass && !r.passwordIn(st) && !(r.meeting && r.set.MembersOnly): // §7.2.5; whom a moderator let in needs none
		return stanza.ErrNotAuthorized.With("The room needs a password")
	case len(r.recipients) >= r.maxOccupants() && aff < admin: // §7.2.9
		return &stanza.Error{Type: "wait", Condition: "service-unavailable", Text: "The room is full"}
	case len(r.queue) >= maxQueued:
		r.svc.count.overflows.Add(1)
		return stanza.ErrResourceConstraint.With("The room is too busy")
	}
	if o := r.nicks[nick]; o != nil && !r.mayShare(o, bare) || r.reservedBy(nick, bare) { // §7.2.8
		return stanza.ErrConflict.With("The nickname is taken")
	}
	return nil
}

// mayShare tells whether a further client of a person may have the nick of its first: in chat rooms. Jitsi clients know
// only one session for each nick.
func (r *room) mayShare(o *occupant, bare stanza.JID) bool {
	return !r.meeting && o.bare() == bare && len(o.sessions) < maxSessionsPerNick
}

func (r *room) maxOccupants() int {
	if n := r.set.MaxUsers; n > 0 {
		return n
	}
	return r.svc.cfg.MaxOccupants
}

func (r *room) badNick(nick string, bare stanza.JID) *stanza.Error {
	switch {
	case len(nick) > r.svc.cfg.MaxNick:
		return stanza.ErrNotAcceptable.With("The nickname is too long")
	case strings.TrimSpace(nick) == "":
		return stanza.ErrJIDMalformed.With("A nickname is missing")
	case slices.Contains(r.svc.cfg.AdminNicks, nick) && !r.svc.admins[bare]:
		return stanza.ErrConflict.With("The nickname is taken")
	case r.meeting && !r.svc.cfg.AnyNick && !jitsi.ValidNick(nick):
		return stanza.ErrNotAllowed.With("In a meeting the nickname is made of letters, digits and underscores")
	case r.meeting && r.svc.cfg.StrictNicks && !r.svc.local[bare.Domain()] && !r.svc.admins[bare] && !strings.HasPrefix(bare.Local()+"-", nick+"-"):
		return stanza.ErrNotAllowed.With("The nickname is not that of your address")
	}
	return nil
}

func (r *room) passwordIn(st *stanza.Stanza) bool {
	given := st.Child(nsMUC, "x").Child(nsMUC, "password").Text()
	return subtle.ConstantTimeCompare([]byte(given), []byte(r.set.Secret)) == 1
}
