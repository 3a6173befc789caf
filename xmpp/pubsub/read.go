package pubsub

import (
	"errors"
	"slices"
	"strconv"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// items is XEP-0060 §6.5: newest first, by id, the newest so many, or a page (XEP-0059).
func (r *request) items() (*stanza.Element, *stanza.Error) {
	r.prepare()
	n, bad := r.find()
	if bad != nil {
		return nil, bad
	}
	defer n.mu.Unlock()
	if bad := r.e.mayRead(n, r.who()); bad != nil {
		return nil, bad
	}
	if id := r.el.Attr("subid"); id != "" && !n.knowsSubscription(r.who(), id) { // §6.5.9.2
		return nil, fault(stanza.ErrNotAcceptable, "invalid-subid")
	}
	if !n.cfg.Persist && !n.cfg.Payloads { // §6.5.9.4
		return nil, unsupported("persistent-items")
	}
	q, bad := r.span(n)
	if bad != nil {
		return nil, bad
	}
	p := &page{}
	if n.cfg.Persist {
		ctx, cancel := xmpp.StoreContext()
		defer cancel()
		var err error
		p, err = r.e.store.items(ctx, n.id, q)
		if errors.Is(err, errNoItem) {
			return nil, stanza.ErrItemNotFound
		}
		if err != nil {
			return nil, r.e.failed("items not read", r.o.jid, err)
		}
	} else if n.last != nil && (q.ids == nil || slices.Contains(q.ids, n.last.ID)) {
		p.items, p.total = []Item{*n.last}, 1
	}
	if len(p.items) == 0 && len(q.ids) > 0 {
		return nil, stanza.ErrItemNotFound
	}
	list := user("items", n.name)
	for i := range p.items {
		list.Add(p.items[i].element(nsPubSub, true))
	}
	out := list.wrap()
	if q.ids == nil && (r.op.Child(nsRSM, "set") != nil || p.cut && q.maxBytes > 0 && len(p.items) < q.max) {
		out.Add(resultSet(p))
	}
	return out, nil
}

// prepare lets a feature fill a node that its owner asks for the first time.
func (r *request) prepare() {
	if f := r.e.fill[r.node()]; f != nil && r.o.account && r.who().Bare() == r.o.jid && r.o.find(r.node()) == nil {
		f(r.o.jid)
	}
}

// span reads what is wanted.
func (r *request) span(n *node) (span, *stanza.Error) {
	q := span{max: maxItems, since: n.since(), maxBytes: maxAnswerRemote}
	if r.who().Domain() == r.e.srv.Domain() {
		q.maxBytes = maxAnswerLocal
	}
	for _, it := range r.el.ChildrenNamed(nsPubSub, "item") {
		if q.ids = append(q.ids, it.Attr("id")); len(q.ids) > maxListed {
			return q, stanza.ErrBadRequest.With("Too many items")
		}
	}
	if v := r.el.Attr("max_items"); v != "" {
		k, err := strconv.Atoi(v)
		if err != nil || k < 0 {
			return q, stanza.ErrBadRequest.With("max_items")
		}
		q.max = min(k, maxItems)
	}
	set := r.op.Child(nsRSM, "set")
	if set == nil {
		return q, nil
	}
	max, after, before, bad := readSet(set, maxItems)
	q.max, q.older = min(q.max, max), after
	if before != nil {
		q.newer, q.oldest = *before, true
	}
	return q, bad
}

// readSet reads a result set request (XEP-0059 §2); before nil: not asked for.
func readSet(set *stanza.Element, most int) (max int, after string, before *string, bad *stanza.Error) {
	max = most
	if m := set.Child(nsRSM, "max"); m != nil {
		k, err := strconv.Atoi(m.Text())
		if err != nil || k < 0 {
			return 0, "", nil, stanza.ErrBadRequest.With("max")
		}
		max = min(k, most)
	}
	if set.Child(nsRSM, "index") != nil {
		return 0, "", nil, stanza.ErrFeatureNotImplemented.With("Pages by index are not offered")
	}
	if b := set.Child(nsRSM, "before"); b != nil {
		text := b.Text()
		before = &text
	}
	return max, set.Child(nsRSM, "after").Text(), before, nil
}

func resultSet(p *page) *stanza.Element {
	set := stanza.NewElement(nsRSM, "set")
	if k := len(p.items); k > 0 {
		set.Add(stanza.TextElement(nsRSM, "first", p.items[0].ID, "index", strconv.Itoa(p.index)), stanza.TextElement(nsRSM, "last", p.items[k-1].ID))
	}
	return set.Add(stanza.TextElement(nsRSM, "count", strconv.Itoa(p.total)))
}

// element is the item in a namespace of the protocol.
func (it *Item) element(space string, payload bool) *stanza.Element {
	el := stanza.NewElement(space, "item", "id", it.ID)
	if !payload || len(it.XML) == 0 {
		return el
	}
	if c, err := stanza.ParseElement(it.XML); err == nil { // we wrote it
		el.Add(c)
	}
	return el
}

// ownSubscriptions is XEP-0060 §5.6: the sender's, of one node or all.
func (r *request) ownSubscriptions() (*stanza.Element, *stanza.Error) {
	out := user("subscriptions", r.node())
	who := r.who().Bare()
	return r.each(out, func(n *node) {
		r.e.expire(n)
		for j, u := range n.subs {
			if j.Bare() == who {
				out.Add(part{stanza.NewElement(nsPubSub, "subscription", "node", n.name)}.with(u).Element)
			}
		}
	})
}

// ownAffiliations is XEP-0060 §5.7.
func (r *request) ownAffiliations() (*stanza.Element, *stanza.Error) {
	out := user("affiliations", r.node())
	return r.each(out, func(n *node) {
		if a := n.affiliation(r.who()); a != affNone {
			out.Add(stanza.NewElement(nsPubSub, "affiliation", "node", n.name, "affiliation", string(a)))
		}
	})
}

// each calls f with the node that is asked for, or all, locked.
func (r *request) each(out part, f func(*node)) (*stanza.Element, *stanza.Error) {
	if r.node() != "" {
		n, bad := r.find()
		if bad != nil {
			return nil, bad
		}
		defer n.mu.Unlock()
		f(n)
		return out.wrap(), nil
	}
	for _, n := range r.o.list() {
		n.mu.Lock()
		if !n.gone && len(out.Nodes) < maxListed {
			f(n)
		}
		n.mu.Unlock()
	}
	return out.wrap(), nil
}
