package pool

import (
	"context"
	"errors"
	"strconv"
	"sync"

	"konzil/signaling/colibri"
	"konzil/xmpp/stanza"
)

const (
	nsMUC   = "http://jabber.org/protocol/muc"
	nsUser  = nsMUC + "#user"
	nsOwner = nsMUC + "#owner"
	nsData  = "jabber:x:data"
	nsPing  = "urn:xmpp:ping"
)

// maxBridges bounds the occupants of the brewery that are taken for bridges.
const maxBridges = 1000

// asks are the questions that wait for an answer.
type asks struct {
	mu   sync.Mutex // guards all below
	seq  uint64
	open map[string]asked
}

type asked struct {
	to     stanza.JID
	answer chan *stanza.Stanza // holds one
}

// Enter joins the brewery; the pool is mounted by then.
func (p *Pool) Enter() {
	p.router.Route(stanza.NewPresence("", p.cfg.Self, p.me, stanza.NewElement(nsMUC, "x").Add(stanza.NewElement(nsMUC, "history", "maxstanzas", "0"))))
}

// question sends an iq and waits for the answer.
func (p *Pool) question(ctx context.Context, to stanza.JID, payload *stanza.Element) (*stanza.Stanza, error) {
	a := asked{to, make(chan *stanza.Stanza, 1)}
	p.asks.mu.Lock()
	p.asks.seq++
	id := "p" + strconv.FormatUint(p.asks.seq, 36)
	if p.asks.open == nil {
		p.asks.open = map[string]asked{}
	}
	p.asks.open[id] = a
	p.asks.mu.Unlock()
	defer func() {
		p.asks.mu.Lock()
		delete(p.asks.open, id)
		p.asks.mu.Unlock()
	}()
	p.router.Route(stanza.NewIQ("get", id, p.cfg.Self, to, payload))
	select {
	case st := <-a.answer:
		return st, nil
	case <-ctx.Done():
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			p.count.timeouts.Add(1)
		}
		return nil, ctx.Err()
	}
}

// HandleStanza takes what the brewery sends. It never blocks.
func (p *Pool) HandleStanza(st *stanza.Stanza) {
	switch {
	case st.From.Bare() != p.cfg.Room:
		p.refuse(st)
	case st.Kind == stanza.Presence:
		p.presence(st)
	case st.Kind == stanza.IQ && (st.Type == "result" || st.Type == "error"):
		p.asks.mu.Lock()
		a, ok := p.asks.open[st.ID]
		p.asks.mu.Unlock()
		if ok && a.to == st.From {
			select {
			case a.answer <- st:
			default: // a second answer
			}
		}
	case st.Kind == stanza.Message:
		p.message(st)
	default:
		p.refuse(st)
	}
}

// message is what a bridge tells unasked.
func (p *Pool) message(st *stanza.Stanza) {
	meeting, relay, ok := colibri.ParseRelayLost(st)
	p.mu.Lock()
	r := p.remote[st.From]
	p.mu.Unlock()
	if ok && r != nil {
		p.relayLost(meeting, r, relay)
	}
}

// refuse answers an iq of others; a ping is answered, so that the room knows that we are there.
func (p *Pool) refuse(st *stanza.Stanza) {
	switch {
	case st.Kind != stanza.IQ || st.Type != "get" && st.Type != "set":
	case st.Has(nsPing, "ping"):
		p.router.Route(st.Result())
	default:
		p.router.Route(st.ErrorReply(stanza.ErrServiceUnavailable))
	}
}

// presence takes a bridge that comes, tells how it is, or goes.
func (p *Pool) presence(st *stanza.Stanza) {
	if nick := st.From.Resource(); nick == "" || nick == p.cfg.Nick {
		p.own(st)
		return
	}
	p.mu.Lock()
	r := p.remote[st.From]
	switch {
	case st.Type == "unavailable" && r != nil:
		delete(p.remote, st.From)
		p.mu.Unlock()
		p.log.Info("bridge left", "bridge", r.name())
		r.stop()
		p.lose(r)
		return
	case st.Type == "" && r == nil && len(p.remote) < maxBridges && p.ctx.Err() == nil:
		r = &remote{p: p, jid: st.From}
		var ctx context.Context
		ctx, r.stop = context.WithCancel(p.ctx)
		p.remote[st.From] = r
		p.wg.Go(func() { r.watch(ctx) })
		p.log.Info("bridge came", "bridge", r.name())
		r.state.read(st)
	case st.Type == "" && r != nil:
		r.state.read(st)
	}
	p.mu.Unlock()
}

// own takes the room's word about ourselves: a room that we have made has to be opened (XEP-0045 §10.1.2).
func (p *Pool) own(st *stanza.Stanza) {
	if st.Type == "error" {
		p.log.Error("the brewery does not let the focus in", "presence", st.String())
	}
	for _, s := range st.Child(nsUser, "x").ChildrenNamed(nsUser, "status") {
		if s.Attr("code") == "201" {
			form := stanza.NewElement(nsOwner, "query").Add(stanza.NewElement(nsData, "x", "type", "submit"))
			p.router.Route(stanza.NewIQ("set", "open", p.cfg.Self, p.cfg.Room, form))
		}
	}
}
