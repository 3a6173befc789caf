package muc

import (
	"context"
	"slices"
	"strings"

	"konzil/xmpp/stanza"
)

// adminIQ is a look at the lists, or a change of roles and affiliations (XEP-0045 §8, §9, §10). The room is locked, as for all of this file.
func (r *room) adminIQ(st *stanza.Stanza) {
	items := st.Child(nsAdmin, "query").ChildrenNamed(nsAdmin, "item")
	switch {
	case len(items) == 0 || len(items) > maxAdminItems:
		r.fail(st, stanza.ErrBadRequest)
	case st.Type == "get":
		r.list(st, items[0])
	default:
		r.change(st, items)
	}
}

// list answers with the people of one role or one affiliation.
func (r *room) list(st *stanza.Stanza, it *stanza.Element) {
	q := stanza.NewElement(nsAdmin, "query")
	if ro, ok := parseRole(it.Attr("role")); ok {
		if !r.mayListRoles(st.From) {
			r.fail(st, stanza.ErrForbidden)
			return
		}
		for _, o := range r.order {
			if o.role == ro {
				q.Add(stanza.NewElement(nsAdmin, "item", "affiliation", r.affiliation(o.bare()).String(), "role", ro.String(),
					"nick", o.nick, "jid", o.real().String()))
			}
		}
		r.answer(st.Result(q))
		return
	}
	aff, ok := parseAffiliation(it.Attr("affiliation"))
	switch {
	case !ok:
		r.fail(st, stanza.ErrBadRequest)
		return
	case !r.mayListAffiliations(st.From.Bare(), aff):
		r.fail(st, stanza.ErrForbidden)
		return
	}
	for _, j := range r.listed(aff) {
		e := r.aff[j]
		el := stanza.NewElement(nsAdmin, "item", "affiliation", aff.String(), "jid", j.String(), "nick", e.nick)
		if e.reason != "" {
			el.Add(stanza.TextElement(nsAdmin, "reason", e.reason))
		}
		q.Add(el)
	}
	r.answer(st.Result(q))
}

func (r *room) listed(aff affiliation) []stanza.JID {
	var out []stanza.JID
	for j, e := range r.aff {
		if e.aff == aff {
			out = append(out, j)
		}
	}
	slices.SortFunc(out, func(a, b stanza.JID) int { return strings.Compare(a.String(), b.String()) })
	return out
}

func (r *room) mayListRoles(from stanza.JID) bool {
	o := r.sessions[from]
	return o != nil && o.role == moderator || r.affiliation(from.Bare()) >= admin
}

// mayListAffiliations: admins see all lists. Where everybody sees everybody's address anyway and only members get in, members see who the
// others are (§9.5). Nobody else sees anything, also in open rooms.
func (r *room) mayListAffiliations(bare stanza.JID, aff affiliation) bool {
	mine := r.affiliation(bare)
	return mine >= admin || mine >= member && r.set.MembersOnly && !r.set.Anonymous && aff >= member
}

// edit is one checked item of an admin set.
type edit struct {
	target *occupant // of a role change
	role   role
	bare   stanza.JID // of an affiliation change
	entry  affEntry
	reason string
}

// change applies all items or none.
func (r *room) change(st *stanza.Stanza, items []*stanza.Element) {
	var edits []edit
	for _, it := range items {
		e, err := r.check(st.From, it)
		if err != nil {
			r.fail(st, err)
			return
		}
		edits = append(edits, e)
	}
	if err := r.checkOwners(edits); err != nil {
		r.fail(st, err)
		return
	}
	actor := ""
	if o := r.sessions[st.From]; o != nil {
		actor = o.nick
	}
	changed, shifts := r.applyAffiliations(edits, actor)
	for _, e := range edits {
		if e.target == nil || r.nicks[e.target.nick] != e.target {
			continue
		}
		if e.role == roleNone {
			changed = append(changed, r.kick(e.target, actor, e.reason)...)
			continue
		}
		r.setRole(e.target, e.role, actor, e.reason)
	}
	result := st.Result()
	if len(changed) == 0 {
		r.answer(result)
	} else {
		r.stored(st, func(ctx context.Context, s Store) error { return s.SetAffiliations(ctx, r.jid.String(), changed) },
			func() { r.svc.reply(result) })
	}
	r.tellAbsent(shifts)
	r.dieIfEmpty()
}

func (r *room) check(from stanza.JID, it *stanza.Element) (edit, *stanza.Error) {
	reason := it.Child(nsAdmin, "reason").Text()
	if len(reason) > r.svc.cfg.MaxSubject {
		return edit{}, stanza.ErrNotAcceptable.With("The reason is too long")
	}
	if it.Attr("affiliation") != "" && it.Attr("role") != "" { // §17.4
		return edit{}, stanza.ErrBadRequest.With("Either a role or an affiliation can be changed")
	}
	if it.Attr("affiliation") != "" {
		return r.checkAffiliation(from, it, reason)
	}
	ro, ok := parseRole(it.Attr("role"))
	if !ok || it.Attr("nick") == "" {
		return edit{}, stanza.ErrBadRequest
	}
	nick := it.Attr("nick")
	if addr, err := r.jid.WithResource(nick); err == nil {
		nick = addr.Resource()
	}
	o := r.nicks[nick]
	if o == nil {
		return edit{}, stanza.ErrItemNotFound.With("There is nobody of that name in the room")
	}
	if err := r.mayRole(from, o, ro); err != nil {
		return edit{}, err
	}
	return edit{target: o, role: ro, reason: reason}, nil
}

// mayRole holds the rules of §8.2 to §8.4, §9.6 and §9.7.
func (r *room) mayRole(from stanza.JID, target *occupant, ro role) *stanza.Error {
	actor := r.sessions[from]
	mine, theirs := r.affiliation(from.Bare()), r.affiliation(target.bare())
	switch {
	case (actor == nil || actor.role < moderator) && mine < admin:
		return stanza.ErrForbidden.With("Only moderators may do that")
	case r.svc.admins[target.bare()] && !r.svc.admins[from.Bare()] && ro < target.role:
		return stanza.ErrNotAllowed.With("That is a part of the service")
	case ro == roleNone && theirs > mine:
		return stanza.ErrNotAllowed.With("You may not remove somebody above you")
	case ro == roleNone:
		return nil
	case ro < moderator && theirs >= admin:
		return stanza.ErrNotAllowed.With("Admins and owners are always moderators")
	case (ro == moderator) != (target.role == moderator) && mine < admin:
		return stanza.ErrForbidden.With("Only admins may make moderators")
	}
	return nil
}

func (r *room) checkAffiliation(from stanza.JID, it *stanza.Element, reason string) (edit, *stanza.Error) {
	aff, ok := parseAffiliation(it.Attr("affiliation"))
	if !ok {
		return edit{}, stanza.ErrBadRequest
	}
	bare, err := stanza.ParseJID(it.Attr("jid"))
	if it.Attr("jid") == "" && it.Attr("nick") == "" {
		return edit{}, stanza.ErrBadRequest
	}
	if it.Attr("jid") == "" {
		o := r.nicks[it.Attr("nick")]
		if o == nil {
			return edit{}, stanza.ErrItemNotFound.With("There is nobody of that name in the room")
		}
		bare, err = o.bare(), nil
	}
	if err != nil || bare.IsZero() {
		return edit{}, stanza.ErrJIDMalformed
	}
	bare = bare.Bare()
	mine, theirs := r.affiliation(from.Bare()), r.affiliation(bare)
	_, known := r.aff[bare]
	switch {
	case mine < admin:
		return edit{}, stanza.ErrForbidden.With("Only admins and owners may do that")
	case bare == from.Bare() && aff == outcast: // §9.1
		return edit{}, stanza.ErrConflict.With("You cannot ban yourself")
	case r.svc.admins[bare] && aff != owner:
		return edit{}, stanza.ErrNotAllowed.With("That is a part of the service")
	case mine < owner && aff >= admin: // §10.3, §10.5
		return edit{}, stanza.ErrForbidden.With("Only owners may do that")
	case mine < owner && theirs >= admin:
		return edit{}, stanza.ErrNotAllowed.With("Only owners may do that")
	case !known && aff != none && len(r.aff) >= r.svc.cfg.MaxAffiliations:
		return edit{}, stanza.ErrResourceConstraint.With("The lists of this room are full")
	case len(it.Attr("nick")) > r.svc.cfg.MaxNick:
		return edit{}, stanza.ErrNotAcceptable.With("The nickname is too long")
	}
	nick := r.aff[bare].nick // registered ones stay
	if it.Attr("jid") != "" && it.Attr("nick") != "" && aff > none {
		addr, jerr := r.jid.WithResource(it.Attr("nick"))
		if jerr != nil {
			return edit{}, stanza.ErrNotAcceptable.With("That is no nickname")
		}
		if nick = addr.Resource(); !r.meeting && r.reservedBy(nick, bare) {
			return edit{}, stanza.ErrConflict.With("The nickname is taken")
		}
	}
	return edit{bare: bare, entry: affEntry{aff: aff, nick: nick, reason: reason}, reason: reason}, nil
}

// checkOwners keeps the last owner (§10.5). A meeting room always has the focus.
func (r *room) checkOwners(edits []edit) *stanza.Error {
	if r.meeting {
		return nil
	}
	owners := map[stanza.JID]bool{}
	for _, j := range r.listed(owner) {
		owners[j] = true
	}
	before := len(owners)
	for _, e := range edits {
		switch {
		case e.bare.IsZero():
		case e.entry.aff == owner:
			owners[e.bare] = true
		default:
			delete(owners, e.bare)
		}
	}
	if before > 0 && len(owners) == 0 {
		return stanza.ErrConflict.With("A room needs an owner")
	}
	return nil
}

// applyAffiliations changes the lists, then the occupants whom that concerns.
func (r *room) applyAffiliations(edits []edit, actor string) ([]AffiliationRecord, []shift) {
	before := make([]affiliation, len(r.order))
	for i, o := range r.order {
		before[i] = r.affiliation(o.bare())
	}
	var changed []AffiliationRecord
	reasons := map[stanza.JID]string{}
	var shifts []shift
	for _, e := range edits {
		if e.bare.IsZero() {
			continue
		}
		shifts = append(shifts, shift{e.bare, r.affiliation(e.bare), e.entry.aff})
		r.setAffiliation(e.bare, e.entry)
		reasons[e.bare] = e.reason
		changed = append(changed, AffiliationRecord{e.bare.String(), e.entry.aff.String(), e.entry.nick, e.entry.reason})
	}
	if len(changed) == 0 {
		return nil, nil
	}
	for i, o := range slices.Clone(r.order) {
		if now := r.affiliation(o.bare()); now != before[i] {
			r.affected(o, before[i], now, actor, reasons[o.bare()])
		}
	}
	return changed, shifts
}

// shift is a change of an affiliation.
type shift struct {
	bare     stanza.JID
	from, to affiliation
}

// tellAbsent tells of changes for people who are not inside (§9.3, §10.3 and others): their admins all, and members of a room whose members
// may see each other what concerns members.
func (r *room) tellAbsent(shifts []shift) {
	if r.meeting {
		return
	}
	inside := map[stanza.JID]bool{}
	var admins, members []stanza.JID
	for _, o := range r.order {
		inside[o.bare()] = true
		switch aff := r.affiliation(o.bare()); {
		case aff >= admin:
			admins = append(admins, o.jids()...)
		case aff == member && r.set.MembersOnly && !r.set.Anonymous:
			members = append(members, o.jids()...)
		}
	}
	all, some := stanza.NewElement(nsUser, "x"), stanza.NewElement(nsUser, "x")
	for _, s := range shifts {
		if inside[s.bare] || s.from == s.to {
			continue
		}
		it := item(s.to, roleNone, s.bare)
		all.Add(it)
		if s.from != outcast && s.to != outcast {
			some.Add(it)
		}
	}
	if len(all.Nodes) > 0 {
		r.send(stanza.NewMessage("", r.jid, stanza.JID{}, all), admins...)
	}
	if len(some.Nodes) > 0 {
		r.send(stanza.NewMessage("", r.jid, stanza.JID{}, some), members...)
	}
}

// affected lets an occupant feel its new affiliation.
func (r *room) affected(o *occupant, before, now affiliation, actor, reason string) {
	switch {
	case now == outcast:
		r.remove(o, 301, actor, reason) // §9.1
		return
	case now == none && r.set.MembersOnly:
		r.remove(o, 321, actor, reason) // §9.4
		return
	}
	if ro := r.defaultRole(now); now < before || ro > o.role {
		o.role = ro
		r.noteOccupant(o)
	}
	p := r.presenceOf(o)
	p.actor, p.reason = actor, reason
	r.announce(o, o.jids(), p)
	r.changed(o)
}

func (r *room) setRole(o *occupant, ro role, actor, reason string) {
	o.role = ro
	r.noteOccupant(o)
	p := r.presenceOf(o)
	p.actor, p.reason = actor, reason
	r.announce(o, o.jids(), p)
	r.changed(o)
}

// kick removes an occupant (§8.2). In a meeting its affiliation goes too, so that a lobby holds it when it comes back.
func (r *room) kick(o *occupant, actor, reason string) []AffiliationRecord {
	var changed []AffiliationRecord
	if _, listed := r.aff[o.bare()]; r.meeting && listed {
		r.setAffiliation(o.bare(), affEntry{})
		changed = []AffiliationRecord{{JID: o.bare().String(), Affiliation: none.String()}}
	}
	var by stanza.JID
	if a := r.nicks[actor]; a != nil {
		by = a.real()
	}
	real, name := o.real(), displayName(o.primary().presence)
	r.remove(o, 307, actor, reason)
	r.kicked(o, real, by, name)
	return changed
}
