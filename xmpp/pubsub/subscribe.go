package pubsub

import (
	"reflect"
	"time"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// subscribe is XEP-0060 §6.1.
func (r *request) subscribe() (*stanza.Element, *stanza.Error) {
	n, bad := r.find()
	if bad != nil {
		return nil, bad
	}
	options := r.op.Child(nsPubSub, "options")
	u, bad := r.e.subscribe(n, r.who(), r.el.Attr("jid"), options)
	n.mu.Unlock()
	if bad != nil {
		return nil, bad
	}
	r.told += r.e.tell(n)
	out := user("subscription", n.name).with(u).wrap()
	if options != nil { // §6.3.7
		out.Add(user("options", n.name).subscriber(u).Add(u.form()).Element)
	}
	return out, nil
}

func (p part) with(u subscription) part {
	p.SetAttr("jid", u.JID.String()).SetAttr("subscription", u.State)
	if u.ID != "" {
		p.SetAttr("subid", u.ID)
	}
	if !u.Expire.IsZero() {
		p.SetAttr("expiry", u.Expire.UTC().Format(time.RFC3339))
	}
	return p
}

// subscribe adds a subscription of who's, or gives the one that is there, with options where there are any. The node is locked.
func (e *Engine) subscribe(n *node, who stanza.JID, address string, options *stanza.Element) (subscription, *stanza.Error) {
	j, err := stanza.ParseJID(address)
	if err != nil || j.Bare() != who.Bare() {
		return subscription{}, fault(stanza.ErrBadRequest, "invalid-jid")
	}
	if n.cfg.NoSubscribe { // §6.1.3.10
		return subscription{}, unsupported("subscribe")
	}
	e.expire(n)
	u, there := n.subs[j]
	if there && u.State == pending {
		return subscription{}, fault(stanza.ErrNotAuthorized, "pending-subscription")
	}
	if u.JID = j; options != nil {
		if bad := u.configure(options); bad != nil {
			return subscription{}, bad
		}
	}
	if there {
		return u, e.setSubscription(n, u, false)
	}
	u.State = subscribed
	if bad := e.mayRead(n, who); bad != nil {
		if n.cfg.Access != accessAuthorize || n.affiliation(who) == affOutcast {
			return subscription{}, bad
		}
		u.State = pending
	}
	if bad := e.setSubscription(n, u, false); bad != nil {
		return subscription{}, bad
	}
	if u.State == pending {
		e.askOwners(n, j)
	} else if n.cfg.SendLast != lastNever {
		e.queueLast(n, j)
	}
	return n.subs[j], nil
}

// setSubscription stores u, whose state may be none; tell: the subscriber learns of it. The node is locked.
func (e *Engine) setSubscription(n *node, u subscription, tell bool) *stanza.Error {
	j, state := u.JID, u.State
	old, there := n.subs[j]
	u.ID = old.ID
	if reflect.DeepEqual(old, u) || !there && state == "" {
		return nil
	}
	if !there && len(n.subs) >= maxSubs {
		return fault(&stanza.Error{Type: "wait", Condition: "policy-violation", Text: "The node has too many subscribers"}, "too-many-subscriptions")
	}
	if u.ID == "" {
		u.ID = newID()
	}
	ctx, cancel := xmpp.StoreContext()
	defer cancel()
	if err := e.store.setSubscription(ctx, n.id, u); err != nil {
		return e.failed("subscription not stored", n.of.jid, err)
	}
	if n.cfg.NotifySub && old.State != state {
		e.tellOwners(n, u)
	}
	shown := u
	if state == "" {
		delete(n.subs, j)
		shown.State = "none"
	} else {
		n.subs[j] = u
	}
	if tell {
		el := part{stanza.NewElement(nsEvent, "subscription", "node", n.name)}.with(shown)
		n.queue = append(n.queue, event{el: el.Element, to: []stanza.JID{j}})
		if state == subscribed && n.cfg.SendLast != lastNever {
			e.queueLast(n, j)
		}
	}
	return nil
}

// unsubscribe is XEP-0060 §6.2.
func (r *request) unsubscribe() (*stanza.Element, *stanza.Error) {
	n, u, bad := r.subscriptionOf()
	if bad != nil {
		return nil, bad
	}
	bad = r.e.setSubscription(n, subscription{JID: u.JID}, false)
	n.mu.Unlock()
	if bad == nil {
		r.told += r.e.tell(n)
	}
	return nil, bad
}

// ownersOf are who is told what subscribers do. The node is locked.
func (n *node) ownersOf() []stanza.JID {
	to := []stanza.JID{}
	if n.of.account {
		to = append(to, n.of.jid)
	}
	for o, a := range n.affs {
		if a == affOwner {
			to = append(to, o)
		}
	}
	return to
}

// tellOwners tells of a subscription that came or went (pubsub#notify_sub, §8.8.4). The node is locked.
func (e *Engine) tellOwners(n *node, u subscription) {
	if u.State == "" {
		u.State = "none"
	}
	n.queue = append(n.queue, event{el: part{stanza.NewElement(nsEvent, "subscription", "node", n.name)}.with(u).Element, to: n.ownersOf()})
}

// askOwners shows the owners who wants to subscribe (XEP-0060 §8.6). The node is locked.
func (e *Engine) askOwners(n *node, j stanza.JID) {
	n.queue = append(n.queue, event{to: n.ownersOf(), plain: newForm("form", formAuthorize,
		field("pubsub#subid", "hidden", n.subs[j].ID),
		field("pubsub#node", "text-single", n.name),
		field("pubsub#subscriber_jid", "jid-single", j.String()),
		field("pubsub#allow", "boolean", "false"))})
}

// authorized takes an owner's answer to that form; true: it was one.
func (e *Engine) authorized(owner stanza.JID, st *stanza.Stanza) bool {
	x := st.Child(nsData, "x")
	f, bad := readForm(x, formAuthorize)
	if bad != nil || x.Attr("type") != "submit" || len(f["FORM_TYPE"]) == 0 {
		return false
	}
	value := func(name string) string {
		if v := f["pubsub#"+name]; len(v) > 0 {
			return v[0]
		}
		return ""
	}
	j, err := stanza.ParseJID(value("subscriber_jid"))
	if err != nil {
		return true
	}
	o, done, err := e.use(owner)
	if err != nil {
		e.failed("nodes not read", owner, err)
		return true
	}
	defer done()
	n := o.lock(value("node"))
	if n == nil {
		return true
	}
	if n.affiliation(st.From) == affOwner && n.subs[j].State == pending {
		u := n.subs[j]
		u.State = ""
		if yes, _ := truth(value("allow")); yes {
			u.State = subscribed
		}
		if bad := e.setSubscription(n, u, true); bad != nil {
			e.count.refused.Add(1)
		}
	}
	n.mu.Unlock()
	e.tell(n)
	return true
}
