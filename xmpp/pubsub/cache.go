package pubsub

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// maxOwners is how many accounts' nodes may stay in memory while nobody uses them; a node has about 500 bytes.
const maxOwners = 20_000

// maxLastBytes is the largest last item that stays in memory with its node: metadata, tunes, device lists.
const maxLastBytes = 4 << 10

// owned are the nodes of an account, or of the service.
type owned struct {
	jid     stanza.JID
	account bool
	users   int          // goroutines at work with it; guarded by Engine.mu
	bytes   atomic.Int64 // of all items

	mu    sync.RWMutex // guards what follows; held while it is loaded, and while nodes are made and removed
	ready bool
	nodes map[string]*node
}

// node is one of them. Its settings and people are changed with mu held, which is also held while the change is written; nothing is routed with it.
type node struct {
	of   *owned
	name string

	mu sync.Mutex // guards what follows, and the order of changes; taken after owned.mu or without it
	nodeRow
	gone    bool
	last    *Item // the newest item if it is small, or if items are not stored
	known   bool  // last is what the store has
	queue   []event
	telling bool // somebody gives the queue out
}

// use gives the nodes of owner, loaded, until done is called.
func (e *Engine) use(owner stanza.JID) (o *owned, done func(), err error) {
	e.mu.Lock()
	o = e.owners[owner]
	if o == nil {
		o = &owned{jid: owner, account: owner.Local() != ""}
		e.owners[owner] = o
	}
	o.users++
	e.mu.Unlock()
	done = func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if o.users--; o.users == 0 && len(e.owners) > maxOwners {
			delete(e.owners, owner)
		}
	}
	o.mu.RLock()
	ready := o.ready
	o.mu.RUnlock()
	if ready {
		return o, done, nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.ready {
		ctx, cancel := xmpp.StoreContext()
		defer cancel()
		if err := o.load(ctx, e.store); err != nil {
			done()
			return nil, nil, err
		}
	}
	return o, done, nil
}

func (o *owned) load(ctx context.Context, store SQLStore) error {
	rows, bytes, err := store.load(ctx, o.jid)
	if err != nil {
		return err
	}
	o.nodes = make(map[string]*node, len(rows))
	for _, r := range rows {
		o.nodes[r.name] = &node{of: o, name: r.name, nodeRow: *r}
	}
	o.bytes.Store(bytes)
	o.ready = true
	return nil
}

func (o *owned) find(name string) *node {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.nodes[name]
}

// list gives all nodes, in no order.
func (o *owned) list() []*node {
	o.mu.RLock()
	defer o.mu.RUnlock()
	out := make([]*node, 0, len(o.nodes))
	for _, n := range o.nodes {
		out = append(out, n)
	}
	return out
}

// since is from when on items count.
func (n *node) since() time.Time {
	if n.cfg.Expire == 0 {
		return time.Time{}
	}
	return time.Now().Add(-time.Duration(n.cfg.Expire) * time.Second)
}

// newest is the last item, nil if there is none. The node is locked.
func (e *Engine) newest(ctx context.Context, n *node) (*Item, error) {
	if n.known || !n.cfg.Persist {
		if n.last != nil && n.last.Stamp.Before(n.since()) {
			return nil, nil
		}
		return n.last, nil
	}
	p, err := e.store.items(ctx, n.id, span{max: 1, since: n.since()})
	if err != nil {
		return nil, err
	}
	var it *Item
	if len(p.items) > 0 {
		it = &p.items[0]
	}
	n.remember(it)
	return it, nil
}

// remember keeps the newest item in memory if it is small, or if it is nowhere else.
func (n *node) remember(it *Item) {
	if it == nil || len(it.XML) <= maxLastBytes || !n.cfg.Persist {
		n.last, n.known = it, true
	} else {
		n.last, n.known = nil, false
	}
}
