package pubsub

import (
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// maxPeers is how many clients elsewhere one account is told apart for.
const maxPeers = 2000

// capsState is what the engine knows of a session.
type capsState struct {
	id   capsID
	what atomic.Pointer[interests] // nil until it is known
}

// stateKey is where a session keeps it.
type stateKey struct{}

func stateOf(s *xmpp.Session) *capsState {
	st, _ := s.Get(stateKey{}).(*capsState)
	return st
}

// watcher is a client elsewhere.
type watcher struct {
	id   capsID
	what *interests
}

// outbound looks at the broadcast presence of our clients.
func (e *Engine) outbound(s *xmpp.Session, st *stanza.Stanza) bool {
	if st.Kind == stanza.Presence && st.To.IsZero() && !s.Guest() {
		switch st.Type {
		case "":
			e.presented(s, st)
		case "unavailable":
			if stateOf(s) != nil {
				s.Set(stateKey{}, nil) // with the next presence it gets the last items again
			}
		}
	}
	return false
}

// resumed is for a session that came back without what was kept with it.
func (e *Engine) resumed(s *xmpp.Session) {
	if p := s.Presence(); p != nil && !s.Guest() {
		e.presented(s, p)
	}
}

// presented takes what a client of ours says of its capabilities; with those of before it is done at once.
func (e *Engine) presented(s *xmpp.Session, p *stanza.Stanza) {
	old := stateOf(s)
	if !p.Has(nsCaps, "c") {
		if old != nil {
			s.Set(stateKey{}, nil)
		}
		return
	}
	c := p.Child(nsCaps, "c")
	id, ok := idOf(c)
	if !ok || old != nil && old.id == id {
		return
	}
	now := &capsState{id: id}
	s.Set(stateKey{}, now)
	if what, ok := e.caps.get(id); ok {
		now.what.Store(what)
		e.welcome(s, what)
		return
	}
	e.ask(s.JID().Bare(), s.JID(), id, c)
}

// ask sends disco#info to a client, from the account (XEP-0115 §6.2).
func (e *Engine) ask(account, to stanza.JID, id capsID, c *stanza.Element) {
	name := "caps-" + newID()
	if !e.caps.ask(name, question{to: to, account: account, id: id, at: time.Now()}) {
		e.count.refused.Add(1)
		return
	}
	e.count.asked.Add(1)
	e.srv.Route(stanza.NewIQ("get", name, account, to, stanza.NewElement(nsInfo, "query", "node", c.Attr("node")+"#"+c.Attr("ver"))))
}

// capsAnswer takes the answers.
func (e *Engine) capsAnswer(st *stanza.Stanza) bool {
	if st.Type != "result" && st.Type != "error" || !st.To.IsBare() || !strings.HasPrefix(st.ID, "caps-") {
		return false
	}
	q, ok := e.caps.answered(st)
	if !ok {
		return false
	}
	query := st.Child(nsInfo, "query")
	if st.Type == "error" || query == nil {
		return true
	}
	what := read(query)
	switch {
	case verified(q.id, query):
		e.caps.put(q.id, what)
	case q.id.hash != "":
		e.count.capsBad.Add(1) // for this client alone
	}
	if s := e.srv.Session(q.to); s != nil {
		if state := stateOf(s); state != nil && state.id == q.id && state.what.CompareAndSwap(nil, what) {
			e.welcome(s, what)
		}
		return true
	}
	e.peersMu.Lock()
	w := e.peers[q.account][q.to]
	ok = w != nil && w.id == q.id
	if ok {
		w.what = what
	}
	e.peersMu.Unlock()
	if ok {
		e.lastItems(q.account, q.to, what)
	}
	return true
}

// welcome sends a client of ours the last items of its own account and of the accounts of this server whose presence it sees.
func (e *Engine) welcome(s *xmpp.Session, what *interests) {
	if len(what.nodes) == 0 {
		return
	}
	me := s.JID().Bare()
	e.lastItems(me, s.JID(), what)
	for _, c := range e.opt.Watched(me) {
		if c.Domain() == e.srv.Domain() {
			e.lastItems(c.Bare(), s.JID(), what)
		}
	}
}

// lastItems sends the last items of owner's nodes to a client that asks for them and may have them (XEP-0163 §4.3.4).
func (e *Engine) lastItems(owner, to stanza.JID, what *interests) {
	if len(what.nodes) == 0 || !e.hasNodes(owner) {
		return
	}
	o, done, err := e.use(owner)
	if err != nil {
		e.failed("nodes not read", owner, err)
		return
	}
	defer done()
	for _, name := range what.nodes {
		n := o.lock(name)
		if n == nil {
			continue
		}
		if n.cfg.SendLast == lastPresence && e.mayRead(n, to) == nil {
			e.queueLast(n, to)
		}
		n.mu.Unlock()
		e.tell(n)
	}
}

// Granted is told that contact sees the presence of owner from now on: it gets the last items.
func (e *Engine) Granted(owner, contact stanza.JID) {
	if !e.hasNodes(owner) || owner.Domain() != e.srv.Domain() {
		return
	}
	if contact.Domain() == e.srv.Domain() {
		for _, s := range e.srv.Sessions(contact) {
			if st := stateOf(s); st != nil && st.what.Load() != nil && s.Presence() != nil {
				e.lastItems(owner, s.JID(), st.what.Load())
			}
		}
		return
	}
	e.peersMu.Lock()
	now := map[stanza.JID]*interests{}
	for j, w := range e.peers[owner] {
		if j.Bare() == contact.Bare() && w.what != nil {
			now[j] = w.what
		}
	}
	e.peersMu.Unlock()
	for j, what := range now {
		e.lastItems(owner, j, what)
	}
}

// inbound looks at presence from elsewhere for an account, and at the answers to subscription requests that an owner sends to the own account.
func (e *Engine) inbound(st *stanza.Stanza) bool {
	if !st.To.IsBare() {
		return false
	}
	if st.Kind == stanza.Message {
		return st.From.Bare() == st.To && st.Has(nsData, "x") && e.authorized(st.To, st)
	}
	if st.Type != "" && st.Type != "unavailable" || st.From.IsBare() || e.srv.Serves(st.From.Domain()) || st.To.Domain() != e.srv.Domain() {
		return false
	}
	if st.Type == "unavailable" {
		e.peersMu.Lock()
		delete(e.peers[st.To], st.From)
		e.peersMu.Unlock()
	} else if st.Has(nsCaps, "c") {
		e.peer(st)
	}
	return false
}

// peer notes the capabilities of a contact's client elsewhere.
func (e *Engine) peer(st *stanza.Stanza) {
	c := st.Child(nsCaps, "c")
	id, ok := idOf(c)
	// A contact that the owner watches may watch the owner later, and does not say again what it is interested in.
	if !ok || len(e.srv.Sessions(st.To)) == 0 || !e.opt.Subscribed(st.To, st.From) && !slices.Contains(e.opt.Watched(st.To), st.From.Bare()) {
		return
	}
	what, known := e.caps.get(id)
	e.peersMu.Lock()
	mine := e.peers[st.To]
	if mine == nil {
		mine = map[stanza.JID]*watcher{}
		e.peers[st.To] = mine
	}
	old := mine[st.From]
	if old != nil && old.id == id || old == nil && len(mine) >= maxPeers {
		e.peersMu.Unlock()
		return
	}
	mine[st.From] = &watcher{id, what}
	e.peersMu.Unlock()
	if known {
		e.lastItems(st.To, st.From, what)
	} else {
		e.ask(st.To, st.From, id, c)
	}
}

// closed forgets the clients elsewhere when the account has none here any more: their presence comes again with the next login.
func (e *Engine) closed(s *xmpp.Session) {
	if bare := s.JID().Bare(); len(e.srv.Sessions(bare)) == 0 {
		e.peersMu.Lock()
		delete(e.peers, bare)
		e.peersMu.Unlock()
	}
}
