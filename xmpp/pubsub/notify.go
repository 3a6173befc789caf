package pubsub

import (
	"time"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// event is something to tell of a node.
type event struct {
	el    *stanza.Element // child of <event/>
	plain *stanza.Element // or the payload itself
	to    []stanza.JID    // nil: all who are interested
	stamp time.Time       // not zero: it is from then (XEP-0203)
}

// published is the event of a publication; nil: without item.
func (n *node) published(it *Item) event {
	items := stanza.NewElement(nsEvent, "items", "node", n.name)
	if it != nil {
		el := it.element(nsEvent, n.cfg.Payloads)
		if it.Publisher != n.of.jid {
			el.SetAttr("publisher", it.Publisher.String())
		}
		items.Add(el)
	}
	return event{el: items}
}

// queueLast queues the newest item for to (XEP-0060 §6.1.7, XEP-0163 §4.3.4). The node is locked.
func (e *Engine) queueLast(n *node, to stanza.JID) {
	ctx, cancel := xmpp.StoreContext()
	defer cancel()
	it, err := e.newest(ctx, n)
	if err != nil {
		e.failed("last item not read", n.of.jid, err)
		return
	}
	if it != nil {
		ev := n.published(it)
		ev.to, ev.stamp = []stanza.JID{to}, it.Stamp
		n.queue = append(n.queue, ev)
	}
}

// tell gives out what is queued with a node, in order: one goroutine does it at a time, and nothing is routed with a lock held. The queue is as long
// as what is published while one event is given out. It tells how many it has told.
func (e *Engine) tell(n *node) (told int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.telling {
		return 0
	}
	n.telling = true
	for len(n.queue) > 0 {
		queue := n.queue
		n.queue = nil
		var all []stanza.JID
		special := map[stanza.JID]subOptions{}
		for j, u := range n.subs {
			if !u.plain() {
				special[j] = u.subOptions
			}
		}
		for _, ev := range queue {
			if ev.to == nil {
				all = e.interested(n)
				break
			}
		}
		typ := n.cfg.Kind
		if typ == "normal" {
			typ = ""
		}
		n.mu.Unlock()
		for _, ev := range queue {
			told += e.give(n, typ, ev, all, special)
		}
		n.mu.Lock()
	}
	n.telling = false
	return told
}

// give routes one event, and gives to how many; special are the subscribers that want it in another form.
func (e *Engine) give(n *node, typ string, ev event, all []stanza.JID, special map[stanza.JID]subOptions) int {
	to := ev.to
	if to == nil {
		to = all
	}
	if len(to) == 0 {
		return 0
	}
	payload := []*stanza.Element{ev.plain}
	if ev.plain == nil {
		payload[0] = stanza.NewElement(nsEvent, "event").Add(ev.el)
	} else {
		typ = ""
	}
	if !ev.stamp.IsZero() {
		payload = append(payload, stanza.NewElement(nsDelay, "delay", "stamp", ev.stamp.UTC().Format("2006-01-02T15:04:05.000Z")))
	}
	st := stanza.NewMessage(typ, n.of.jid, stanza.JID{}, payload...)
	for _, j := range to {
		e.count.notified.Add(1)
		one := st.WithTo(j)
		o, ok := special[j]
		if !ok || ev.plain != nil {
			e.srv.Route(one)
			continue
		}
		if o.Body {
			one = one.WithPayload(append([]*stanza.Element{stanza.TextElement(stanza.NSClient, "body", bodyOf(n.name, ev.el))}, payload...)...)
		}
		if o.Digest == 0 || ev.to != nil || !e.collect(n, one, ev.el, time.Duration(o.Digest)*time.Millisecond) {
			e.srv.Route(one)
		}
	}
	return len(to)
}

// interested are all who are told of a change: explicit subscribers, and by presence those whose capabilities ask for it (XEP-0163 §4.3). The
// node is locked.
func (e *Engine) interested(n *node) []stanza.JID {
	out := []stanza.JID{}
	if n.cfg.Silent {
		return out
	}
	e.expire(n)
	explicit := map[stanza.JID]bool{}
	for j, u := range n.subs {
		if u.State == subscribed && e.mayRead(n, j) == nil {
			if explicit[j] = true; e.wanted(u) {
				out = append(out, j)
			}
		}
	}
	if !n.of.account {
		return out
	}
	add := func(bare stanza.JID) {
		for _, j := range e.clients(n.of.jid, bare, n.name) {
			if !explicit[j] && !explicit[bare] {
				out = append(out, j)
			}
		}
	}
	add(n.of.jid)
	if n.cfg.Access == accessWhitelist && len(n.affs) == 0 {
		return out
	}
	everybody := len(n.affs) == 0 && (n.cfg.Access == accessOpen || n.cfg.Access == accessPresence)
	for _, c := range e.opt.Watchers(n.of.jid) {
		if c = c.Bare(); everybody || e.mayRead(n, c) == nil {
			add(c)
		}
	}
	return out
}

// clients are those of bare that ask for a node and that owner knows by presence.
func (e *Engine) clients(owner, bare stanza.JID, name string) []stanza.JID {
	var out []stanza.JID
	if bare.Domain() == e.srv.Domain() {
		for _, s := range e.srv.Sessions(bare) {
			if st := stateOf(s); st != nil && s.Presence() != nil && st.what.Load().has(name) {
				out = append(out, s.JID())
			}
		}
		return out
	}
	e.peersMu.Lock()
	defer e.peersMu.Unlock()
	for j, w := range e.peers[owner] {
		if j.Bare() == bare && w.what.has(name) {
			out = append(out, j)
		}
	}
	return out
}
