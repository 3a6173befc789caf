package roster

import (
	"context"

	"konzil/xmpp/stanza"
)

// Import adds contacts of another server's list, and requests that wait there, as XEP-0227 §4.4 and §4.8 have them. Nobody is told: what
// holds between the two holds at the other side too. It gives their number.
func (r *Roster) Import(owner stanza.JID, query *stanza.Element, requests []*stanza.Element) (int, error) {
	items := map[stanza.JID]Item{}
	for _, el := range query.ChildrenNamed(nsRoster, "item") {
		jid, err := stanza.ParseJID(el.Attr("jid"))
		if err != nil || jid.IsZero() || jid == owner {
			continue
		}
		i, bad := parseItem(el, jid)
		if bad != nil {
			continue
		}
		i.Listed, i.Ask, i.Approved = true, el.Attr("ask") == "subscribe", el.Attr("approved") == "true"
		for s := None; s <= Both; s++ {
			if s.String() == el.Attr("subscription") {
				i.Subscription = s
			}
		}
		items[jid] = i
	}
	for _, el := range requests {
		jid, err := stanza.ParseJID(el.Attr("from"))
		if err != nil || jid.Bare() == owner || el.Attr("type") != "subscribe" {
			continue
		}
		i := items[jid.Bare()]
		i.JID, i.PendingIn, i.Request = jid.Bare(), true, stanza.NewPresence("subscribe", jid.Bare(), owner, el.Children()...).AppendXML(nil, stanza.NSClient, true)
		items[jid.Bare()] = i
	}
	var all []Item
	for _, i := range items {
		if len(all) < maxItems {
			all = append(all, i)
		}
	}
	return len(all), r.with(owner, func(ctx context.Context, l *list) error { return l.put(ctx, r.store, all, nil) })
}

// Export is the list of an account and the requests that wait for its answer, as Import takes them.
func (r *Roster) Export(owner stanza.JID) (query *stanza.Element, requests []*stanza.Element, err error) {
	query = stanza.NewElement(nsRoster, "query")
	err = r.with(owner, func(_ context.Context, l *list) error {
		for _, i := range l.sorted(func(Item) bool { return true }) {
			stored, known := l.items[i.JID]
			if known && stored.Listed {
				query.Add(stored.element())
			}
			if stored.PendingIn {
				el, err := stanza.ParseElement(stored.request(owner).AppendXML(nil, "", true))
				if err != nil {
					return err
				}
				requests = append(requests, el)
			}
		}
		return nil
	})
	return query, requests, err
}

// Befriend makes a contact of somebody who has agreed by other means: the contact sees the owner, and with both the owner the contact too;
// else the owner has asked for that. The other side's list is not touched.
func (r *Roster) Befriend(owner, contact stanza.JID, both bool) error {
	var pushed pushing
	if err := r.with(owner, func(ctx context.Context, l *list) error {
		i := l.items[contact]
		i.JID, i.Listed, i.PendingIn, i.Request = contact, true, false, nil
		i.Subscription |= From
		if both {
			i.Subscription = Both
		}
		i.Ask = i.Subscription&To == 0
		if err := l.put(ctx, r.store, []Item{i}, nil); err != nil {
			return err
		}
		pushed = pushing{l.item(contact), l.ver(), false}
		return nil
	}); err != nil {
		return err
	}
	r.push(owner, pushed)
	r.appear(owner, contact)
	return nil
}
