package pubsub

import (
	"konzil/xmpp/stanza"
)

// subscribe is XEP-0060 §6.1.
func (r *request) subscribe() (*stanza.Element, *stanza.Error) {
	n, bad := r.find()
	if bad != nil {
		return nil, bad
	}
	u, bad := r.e.subscribe(n, r.who(), r.el.Attr("jid"))
	n.mu.Unlock()
	if bad != nil {
		return nil, bad
	}
	r.e.tell(n)
	return user("subscription", n.name).with(u).wrap(), nil
}

func (p part) with(u subscription) part {
	p.SetAttr("jid", u.JID.String()).SetAttr("subscription", u.State)
	if u.ID != "" {
		p.SetAttr("subid", u.ID)
	}
	return p
}

// subscribe adds a subscription of who's, or gives the one that is there. The node is locked.
func (e *Engine) subscribe(n *node, who stanza.JID, address string) (subscription, *stanza.Error) {
	j, err := stanza.ParseJID(address)
	if err != nil || j.Bare() != who.Bare() {
		return subscription{}, fault(stanza.ErrBadRequest, "invalid-jid")
	}
	if u, ok := n.subs[j]; ok {
		if u.State == pending {
			return subscription{}, fault(stanza.ErrNotAuthorized, "pending-subscription")
		}
		return u, nil
	}
	state := subscribed
	if bad := e.mayRead(n, who); bad != nil {
		if n.cfg.Access != accessAuthorize || n.affiliation(who) == affOutcast {
			return subscription{}, bad
		}
		state = pending
	}
	if bad := e.setSubscription(n, j, state, false); bad != nil {
		return subscription{}, bad
	}
	if state == pending {
		e.askOwners(n, j)
	} else if n.cfg.SendLast != lastNever {
		e.queueLast(n, j)
	}
	return n.subs[j], nil
}

// setSubscription stores a state, "" for none; tell: the subscriber learns of it. The node is locked.
func (e *Engine) setSubscription(n *node, j stanza.JID, state string, tell bool) *stanza.Error {
	old, there := n.subs[j]
	if old.State == state || !there && state == "" {
		return nil
	}
	if !there && len(n.subs) >= maxSubs {
		return stanza.ErrResourceConstraint.With("The node has too many subscribers")
	}
	u := subscription{JID: j, State: state, ID: old.ID}
	if u.ID == "" {
		u.ID = newID()
	}
	ctx, cancel := ioContext()
	defer cancel()
	if err := e.store.setSubscription(ctx, n.id, u); err != nil {
		return e.failed("subscription not stored", n.of.jid, err)
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
	j, err := stanza.ParseJID(r.el.Attr("jid"))
	if err != nil || j.Bare() != r.who().Bare() {
		return nil, fault(stanza.ErrBadRequest, "invalid-jid")
	}
	n, bad := r.find()
	if bad != nil {
		return nil, bad
	}
	defer n.mu.Unlock()
	u, ok := n.subs[j]
	if id := r.el.Attr("subid"); !ok {
		return nil, fault(&stanza.Error{Type: "cancel", Condition: "unexpected-request"}, "not-subscribed")
	} else if id != "" && id != u.ID {
		return nil, fault(stanza.ErrNotAcceptable, "invalid-subid")
	}
	return nil, r.e.setSubscription(n, j, "", false)
}

// askOwners shows the owners who wants to subscribe (XEP-0060 §8.6). The node is locked.
func (e *Engine) askOwners(n *node, j stanza.JID) {
	to := []stanza.JID{}
	if n.of.account {
		to = append(to, n.of.jid)
	}
	for o, a := range n.affs {
		if a == affOwner {
			to = append(to, o)
		}
	}
	n.queue = append(n.queue, event{to: to, plain: newForm("form", formAuthorize,
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
		state := ""
		if yes, _ := truth(value("allow")); yes {
			state = subscribed
		}
		if bad := e.setSubscription(n, j, state, true); bad != nil {
			e.count.refused.Add(1)
		}
	}
	n.mu.Unlock()
	e.tell(n)
	return true
}
