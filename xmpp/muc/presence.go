package muc

import (
	"konzil/xmpp/stanza"
)

// handlePresence is joining, updates, nick changes and leaving (XEP-0045 §7). The room is locked.
func (r *room) handlePresence(st *stanza.Stanza) {
	o := r.sessions[st.From]
	switch {
	case st.Type == "error":
		r.ghost(o, st)
	case st.Type == "unavailable":
		if o != nil {
			r.leave(o, st)
		}
	case st.Type != "":
		// Subscriptions and probes mean nothing to a room.
	case st.To.IsBare():
		r.fail(st, stanza.ErrJIDMalformed.With("A nickname is missing")) // §7.2.1
		r.dieIfEmpty()
	case o == nil && !st.Has(nsMUC, "x"):
		// Who thinks to be inside, and is not any more, must learn it, or it would never get a message (§7.2.1 knows no
		// other way in since version 1.32).
		r.fail(st, stanza.ErrItemNotFound.With("You are not in this room"))
	case o == nil:
		r.enter(st)
	case st.To != o.addr:
		r.rename(o, st)
	case st.Has(nsMUC, "x"):
		r.reenter(o, st)
	default:
		r.update(o, st)
	}
}

// clean gives what of a client's presence others may see: all children in their order but those that only a server may say.
func (r *room) clean(st *stanza.Stanza) []*stanza.Element {
	trusted := r.svc.admins[st.From.Bare()]
	var out []*stanza.Element
	for _, e := range st.Payload() {
		switch {
		case e.Space == nsMUC, e.Space == nsUser, e.Space == nsOccupant, e.Space == nsSID, e.Space == nsHats:
		case !trusted && (e.Name == stanza.Name{Space: stanza.NSClient, Local: "identity"}):
		case !trusted && (e.Name == stanza.Name{Space: nsJitMeet, Local: "permissions"}):
		default:
			out = append(out, e)
		}
	}
	return out
}

// pres is a presence of an occupant that is to be told.
type pres struct {
	typ      string // "" or unavailable
	id, lang string // of the client's stanza, reflected to itself
	addr     stanza.JID
	real     stanza.JID
	children []*stanza.Element
	occID    string
	hats     *stanza.Element
	all, own []*stanza.Element // added by the server

	aff       affiliation
	role      role
	newNick   string
	actor     string // nick of who did it
	reason    string
	extra     *stanza.Element // destroy, inside the x
	codes     []int           // for all
	selfCodes []int           // for the occupant itself, besides 110
}

func (r *room) presenceOf(o *occupant) pres {
	s := o.primary()
	p := pres{addr: o.addr, real: s.jid, children: s.presence, lang: s.lang, occID: o.id, hats: o.hats, aff: r.affiliation(s.jid.Bare()), role: o.role}
	if r.svc.cfg.Decorate != nil {
		p.all, p.own = r.svc.cfg.Decorate(r.jid, s.jid, o.role == moderator)
	}
	return p
}

// build makes the stanza as it goes out. The muc#user x comes before all children: clients take the first x for it.
func (p pres) build(withJID, self bool) *stanza.Stanza {
	var jid stanza.JID
	if withJID {
		jid = p.real
	}
	it := item(p.aff, p.role, jid)
	if p.newNick != "" {
		it.SetAttr("nick", p.newNick)
	}
	if p.actor != "" {
		it.Add(stanza.NewElement(nsUser, "actor", "nick", p.actor))
	}
	if p.reason != "" {
		it.Add(stanza.TextElement(nsUser, "reason", p.reason))
	}
	codes := p.codes
	if self {
		codes = append(append(append([]int(nil), p.selfCodes...), 110), p.codes...)
	}
	x := userX(it, codes...).Add(p.extra)
	payload := make([]*stanza.Element, 0, len(p.children)+3)
	payload = append(append(payload, x), p.children...)
	if p.typ == "" {
		payload = append(payload, p.all...)
		if self {
			payload = append(payload, p.own...)
		}
	}
	if p.hats != nil {
		payload = append(payload, p.hats)
	}
	if p.occID != "" {
		payload = append(payload, stanza.NewElement(nsOccupant, "occupant-id", "id", p.occID))
	}
	st := stanza.NewPresence(p.typ, p.addr, stanza.JID{}, payload...)
	st.Lang = p.lang
	if self {
		st.ID = p.id
	}
	return st
}

// announce queues p for self and for everybody else inside. In a semi-anonymous room only moderators see real JIDs.
func (r *room) announce(o *occupant, self []stanza.JID, p pres) {
	o.shown = [2]*stanza.Stanza{}
	if others, tell := r.toOthers(o, p); tell {
		r.announceTo(o, others)
		r.broadcast(func(b BroadcastObserver) {
			b.Shown(r.jid, func() *stanza.Stanza { return others.build(true, false) })
		})
	}
	r.send(p.build(true, true), self...)
}

// toOthers is what others are told of p: as it is, that somebody has gone whose role is not shown any more, or nothing.
func (r *room) toOthers(o *occupant, p pres) (pres, bool) {
	was := o.told
	o.told = p.typ == "" && r.shows(p.role)
	if p.typ == "" && !o.told && was {
		p.typ, p.children, p.codes = "unavailable", nil, nil
	}
	return p, o.told || was
}

// shows tells whether presence of that role is broadcast (§15.5.3, muc#roomconfig_presencebroadcast).
func (r *room) shows(ro role) bool { return r.set.Hidden&(1<<ro) == 0 }

func (r *room) announceTo(o *occupant, p pres) {
	var full, veiled []stanza.JID
	for _, x := range r.order {
		switch {
		case x == o || !r.sees(x, o):
		case !r.set.Anonymous || x.role == moderator:
			full = append(full, x.jids()...)
		default:
			veiled = append(veiled, x.jids()...)
		}
	}
	if len(full) > 0 {
		r.send(p.build(true, false), full...)
	}
	if len(veiled) > 0 {
		r.send(p.build(false, false), veiled...)
	}
}

// shownTo is the presence of o as viewer gets it when it enters.
func (r *room) shownTo(o *occupant, viewer role) *stanza.Stanza {
	i := 1
	if r.set.Anonymous && viewer != moderator {
		i = 0
	}
	if o.shown[i] == nil {
		o.shown[i] = r.presenceOf(o).build(i == 1, false)
	}
	return o.shown[i]
}

// update is a presence of who is inside already (§7.7).
func (r *room) update(o *occupant, st *stanza.Stanza) {
	s := o.sessionOf(st.From)
	if !r.mayBroadcast(s, st) || r.tooBig(st) {
		return
	}
	r.svc.count.presences.Add(1)
	s.presence, s.lang = r.clean(st), st.Lang
	r.note(st.From)
	p := r.presenceOf(o)
	p.id = st.ID
	if s != o.primary() { // the others see the first session
		p.children = s.presence
		r.send(p.build(true, true), s.jid)
		return
	}
	r.announce(o, o.jids(), p)
	r.changed(o)
}

func (r *room) tooBig(st *stanza.Stanza) bool {
	if st.Size() <= r.svc.cfg.MaxPresence {
		return false
	}
	r.fail(st, stanza.ErrPolicyViolation.With("The presence is too big"))
	return true
}

// mayBroadcast takes from the session's allowance for what all others will get, or answers st.
func (r *room) mayBroadcast(s *session, st *stanza.Stanza) bool {
	if r.full(st) {
		return false
	}
	if r.svc.admins[st.From.Bare()] || s.limit.AllowN(r.svc.now(), 1) {
		return true
	}
	r.svc.count.limited.Add(1)
	r.fail(st, stanza.ErrResourceConstraint.With("Too much at once, wait a little"))
	return false
}

// rename is a change of nick (§7.6). All sessions of the occupant go along.
func (r *room) rename(o *occupant, st *stanza.Stanza) {
	s := o.sessionOf(st.From)
	nick := st.To.Resource()
	if r.tooBig(st) || !r.mayBroadcast(s, st) {
		return
	}
	if err := r.badNick(nick, st.From.Bare()); err != nil {
		r.fail(st, err)
		return
	}
	if r.nicks[nick] != nil || r.reservedBy(nick, st.From.Bare()) {
		r.fail(st, stanza.ErrConflict.With("The nickname is taken"))
		return
	}
	p := r.presenceOf(o)
	p.typ, p.children, p.newNick, p.codes = "unavailable", nil, nick, []int{303}
	r.announce(o, o.jids(), p)

	delete(r.nicks, o.nick)
	o.nick, o.addr = nick, st.To
	r.nicks[nick] = o
	s.presence, s.lang = r.clean(st), st.Lang
	r.noteOccupant(o)
	p = r.presenceOf(o)
	p.id = st.ID
	r.announce(o, o.jids(), p)
}

// leave is the unavailable presence of who goes (§7.14).
func (r *room) leave(o *occupant, st *stanza.Stanza) {
	p := r.presenceOf(o)
	p.typ, p.id, p.lang, p.children, p.role, p.real = "unavailable", st.ID, st.Lang, r.clean(st), roleNone, st.From
	r.depart(o, st.From, p)
}

// depart takes a session out and tells it, and all others when it was the last of its nick.
func (r *room) depart(o *occupant, jid stanza.JID, p pres) {
	shown := o.real()
	r.expel(o, jid)
	switch {
	case len(o.sessions) == 0:
		r.announce(o, []stanza.JID{jid}, p)
	default:
		r.send(p.build(true, true), jid)
		if shown == jid { // another session of the nick is shown from now on
			r.announce(o, o.jids(), r.presenceOf(o))
		}
	}
	r.gone(o.nick, jid)
	r.dieIfEmpty()
}

// gone tells observers.
func (r *room) gone(nick string, jid stanza.JID) {
	r.observe(func(ob Observer) { ob.Left(r.jid, jid, nick) })
}

// remove takes an occupant with all sessions out against its will, with a status code that tells why (§8.2, §9.1, §9.3).
func (r *room) remove(o *occupant, code int, actor, reason string) {
	r.svc.count.kicks.Add(1)
	p := r.presenceOf(o)
	p.typ, p.children, p.role, p.codes, p.actor, p.reason = "unavailable", nil, roleNone, []int{code}, actor, reason
	jids := o.jids()
	for _, j := range jids {
		r.expel(o, j)
	}
	r.announce(o, jids, p)
	for _, j := range jids {
		r.gone(o.nick, j)
	}
}

// ghost takes out a session whose server says that it cannot be reached (§ "Ghost users").
func (r *room) ghost(o *occupant, st *stanza.Stanza) {
	if o == nil || !unreachable(st) {
		return
	}
	r.svc.count.ghosts.Add(1)
	p := r.presenceOf(o)
	p.typ, p.role, p.real = "unavailable", roleNone, st.From
	p.children = []*stanza.Element{stanza.TextElement(stanza.NSClient, "status", "Disconnected: "+condition(st))}
	if p.codes = []int{307, 333}; r.meeting { // clients of meetings show 307 as an act of a moderator
		p.codes = []int{333}
	}
	r.depart(o, st.From, p)
}

// condition is the defined condition of an error stanza, "undefined-condition" if it has none.
func condition(st *stanza.Stanza) string {
	for _, c := range st.Child(stanza.NSClient, "error").Children() {
		if c.Space == stanza.NSStanzas && c.Local != "text" {
			return c.Local
		}
	}
	return "undefined-condition"
}

// unreachable tells whether an error stanza means that its sender is gone, not just that it disliked something. A presence that is an error and says
// nothing else comes from who wants to be out.
func unreachable(st *stanza.Stanza) bool {
	switch condition(st) {
	case "undefined-condition":
		return st.Kind == stanza.Presence
	case "gone", "item-not-found", "recipient-unavailable", "redirect", "remote-server-not-found", "remote-server-timeout",
		"service-unavailable", "internal-server-error", "jid-malformed":
		return true
	}
	return false
}
