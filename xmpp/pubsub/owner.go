package pubsub

import (
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// create is XEP-0060 §8.1; without a name the service invents one.
func (r *request) create() (*stanza.Element, *stanza.Error) {
	name := r.node()
	if name == "" {
		name = newID()
	}
	cfg := defaults(r.o.account, name)
	f, bad := readForm(r.op.Child(nsPubSub, "configure").Child(nsData, "x"), formConfig)
	if bad == nil {
		bad = cfg.apply(f)
	}
	if bad != nil {
		return nil, bad
	}
	if bad := r.e.mayCreate(r.o, r.who()); bad != nil {
		return nil, bad
	}
	n, bad := r.e.make(r.o, name, r.who(), cfg)
	if bad != nil {
		return nil, bad
	}
	n.mu.Unlock()
	return user("create", name).wrap(), nil
}

// configure is XEP-0060 §8.2.
func (r *request) configure(n *node) (*stanza.Element, *stanza.Error) {
	x := r.el.Child(nsData, "x")
	switch {
	case x == nil:
		return nil, stanza.ErrBadRequest
	case x.Attr("type") == "cancel":
		return nil, nil
	}
	f, bad := readForm(x, formConfig)
	cfg := n.cfg
	if bad == nil {
		bad = cfg.apply(f)
	}
	if bad != nil {
		return nil, bad
	}
	ctx, cancel := xmpp.StoreContext()
	defer cancel()
	freed, err := r.e.store.configure(ctx, n.id, cfg)
	if err != nil {
		return nil, r.e.failed("settings not stored", r.o.jid, err)
	}
	r.o.bytes.Add(-freed)
	n.cfg, n.last, n.known = cfg, nil, false
	if cfg.NotifyConfig {
		el := stanza.NewElement(nsEvent, "configuration", "node", n.name)
		if cfg.Payloads {
			c := n.cfg.form()
			el.Add(c.SetAttr("type", "result"))
		}
		n.queue = append(n.queue, event{el: el})
	}
	r.tellAfter(n)
	return nil, nil
}

// tellAfter gives out what is queued; the node is unlocked meanwhile.
func (r *request) tellAfter(n *node) {
	n.mu.Unlock()
	r.told += r.e.tell(n)
	r.e.notice(n)
	n.mu.Lock()
}

// remove is XEP-0060 §8.4.
func (r *request) remove(n *node) (*stanza.Element, *stanza.Error) {
	n.mu.Unlock() // the lock of all nodes comes first
	r.o.mu.Lock()
	n.mu.Lock()
	err := r.e.delete(n)
	r.o.mu.Unlock()
	if err != nil {
		return nil, r.e.failed("node not removed", r.o.jid, err)
	}
	if n.cfg.NotifyDelete {
		el := stanza.NewElement(nsEvent, "delete", "node", n.name)
		if uri := r.el.Child(nsOwner, "redirect").Attr("uri"); uri != "" { // §8.4.1
			el.Add(stanza.NewElement(nsEvent, "redirect", "uri", uri))
		}
		n.queue = append(n.queue, event{el: el})
	}
	r.tellAfter(n)
	return nil, nil
}

// delete takes a node from disk and memory. It and its owner's are locked.
func (e *Engine) delete(n *node) error {
	if n.gone {
		return nil
	}
	ctx, cancel := xmpp.StoreContext()
	defer cancel()
	p, err := e.store.purge(ctx, n.id)
	if err != nil {
		return err
	}
	n.of.bytes.Add(-p)
	if err := e.store.remove(ctx, n.id); err != nil {
		return err
	}
	n.gone = true
	delete(n.of.nodes, n.name)
	return nil
}

// purge is XEP-0060 §8.5.
func (r *request) purge(n *node) (*stanza.Element, *stanza.Error) {
	if !n.cfg.Persist {
		return nil, unsupported("persistent-items")
	}
	ctx, cancel := xmpp.StoreContext()
	defer cancel()
	freed, err := r.e.store.purge(ctx, n.id)
	if err != nil {
		return nil, r.e.failed("node not purged", r.o.jid, err)
	}
	r.o.bytes.Add(-freed)
	n.remember(nil)
	if n.cfg.NotifyRetract {
		n.queue = append(n.queue, event{el: stanza.NewElement(nsEvent, "purge", "node", n.name)})
	}
	r.tellAfter(n)
	return nil, nil
}

// affiliations is XEP-0060 §8.9.1.
func (r *request) affiliations(n *node) (*stanza.Element, *stanza.Error) {
	out := owner("affiliations", n.name)
	if r.o.account {
		out.Add(stanza.NewElement(nsOwner, "affiliation", "jid", r.o.jid.String(), "affiliation", string(affOwner)))
	}
	for j, a := range n.affs {
		out.Add(stanza.NewElement(nsOwner, "affiliation", "jid", j.String(), "affiliation", string(a)))
	}
	return out.wrap(), nil
}

// setAffiliations is XEP-0060 §8.9.2; one owner stays. What cannot be changed is told, the rest is done (§8.9.2.4).
func (r *request) setAffiliations(n *node) (*stanza.Element, *stanza.Error) {
	wrong := owner("affiliations", n.name)
	for _, el := range r.el.ChildrenNamed(nsOwner, "affiliation") {
		j, err := stanza.ParseJID(el.Attr("jid"))
		a := affiliation(el.Attr("affiliation"))
		if j = j.Bare(); err != nil || !a.valid() || !n.mayBecome(j, a) {
			wrong.Add(stanza.NewElement(nsOwner, "affiliation", "jid", el.Attr("jid"), "affiliation", string(n.affiliation(j))))
			continue
		}
		ctx, cancel := xmpp.StoreContext()
		err = r.e.store.setAffiliation(ctx, n.id, j, a)
		cancel()
		if err != nil {
			return nil, r.e.failed("affiliation not stored", r.o.jid, err)
		}
		if a == affNone {
			delete(n.affs, j)
		} else {
			n.affs[j] = a
		}
	}
	return nil, r.allBut(wrong)
}

// mayBecome tells whether the affiliation of j may be a: a node keeps an owner, and its list has an end. The node is locked.
func (n *node) mayBecome(j stanza.JID, a affiliation) bool {
	lastOwner := n.of.account && j == n.of.jid || a != affOwner && n.affs[j] == affOwner && n.owners() == 1
	return !j.IsZero() && !lastOwner && (a == affNone || len(n.affs) < maxSubs)
}

// allBut is the error for what was done but for some entries, which the answer names as they are.
func (r *request) allBut(wrong part) *stanza.Error {
	if len(wrong.Nodes) == 0 {
		return nil
	}
	r.wrong = wrong.wrap()
	return stanza.ErrNotAcceptable
}

func (n *node) owners() (k int) {
	for _, a := range n.affs {
		if a == affOwner {
			k++
		}
	}
	return k
}

// subscriptions is XEP-0060 §8.8.1.
func (r *request) subscriptions(n *node) (*stanza.Element, *stanza.Error) {
	r.e.expire(n)
	out := owner("subscriptions", n.name)
	for j, u := range n.subs {
		out.Add(stanza.NewElement(nsOwner, "subscription", "jid", j.String(), "subscription", u.State, "subid", u.ID))
	}
	return out.wrap(), nil
}

// setSubscriptions is XEP-0060 §8.8.2: the owner grants, makes and ends subscriptions. What cannot be changed is told, the rest is done (§8.8.2.4).
func (r *request) setSubscriptions(n *node) (*stanza.Element, *stanza.Error) {
	wrong := owner("subscriptions", n.name)
	for _, el := range r.el.ChildrenNamed(nsOwner, "subscription") {
		j, err := stanza.ParseJID(el.Attr("jid"))
		u := n.subs[j]
		old := u.State
		switch u.JID, u.State = j, el.Attr("subscription"); {
		case u.State == "none":
			u.State = ""
		case u.State != subscribed && u.State != pending, j.IsZero():
			err = stanza.ErrNotAcceptable
		}
		if err == nil {
			if bad := r.e.setSubscription(n, u, true); bad != nil {
				err = bad
			}
		}
		if err != nil {
			if old == "" {
				old = "none"
			}
			wrong.Add(stanza.NewElement(nsOwner, "subscription", "jid", el.Attr("jid"), "subscription", old))
		}
	}
	r.tellAfter(n)
	return nil, r.allBut(wrong)
}
