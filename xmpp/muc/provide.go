package muc

import (
	"context"
	"slices"

	"konzil/xmpp/stanza"
)

// byGroup is the reason of memberships that come from a group of the organisation: they end with it.
const byGroup = "group"

// Provided is a room that the organisation has for a group.
type Provided struct {
	Room    stanza.JID
	Title   string
	Members []stanza.JID // bare
}

// Provide makes sure that there are these rooms, persistent and for members only, and that their members are these and those whom admins
// have added. A room that was provided before and is not in list stays, without the members it had by its group. Without a store nothing
// is done: such rooms are to last.
func (s *Service) Provide(list []Provided) {
	if s.store == nil {
		return
	}
	wanted := map[stanza.JID]bool{}
	for _, p := range list {
		wanted[p.Room] = true
		if r := s.provided(p.Room); r != nil {
			r.provide(p)
		}
	}
	for _, r := range s.all() {
		r.mu.Lock()
		old := r.set.Provided && !wanted[r.jid] && !r.dead
		title := r.set.Title
		r.mu.Unlock()
		if old {
			r.provide(Provided{Room: r.jid, Title: title})
		}
	}
}

// provided is the room of that name, made if it is not there; nil when there are too many.
func (s *Service) provided(jid stanza.JID) *room {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.rooms[jid]; r != nil || s.closed {
		return r
	}
	if len(s.rooms) >= s.cfg.MaxRooms {
		s.count.overflows.Add(1)
		s.log.Error("room of a group not made: there are too many", "room", jid.String())
		return nil
	}
	r := newRoom(s, jid, false)
	r.set = settings{Public: true, MembersOnly: true, AllowInvites: true}
	s.rooms[jid] = r
	s.count.created.Add(1)
	return r
}

// provide gives the room the members of its group.
func (r *room) provide(p Provided) {
	r.mu.Lock()
	defer r.flush()
	if r.dead || r.meeting {
		return
	}
	old, wasLogged := r.set, r.logged()
	r.set.Persistent, r.set.Provided = true, true
	if r.set.Title == "" || old.Provided {
		r.set.Title = p.Title
	}
	var edits []edit
	for j, e := range r.aff {
		if e.aff == member && e.reason == byGroup && !slices.Contains(p.Members, j) {
			edits = append(edits, edit{bare: j, entry: affEntry{aff: none}})
		}
	}
	for _, j := range p.Members {
		if e, known := r.aff[j]; !known && len(r.aff)+len(edits) < r.svc.cfg.MaxAffiliations {
			edits = append(edits, edit{bare: j, entry: affEntry{aff: member, nick: e.nick, reason: byGroup}})
		}
	}
	changed, shifts := r.applyAffiliations(edits, "")
	if old != r.set {
		rec := r.record(!old.Persistent)
		r.save(func(ctx context.Context, s Store) error { return s.SaveRoom(ctx, rec) })
		r.tellConfig(old, wasLogged)
	}
	if len(changed) > 0 {
		r.save(func(ctx context.Context, s Store) error { return s.SetAffiliations(ctx, r.jid.String(), changed) })
	}
	r.tellAbsent(shifts)
}

// save queues a write that nobody has asked for by a stanza.
func (r *room) save(write func(ctx context.Context, s Store) error) {
	r.stored(stanza.NewMessage("error", r.jid, r.jid), write, func() {}) // to an error there is no answer
}

// Forget takes an account off all lists that lasts: it is no more. Where it was the only owner the admins become owners; a room that has nobody
// else is destroyed. What it has said in rooms stays with those who were there.
func (s *Service) Forget(_ context.Context, bare stanza.JID) error {
	for _, r := range s.all() {
		r.forget(bare)
	}
	return nil
}

func (r *room) forget(bare stanza.JID) {
	r.mu.Lock()
	defer r.flush()
	e, listed := r.aff[bare]
	if r.dead || !listed || r.meeting {
		return
	}
	edits := []edit{{bare: bare, entry: affEntry{aff: none}}}
	if e.aff == owner && len(r.listed(owner)) == 1 {
		if len(r.aff) == 1 && len(r.order) == 0 {
			r.stored(stanza.NewMessage("error", r.jid, r.jid), r.wipe, func() {})
			r.destroy(nil)
			return
		}
		for _, j := range r.listed(admin) {
			edits = append(edits, edit{bare: j, entry: affEntry{aff: owner, nick: r.aff[j].nick}})
		}
	}
	changed, shifts := r.applyAffiliations(edits, "")
	r.save(func(ctx context.Context, s Store) error { return s.SetAffiliations(ctx, r.jid.String(), changed) })
	r.tellAbsent(shifts)
}

// Export lists the rooms that an account has an affiliation with, as muc#admin items; nil for none.
func (s *Service) Export(bare stanza.JID) *stanza.Element {
	var q *stanza.Element
	for _, r := range s.all() {
		r.mu.Lock()
		e, ok := r.aff[bare]
		kept := r.set.Persistent
		r.mu.Unlock()
		if !ok || !kept {
			continue
		}
		if q == nil {
			q = stanza.NewElement(nsAdmin, "query")
		}
		q.Add(stanza.NewElement(nsAdmin, "item", "affiliation", e.aff.String(), "jid", r.jid.String(), "nick", e.nick))
	}
	return q
}
