package pubsub

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"konzil/internal/random"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// Options are what the engine asks of the contact lists, and the service's name.
type Options struct {
	Service    string                                   // domain of the service, "" for none
	Subscribed func(owner, contact stanza.JID) bool     // contact may see the presence of owner
	Groups     func(owner, contact stanza.JID) []string // that contact is in, in owner's list
	Watchers   func(owner stanza.JID) []stanza.JID      // who sees the presence of owner
	Watched    func(owner stanza.JID) []stanza.JID      // whose presence owner sees
}

// Engine has the nodes of all accounts and of the service. Use Attach.
type Engine struct {
	srv     *xmpp.Server
	store   SQLStore
	opt     Options
	log     *slog.Logger
	service stanza.JID
	caps    *caps
	changed map[string][]func(owner stanza.JID) // by node; written before serving only
	fill    map[string]func(owner stanza.JID)   // likewise; makes a node that its owner looks for

	mu     sync.Mutex // guards owners, and users of each; never taken before another lock
	owners map[stanza.JID]*owned

	hasMu sync.RWMutex            // guards has
	has   map[stanza.JID]struct{} // owners that have, or had, nodes

	peersMu sync.Mutex                             // guards peers
	peers   map[stanza.JID]map[stanza.JID]*watcher // account → clients elsewhere whose presence it has

	digestMu sync.Mutex // guards digests, and what is in each
	digests  map[digestKey]*digest

	count struct{ requests, published, retracted, notified, asked, capsBad, refused, failures atomic.Uint64 }
}

// Attach gives accounts nodes, and opens the service. It goes after the roster.
func Attach(s *xmpp.Server, store SQLStore, opt Options, log *slog.Logger) (*Engine, error) {
	e := &Engine{srv: s, store: store, opt: opt, log: log, caps: newCaps(), changed: map[string][]func(stanza.JID){}, fill: map[string]func(stanza.JID){},
		owners: map[stanza.JID]*owned{}, peers: map[stanza.JID]map[stanza.JID]*watcher{}, digests: map[digestKey]*digest{}}
	ctx, cancel := xmpp.StoreContext()
	defer cancel()
	var err error
	if e.has, err = store.owners(ctx); err != nil {
		return nil, err
	}
	h := s.Hooks()
	h.Feature(xmpp.ToAccount, accountFeatures()...)
	h.Feature(xmpp.ToServer, serverFeatures()...)
	h.IQ(xmpp.ToAccount, nsPubSub, "pubsub", e.accountIQ)
	h.IQ(xmpp.ToAccount, nsOwner, "pubsub", e.accountIQ)
	h.AccountIQ(e.capsAnswer)
	h.Outbound(e.outbound)
	h.Inbound(e.inbound)
	h.Resumed(e.resumed)
	h.Closed(e.closed)
	if opt.Service != "" {
		if e.service, err = stanza.ParseJID(opt.Service); err != nil {
			return nil, err
		}
		s.Mount(opt.Service, e)
	}
	return e, nil
}

// Changed calls f after each change of the items of a node of that name of an account; before serving. f runs on the goroutine that made the change.
func (e *Engine) Changed(node string, f func(owner stanza.JID)) {
	e.changed[node] = append(e.changed[node], f)
}

// Counters are numbers for metrics.
func (e *Engine) Counters() map[string]uint64 {
	c := &e.count
	return map[string]uint64{
		"requests_total": c.requests.Load(), "published_total": c.published.Load(), "retracted_total": c.retracted.Load(),
		"notifications_total": c.notified.Load(), "caps_asked_total": c.asked.Load(), "caps_refused_total": c.capsBad.Load(),
		"refused_total": c.refused.Load(), "store_errors_total": c.failures.Load(),
	}
}

// hasNodes tells whether owner may have nodes; a quick no for most.
func (e *Engine) hasNodes(owner stanza.JID) bool {
	e.hasMu.RLock()
	defer e.hasMu.RUnlock()
	_, ok := e.has[owner]
	return ok
}

// Forget removes all that an account has published, and its subscriptions.
func (e *Engine) Forget(ctx context.Context, owner stanza.JID) error {
	if err := e.store.forget(ctx, owner); err != nil {
		return err
	}
	e.hasMu.Lock()
	delete(e.has, owner)
	e.hasMu.Unlock()
	e.mu.Lock()
	delete(e.owners, owner)
	var loaded []*owned
	for _, o := range e.owners {
		loaded = append(loaded, o)
	}
	e.mu.Unlock()
	for _, o := range loaded {
		for _, n := range o.list() {
			n.forget(owner)
		}
	}
	return nil
}

// forget drops what a node has of an account that is no more.
func (n *node) forget(who stanza.JID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.affs, who)
	for j := range n.subs {
		if j.Bare() == who {
			delete(n.subs, j)
		}
	}
}

// failed logs an error of the store and is the answer.
func (e *Engine) failed(what string, owner stanza.JID, err error) *stanza.Error {
	e.count.failures.Add(1)
	e.log.Error(what, "owner", owner.String(), "err", err)
	return stanza.ErrInternal
}

// newID is for items, subscriptions and questions: 96 random bits.
func newID() string { return random.Hex(12) }
