package roster

import (
	"context"

	"konzil/internal/random"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// iq is get and set of one's own list (RFC 6121 §2.3 to §2.5).
func (r *Roster) iq(s *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
	bare := iq.From.Bare()
	if s == nil || !iq.To.IsZero() && iq.To.Bare() != bare {
		return iq.ErrorReply(stanza.ErrForbidden) // nobody else's list, and no list over the net (§2.1.5)
	}
	q := iq.Child(nsRoster, "query")
	switch {
	case s.Guest() && iq.Type == "get":
		return iq.Result(stanza.NewElement(nsRoster, "query"))
	case s.Guest():
		return iq.ErrorReply(stanza.ErrNotAllowed.With("Guests have no contact list"))
	case iq.Type == "get":
		return r.get(s, iq, q)
	default:
		return r.set(iq, q)
	}
}

func (r *Roster) get(s *xmpp.Session, iq *stanza.Stanza, q *stanza.Element) *stanza.Stanza {
	r.count.gets.Add(1)
	s.SetNote(interestedNote, "yes")
	stateFor(s).interested.Store(true) // before the list is read: a change in between is pushed, not lost
	var items []Item
	ver := ""
	if err := r.with(iq.From.Bare(), func(_ context.Context, l *list) error {
		ver = l.ver()
		items = l.sorted(func(i Item) bool { return i.Listed })
		return nil
	}); err != nil {
		return iq.ErrorReply(stanza.ErrInternal)
	}
	versioned := false
	for _, a := range q.Attrs {
		versioned = versioned || a.Space == "" && a.Local == "ver" // ver='' asks for versions too (§2.6.2; XEP-0237 of old)
	}
	if versioned && q.Attr("ver") == ver {
		return iq.Result()
	}
	out := stanza.NewElement(nsRoster, "query")
	if versioned {
		out.SetAttr("ver", ver)
	}
	for _, i := range items {
		out.Add(i.element())
	}
	return iq.Result(out)
}

func (i Item) element() *stanza.Element {
	el := stanza.NewElement(nsRoster, "item", "jid", i.JID.String(), "name", i.Name, "subscription", i.Subscription.String())
	if i.Ask {
		el.SetAttr("ask", "subscribe")
	}
	if i.Approved {
		el.SetAttr("approved", "true")
	}
	for _, g := range i.Groups {
		el.Add(stanza.TextElement(nsRoster, "group", g))
	}
	return el
}

func (r *Roster) set(iq *stanza.Stanza, q *stanza.Element) *stanza.Stanza {
	r.count.sets.Add(1)
	items := q.Children()
	if len(items) != 1 || items[0].Local != "item" { // §2.3.3
		return iq.ErrorReply(stanza.ErrBadRequest)
	}
	jid, err := stanza.ParseJID(items[0].Attr("jid"))
	if err != nil || jid.IsZero() {
		return iq.ErrorReply(stanza.ErrJIDMalformed)
	}
	if items[0].Attr("subscription") == "remove" {
		return r.remove(iq, jid)
	}
	want, serr := parseItem(items[0], jid)
	if serr != nil {
		return iq.ErrorReply(serr)
	}
	owner := iq.From.Bare()
	if jid == owner {
		return iq.ErrorReply(stanza.ErrNotAllowed.With("Everybody knows himself"))
	}
	var pushed pushing
	var refused *stanza.Error
	if err := r.with(owner, func(ctx context.Context, l *list) error {
		i, known := l.items[jid]
		if (!known || !i.Listed) && len(l.items) >= maxItems {
			refused = stanza.ErrResourceConstraint.With("The contact list is full")
			return nil
		}
		i.JID, i.Name, i.Groups, i.Listed = jid, want.Name, want.Groups, true
		if err := l.put(ctx, r.store, []Item{i}, nil); err != nil {
			return err
		}
		pushed = pushing{l.item(jid), l.ver(), false}
		return nil
	}); err != nil {
		return iq.ErrorReply(stanza.ErrInternal)
	}
	if refused != nil {
		return iq.ErrorReply(refused)
	}
	r.push(owner, pushed)
	return iq.Result()
}

// parseItem reads what a client may set: name and groups (§2.1.2).
func parseItem(el *stanza.Element, jid stanza.JID) (Item, *stanza.Error) {
	i := Item{JID: jid, Name: el.Attr("name")}
	if len(i.Name) > maxName {
		return i, stanza.ErrNotAcceptable.With("The name is too long")
	}
	seen := map[string]bool{}
	for _, g := range el.ChildrenNamed(nsRoster, "group") {
		name := g.Text()
		switch {
		case seen[name]:
			return i, stanza.ErrBadRequest.With("A group is there twice") // §2.3.3
		case name == "" || len(name) > maxGroup || len(i.Groups) >= maxGroups:
			return i, stanza.ErrNotAcceptable.With("A group without a name, too long a name, or too many groups")
		}
		seen[name] = true
		i.Groups = append(i.Groups, name)
	}
	return i, nil
}

// remove takes a contact off the list and ends subscriptions both ways (§2.5).
func (r *Roster) remove(iq *stanza.Stanza, jid stanza.JID) *stanza.Stanza {
	owner := iq.From.Bare()
	var old, left Item
	var version string
	if err := r.with(owner, func(ctx context.Context, l *list) error {
		old, left = l.items[jid], l.item(jid)
		if !old.Listed {
			return nil
		}
		if err := l.put(ctx, r.store, nil, []stanza.JID{jid}); err != nil {
			return err
		}
		left = l.item(jid)
		version = l.ver()
		return nil
	}); err != nil {
		return iq.ErrorReply(stanza.ErrInternal)
	}
	if left.shared {
		if old.Listed { // what the owner had written about the contact is gone, the contact is not
			r.push(owner, pushing{left, version, false})
			return iq.Result()
		}
		return iq.ErrorReply(stanza.ErrNotAllowed.With("This contact belongs to a group of your organisation"))
	}
	if !old.Listed {
		return iq.ErrorReply(stanza.ErrItemNotFound)
	}
	if old.Subscription&To != 0 || old.Ask {
		r.srv.Route(stanza.NewPresence("unsubscribe", owner, jid.Bare()))
	}
	if old.Subscription&From != 0 {
		r.vanish(owner, jid.Bare())
	}
	if old.Subscription&From != 0 || old.PendingIn {
		r.srv.Route(stanza.NewPresence("unsubscribed", owner, jid.Bare()))
	}
	r.push(owner, pushing{Item{JID: jid}, version, true})
	return iq.Result()
}

// Forget removes the list of an account that is no more, and ends its subscriptions both ways, so that nobody else who gets the address later
// is a contact of these people.
func (r *Roster) Forget(_ context.Context, owner stanza.JID) error {
	var contacts []Item
	if err := r.with(owner, func(ctx context.Context, l *list) error {
		for _, i := range l.items {
			contacts = append(contacts, i)
		}
		if err := r.store.Forget(ctx, owner); err != nil {
			return err
		}
		l.items, l.version = map[stanza.JID]Item{}, 0
		return nil
	}); err != nil {
		return err
	}
	for _, i := range contacts {
		if i.Subscription&To != 0 || i.Ask {
			r.srv.Route(stanza.NewPresence("unsubscribe", owner, i.JID.Bare()))
		}
		if i.Subscription&From != 0 || i.PendingIn {
			r.srv.Route(stanza.NewPresence("unsubscribed", owner, i.JID.Bare()))
		}
	}
	return nil
}

// pushing is a change to be shown.
type pushing struct {
	item    Item
	version string
	removed bool
}

// push shows a change to all clients of the owner that have asked for the list (§2.1.6).
func (r *Roster) push(owner stanza.JID, p pushing) {
	var item *stanza.Element
	if p.removed {
		item = stanza.NewElement(nsRoster, "item", "jid", p.item.JID.String(), "subscription", "remove")
	} else {
		item = p.item.element()
	}
	q := stanza.NewElement(nsRoster, "query", "ver", p.version).Add(item)
	st := stanza.NewIQ("set", pushID(), owner, stanza.JID{}, q)
	for _, s := range r.srv.Sessions(owner) {
		if cs := state(s); cs != nil && cs.interested.Load() {
			r.count.pushes.Add(1)
			s.Send(st.WithTo(s.JID()))
		}
	}
	for _, f := range r.pushed {
		f(owner, stanza.NewElement(nsRoster, "query").Add(item))
	}
}

func pushID() string { return "push" + random.Hex(8) }

// forgedPush stops an iq that looks like a push and comes from a client: some clients have believed such (CVE-2015-8688). Ours are not routed.
func (r *Roster) forgedPush(iq *stanza.Stanza) bool {
	if iq.To.IsBare() || iq.Type != "set" || iq.First().Space != nsRoster {
		return false
	}
	r.count.forged.Add(1)
	r.srv.Route(iq.ErrorReply(stanza.ErrServiceUnavailable))
	return true
}
