package roster

import (
	"context"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// outbound takes broadcasts and subscriptions of a local session; directed presence and messages pass.
func (r *Roster) outbound(s *xmpp.Session, st *stanza.Stanza) bool {
	if st.Kind != stanza.Presence {
		return false
	}
	switch st.Type {
	case "", "unavailable":
		if !st.To.IsZero() {
			return false
		}
		if !s.Guest() { // nobody can subscribe to a guest
			r.available(s, st)
		}
		return false // other features wait for presence too
	case "subscribe", "subscribed", "unsubscribe", "unsubscribed":
		r.request(s, st)
		return true
	case "probe":
		return true // probes are servers' business (RFC 6121 §4.3.1)
	default:
		return st.To.IsZero() // an error without an address goes nowhere
	}
}

// available is a presence without an address (RFC 6121 §4.2, §4.4, §4.5).
func (r *Roster) available(s *xmpp.Session, st *stanza.Stanza) {
	cs := stateFor(s)
	if st.Type == "unavailable" {
		if cs.available.Swap(false) {
			r.broadcast(s, st)
			s.Send(st.WithFromTo(s.JID(), s.JID())) // to itself too (§4.5.2)
		}
		return
	}
	first := !cs.available.Swap(true)
	r.broadcast(s, st)
	if first {
		r.probe(s)
	}
}

// broadcast sends a presence to all who are subscribed to the sender, and to the sender's own clients.
func (r *Roster) broadcast(s *xmpp.Session, st *stanza.Stanza) {
	r.count.broadcasts.Add(1)
	owner := s.JID().Bare()
	var to []Item
	_ = r.with(owner, func(_ context.Context, l *list) error {
		to = l.sorted(func(i Item) bool { return i.Subscription&From != 0 })
		return nil
	}) // without the list only the own clients are told
	s.Fanout(len(to))
	for _, i := range to {
		r.srv.Route(st.WithFromTo(s.JID(), i.JID))
	}
	for _, own := range r.srv.Sessions(owner) {
		if own.Presence() != nil && (own != s || st.Type == "") {
			own.Send(st.WithFromTo(s.JID(), own.JID()))
		}
	}
}

// probe tells a client that has just become available about the others: contacts, its own other clients, and who has asked meanwhile
// (§4.2.2, §4.3.1, §3.1.3).
func (r *Roster) probe(s *xmpp.Session) {
	owner := s.JID().Bare()
	var see, waiting []Item
	if err := r.with(owner, func(_ context.Context, l *list) error {
		see = l.sorted(func(i Item) bool { return i.Subscription&To != 0 })
		waiting = l.sorted(func(i Item) bool { return i.PendingIn })
		return nil
	}); err != nil {
		return
	}
	for _, own := range r.srv.Sessions(owner) {
		if p := own.Presence(); p != nil && own != s {
			s.Send(p.WithFromTo(own.JID(), s.JID()))
		}
	}
	for _, i := range see {
		r.srv.Route(stanza.NewPresence("probe", s.JID(), i.JID))
	}
	for _, i := range waiting {
		s.Send(i.request(owner))
	}
}

// request is the stanza by which the contact asked.
func (i Item) request(owner stanza.JID) *stanza.Stanza {
	if st, err := stanza.Parse(i.Request); err == nil && st.Kind == stanza.Presence && st.Type == "subscribe" {
		return st.WithFromTo(i.JID.Bare(), owner)
	}
	return stanza.NewPresence("subscribe", i.JID.Bare(), owner)
}

// request takes a presence of a subscription type that a local client sends (§3).
func (r *Roster) request(s *xmpp.Session, st *stanza.Stanza) {
	owner, contact := s.JID().Bare(), st.To.Bare()
	switch {
	case contact.IsZero() || contact == owner:
		return // to oneself: there is nothing to subscribe to
	case s.Guest():
		s.Send(st.WithFrom(s.JID()).ErrorReply(stanza.ErrNotAllowed.With("Guests have no contact list")))
		return
	}
	r.count.subscriptions.Add(1)
	var e effect
	var pushed pushing
	full := false
	err := r.with(owner, func(ctx context.Context, l *list) error {
		i, known := l.items[contact]
		if !known && len(l.items) >= maxItems {
			full = true
			return nil
		}
		i.JID = contact
		if shared := l.item(contact); shared.shared {
			if st.Type == "subscribe" { // it is so already; the contact's side says so
				e = outgoing(st.Type, &shared)
			}
			return nil
		}
		e = outgoing(st.Type, &i)
		if !e.changed {
			return nil
		}
		if err := l.put(ctx, r.store, []Item{i}, nil); err != nil {
			return err
		}
		pushed = pushing{i, l.ver(), false}
		return nil
	})
	switch {
	case full:
		s.Send(st.WithFrom(s.JID()).ErrorReply(stanza.ErrResourceConstraint.With("The contact list is full")))
		return
	case err != nil:
		s.Send(st.WithFrom(s.JID()).ErrorReply(stanza.ErrInternal))
		return
	}
	if e.push {
		r.push(owner, pushed)
	}
	if e.vanish {
		r.vanish(owner, contact)
	}
	if e.route {
		r.srv.Route(st.WithFromTo(owner, contact))
	}
	if e.appear {
		r.appear(owner, contact)
	}
}

// inbound takes probes and subscriptions for a local account, from wherever; other presences and messages pass.
func (r *Roster) inbound(st *stanza.Stanza) bool {
	if st.Kind != stanza.Presence {
		return false
	}
	switch st.Type {
	case "probe":
		r.probed(st)
		return true
	case "subscribe", "subscribed", "unsubscribe", "unsubscribed":
		r.subscription(st)
		return true
	default:
		return false
	}
}

// probed answers a probe with the presence of every client of the owner, or with unsubscribed for who has no right to it (§4.3.2).
func (r *Roster) probed(st *stanza.Stanza) {
	r.count.probes.Add(1)
	owner := st.To.Bare()
	if st.To.Domain() == r.srv.GuestDomain() {
		return
	}
	if !r.Subscribed(owner, st.From) {
		r.srv.Route(stanza.NewPresence("unsubscribed", owner, st.From.Bare()))
		return
	}
	there := false
	for _, s := range r.srv.Sessions(owner) {
		if p := s.Presence(); p != nil && (st.To.IsBare() || st.To == s.JID()) {
			there = true
			r.srv.Route(p.WithFromTo(s.JID(), st.From))
		}
	}
	if !there {
		r.srv.Route(stanza.NewPresence("unavailable", st.To, st.From))
	}
}

// subscription is the contact's side of §3.
func (r *Roster) subscription(st *stanza.Stanza) {
	owner, contact := st.To.Bare(), st.From.Bare()
	if owner == contact || !r.exists(owner) {
		return // §3.1.3: nobody learns who has an account
	}
	var e effect
	var pushed pushing
	if err := r.with(owner, func(ctx context.Context, l *list) error {
		i, known := l.items[contact]
		if !known && st.Type == "subscribe" && (len(l.items) >= maxItems || len(l.sorted(func(i Item) bool { return i.PendingIn })) >= maxPending) {
			r.count.dropped.Add(1)
			return nil
		}
		i.JID = contact
		if shared := l.item(contact); shared.shared {
			if st.Type == "subscribe" {
				e = incoming(st.Type, &shared, st)
			}
			return nil
		}
		keep := st
		if st.Size() > maxRequest {
			keep = stanza.NewPresence("subscribe", contact, owner)
		}
		e = incoming(st.Type, &i, keep.WithFromTo(contact, owner))
		if !e.changed {
			return nil
		}
		if err := l.put(ctx, r.store, []Item{i}, nil); err != nil {
			return err
		}
		pushed = pushing{i, l.ver(), false}
		return nil
	}); err != nil {
		return // logged; the contact may ask again
	}
	r.follow(st, owner, contact, e, pushed)
}

func (r *Roster) follow(st *stanza.Stanza, owner, contact stanza.JID, e effect, pushed pushing) {
	if e.deliver {
		for _, s := range r.srv.Sessions(owner) {
			if cs := state(s); cs != nil && (s.Presence() != nil || cs.interested.Load() && st.Type != "subscribe") {
				s.Send(st.WithFromTo(contact, owner))
			}
		}
	}
	if e.push {
		r.push(owner, pushed)
	}
	if e.grant || e.tellSelf {
		r.srv.Route(stanza.NewPresence("subscribed", owner, contact))
	}
	if e.appear || e.tellSelf {
		r.appear(owner, contact)
	}
	if e.vanish {
		r.vanish(owner, contact)
	}
}

func (r *Roster) exists(owner stanza.JID) bool {
	if owner.Domain() != r.srv.Domain() || owner.Local() == "" {
		return false
	}
	ctx, cancel := xmpp.StoreContext()
	defer cancel()
	ok, err := r.srv.Accounts().Exists(ctx, owner.Local())
	if err != nil {
		r.log.Error("account not looked up", "account", owner.String(), "err", err)
	}
	return ok && err == nil
}

// appear sends the presence of all clients of owner to a contact that may see it from now on (§3.1.5).
func (r *Roster) appear(owner, contact stanza.JID) {
	for _, s := range r.srv.Sessions(owner) {
		if p := s.Presence(); p != nil {
			r.srv.Route(p.WithFromTo(s.JID(), contact))
		}
	}
	for _, f := range r.granted {
		f(owner, contact)
	}
}

// vanish sends unavailable of all clients of owner to a contact that may not see it any more (§3.2.1).
func (r *Roster) vanish(owner, contact stanza.JID) {
	for _, s := range r.srv.Sessions(owner) {
		if s.Presence() != nil {
			r.srv.Route(stanza.NewPresence("unavailable", s.JID(), contact))
		}
	}
}

// covers tells that the broadcast of an unavailable presence reaches a contact who once got directed presence.
func (r *Roster) covers(s *xmpp.Session, to stanza.JID) bool {
	cs := state(s)
	return !s.Guest() && cs != nil && cs.available.Load() && to.IsBare() && r.Subscribed(s.JID().Bare(), to)
}
