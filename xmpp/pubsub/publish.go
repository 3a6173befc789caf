package pubsub

import (
	"errors"
	"slices"
	"time"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// publish is XEP-0060 §7.1, with auto-create (§7.1.4) and publish-options (§7.1.5).
func (r *request) publish() (*stanza.Element, *stanza.Error) {
	if r.node() == "" {
		return nil, fault(stanza.ErrBadRequest, "nodeid-required")
	}
	opts, bad := readForm(r.op.Child(nsPubSub, "publish-options").Child(nsData, "x"), formOptions)
	if bad != nil {
		return nil, bad
	}
	if len(opts) > 0 && !knows(opts) {
		return nil, fault(stanza.ErrConflict, "precondition-not-met")
	}
	it, bad := readItem(r.el)
	if bad != nil {
		return nil, bad
	}
	r.prepare()
	n := r.o.lock(r.node())
	if n == nil {
		cfg := defaults(r.o.account, r.node())
		if bad := cfg.apply(opts); bad != nil {
			return nil, bad
		}
		if n, bad = r.e.make(r.o, r.node(), r.who(), cfg); bad != nil {
			return nil, bad
		}
	} else if len(opts) > 0 {
		met, bad := n.cfg.met(opts)
		if bad == nil && !met {
			bad = fault(stanza.ErrConflict, "precondition-not-met")
		}
		if bad != nil {
			n.mu.Unlock()
			return nil, bad
		}
	}
	bad = r.e.mayPublish(n, r.who())
	if bad == nil {
		it, bad = r.e.put(n, r.who(), it)
	}
	n.mu.Unlock()
	if bad != nil {
		return nil, bad
	}
	r.told += r.e.tell(n)
	r.e.notice(n)
	answer := user("publish", n.name)
	if it != nil {
		answer.Add(stanza.NewElement(nsPubSub, "item", "id", it.ID))
	}
	return answer.wrap(), nil
}

// readItem reads <publish/>: at most one item, with at most one payload (§7.1.3.6); nil: none.
func readItem(el *stanza.Element) (*Item, *stanza.Error) {
	items := el.ChildrenNamed(nsPubSub, "item")
	if len(items) == 0 {
		return nil, nil
	}
	if len(items) > 1 {
		return nil, fault(stanza.ErrBadRequest, "max-items-exceeded")
	}
	it := &Item{ID: items[0].Attr("id")}
	payload := items[0].Children()
	switch {
	case len(it.ID) > maxName:
		return nil, stanza.ErrNotAcceptable.With("The id of the item is too long")
	case len(payload) > 1:
		return nil, fault(stanza.ErrBadRequest, "invalid-payload")
	case len(payload) == 1:
		it.XML = payload[0].AppendXML(nil, "")
	}
	if len(it.XML) > maxItemBytes {
		return nil, fault(stanza.ErrNotAcceptable, "payload-too-big")
	}
	return it, nil
}

// put stores an item and queues what is told of it. The node is locked; it gives what was published.
func (e *Engine) put(n *node, who stanza.JID, it *Item) (*Item, *stanza.Error) {
	limit := int64(maxBytesService)
	if n.of.account {
		limit = maxBytesAccount
	}
	switch {
	case it == nil && (n.cfg.Persist || n.cfg.Payloads):
		return nil, fault(stanza.ErrBadRequest, "item-required")
	case it != nil && !n.cfg.Persist && !n.cfg.Payloads: // §7.1.3.6
		return nil, fault(stanza.ErrBadRequest, "item-forbidden")
	case it != nil && n.cfg.MaxPayload > 0 && len(it.XML) > n.cfg.MaxPayload:
		return nil, fault(stanza.ErrNotAcceptable, "payload-too-big")
	case it != nil && len(it.XML) == 0 && n.cfg.Persist && n.cfg.Payloads:
		return nil, fault(stanza.ErrBadRequest, "payload-required")
	case it != nil && n.cfg.Persist && n.of.bytes.Load()+int64(len(it.XML)) > limit:
		return nil, stanza.ErrResourceConstraint.With("There is no room for more items")
	}
	e.count.published.Add(1)
	if it == nil {
		n.queue = append(n.queue, n.published(nil))
		return nil, nil
	}
	if it.ID == "" {
		it.ID = newID()
	}
	it.Publisher, it.Stamp = who.Bare(), time.Now()
	if n.cfg.Persist {
		ctx, cancel := xmpp.StoreContext()
		defer cancel()
		grown, err := e.store.publish(ctx, n.id, it, n.cfg)
		if errors.Is(err, errFull) {
			return nil, fault(stanza.ErrConflict, "node-full")
		}
		if err != nil {
			return nil, e.failed("item not stored", n.of.jid, err)
		}
		n.of.bytes.Add(grown)
	}
	n.remember(it)
	n.queue = append(n.queue, n.published(it))
	return it, nil
}

// retract is XEP-0060 §7.2.
func (r *request) retract() (*stanza.Element, *stanza.Error) {
	items := r.el.ChildrenNamed(nsPubSub, "item")
	if len(items) == 0 || len(items) > maxListed || slices.ContainsFunc(items, func(it *stanza.Element) bool { return it.Attr("id") == "" }) {
		return nil, fault(stanza.ErrBadRequest, "item-required")
	}
	n, bad := r.find()
	if bad != nil {
		return nil, bad
	}
	notify, _ := truth(r.el.Attr("notify"))
	for _, it := range items {
		if bad = r.e.take(n, r.who(), it.Attr("id"), notify); bad != nil {
			break
		}
	}
	n.mu.Unlock()
	if bad != nil {
		return nil, bad
	}
	r.told += r.e.tell(n)
	r.e.notice(n)
	return nil, nil
}

// take removes an item: owners and publishers any, others their own. The node is locked.
func (e *Engine) take(n *node, who stanza.JID, id string, notify bool) *stanza.Error {
	ctx, cancel := xmpp.StoreContext()
	defer cancel()
	if !n.cfg.Persist {
		return unsupported("persistent-items")
	}
	switch n.affiliation(who) {
	case affOwner, affPublisher:
	default:
		if bad := e.mayPublish(n, who); bad != nil {
			return bad
		}
		p, err := e.store.items(ctx, n.id, span{ids: []string{id}, max: 1})
		if err != nil {
			return e.failed("item not read", n.of.jid, err)
		}
		if len(p.items) == 0 || p.items[0].Publisher != who.Bare() {
			return stanza.ErrForbidden
		}
	}
	freed, err := e.store.retract(ctx, n.id, id)
	switch {
	case err != nil:
		return e.failed("item not removed", n.of.jid, err)
	case freed < 0:
		return stanza.ErrItemNotFound
	}
	e.count.retracted.Add(1)
	n.of.bytes.Add(-freed)
	n.last, n.known = nil, false
	if notify || n.cfg.NotifyRetract {
		n.queue = append(n.queue, event{el: stanza.NewElement(nsEvent, "items", "node", n.name).Add(
			stanza.NewElement(nsEvent, "retract", "id", id))})
	}
	return nil
}

// make adds a node; it is locked.
func (e *Engine) make(o *owned, name string, who stanza.JID, cfg Config) (*node, *stanza.Error) {
	if bad := e.mayCreate(o, who); bad != nil {
		return nil, bad
	}
	n := &node{of: o, name: name, nodeRow: nodeRow{name: name, cfg: cfg, creator: who.Bare(), created: time.Now(),
		affs: map[stanza.JID]affiliation{}, subs: map[stanza.JID]subscription{}}, known: true}
	if !o.account {
		n.affs[who.Bare()] = affOwner
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.nodes[name] != nil { // somebody was quicker
		return nil, stanza.ErrConflict
	}
	ctx, cancel := xmpp.StoreContext()
	defer cancel()
	if err := e.store.create(ctx, o.jid, &n.nodeRow); err != nil {
		return nil, e.failed("node not made", o.jid, err)
	}
	e.hasMu.Lock()
	e.has[o.jid] = struct{}{}
	e.hasMu.Unlock()
	n.mu.Lock()
	o.nodes[name] = n
	return n, nil
}

// Publish is publish for a feature of the server: who is the owner. The node is made with cfg if it is not there.
func (e *Engine) Publish(owner stanza.JID, name, id string, payload *stanza.Element, cfg Config) error {
	o, done, err := e.use(owner)
	if err != nil {
		return err
	}
	defer done()
	n := o.lock(name)
	if n == nil {
		var bad *stanza.Error
		if n, bad = e.make(o, name, owner, cfg); bad != nil {
			return bad
		}
	}
	_, bad := e.put(n, owner, &Item{ID: id, XML: payload.AppendXML(nil, "")})
	n.mu.Unlock()
	if bad != nil {
		return bad
	}
	e.tell(n)
	return nil
}

// retract is retract for a feature of the server; what is not there is no error.
func (e *Engine) retract(owner stanza.JID, name, id string) error {
	o, done, err := e.use(owner)
	if err != nil {
		return err
	}
	defer done()
	n := o.lock(name)
	if n == nil {
		return nil
	}
	bad := e.take(n, owner, id, true)
	n.mu.Unlock()
	if bad != nil && bad.Condition != stanza.ErrItemNotFound.Condition {
		return bad
	}
	e.tell(n)
	return nil
}

// item is one item, nil if there is none.
func (e *Engine) item(owner stanza.JID, name, id string) (*Item, error) {
	list, err := e.items(owner, name, span{ids: []string{id}, max: 1})
	if err != nil || len(list) == 0 {
		return nil, err
	}
	return &list[0], nil
}

// hasNode tells whether an account has a node of that name.
func (e *Engine) hasNode(owner stanza.JID, name string) bool {
	if !e.hasNodes(owner) {
		return false
	}
	o, done, err := e.use(owner)
	if err != nil {
		return false
	}
	defer done()
	return o.find(name) != nil
}

// Items are the newest items of a node, newest first; none if there is no such node.
func (e *Engine) Items(owner stanza.JID, name string, max int) ([]Item, error) {
	if !e.hasNodes(owner) {
		return nil, nil
	}
	return e.items(owner, name, span{max: max})
}

// items are those of a node that want asks for; none if there is no such node.
func (e *Engine) items(owner stanza.JID, name string, want span) ([]Item, error) {
	o, done, err := e.use(owner)
	if err != nil {
		return nil, err
	}
	defer done()
	n := o.lock(name)
	if n == nil {
		return nil, nil
	}
	defer n.mu.Unlock()
	ctx, cancel := xmpp.StoreContext()
	defer cancel()
	want.since = n.since()
	p, err := e.store.items(ctx, n.id, want)
	if err != nil {
		return nil, err
	}
	return p.items, nil
}

// readable tells whether who gets the items of a node of an account.
func (e *Engine) readable(owner stanza.JID, name string, who stanza.JID) bool {
	o, done, err := e.use(owner)
	if err != nil {
		return false
	}
	defer done()
	n := o.lock(name)
	if n == nil {
		return false
	}
	defer n.mu.Unlock()
	return e.mayRead(n, who) == nil
}

// notice tells the features that keep something in step with a node.
func (e *Engine) notice(n *node) {
	if !n.of.account {
		return
	}
	for _, f := range e.changed[n.name] {
		f(n.of.jid)
	}
}
