package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// pinger sends requests of the server's own, pings (XEP-0199 §4.5) for one, to other servers and hears the answers.
type pinger struct {
	srv *xmpp.Server
	own stanza.JID // whom the answers are for; nobody can log in with it

	mu      sync.Mutex // guards waiting
	waiting map[string]chan *stanza.Stanza
}

// attachPinger adds one to s.
func attachPinger(s *xmpp.Server) *pinger {
	p := &pinger{srv: s, own: stanza.MustJID("konzil-" + strings.ToLower(rand.Text()) + "@" + s.Domain()), waiting: map[string]chan *stanza.Stanza{}}
	s.Hooks().AccountIQ(p.answer)
	return p
}

func (p *pinger) answer(iq *stanza.Stanza) bool {
	if iq.To.Bare() != p.own || iq.Type != "result" && iq.Type != "error" {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.waiting[iq.ID]; c != nil {
		delete(p.waiting, iq.ID)
		c <- iq
	}
	return true
}

// ping waits for the answer of a server, also one that does not know pings: it is there.
func (p *pinger) ping(ctx context.Context, peer stanza.JID) error {
	iq, err := p.ask(ctx, peer, stanza.NewElement("urn:xmpp:ping", "ping"))
	if err != nil {
		return err
	}
	e := iq.Child(stanza.NSClient, "error")
	for _, condition := range []string{"remote-server-not-found", "remote-server-timeout", "internal-server-error", "policy-violation", "not-allowed"} {
		if e.Child(stanza.NSStanzas, condition) != nil {
			return errors.New(strings.TrimSpace(condition + " " + e.Child(stanza.NSStanzas, "text").Text()))
		}
	}
	return nil
}

// ask waits for the answer of a server to a get.
func (p *pinger) ask(ctx context.Context, peer stanza.JID, payload *stanza.Element) (*stanza.Stanza, error) {
	id, c := rand.Text(), make(chan *stanza.Stanza, 1)
	p.mu.Lock()
	p.waiting[id] = c
	p.mu.Unlock()
	p.srv.Route(stanza.NewIQ("get", id, p.own, peer, payload))
	select {
	case iq := <-c:
		return iq, nil
	case <-ctx.Done():
		p.mu.Lock()
		delete(p.waiting, id)
		p.mu.Unlock()
		return nil, errors.New("no answer")
	}
}

// pingCommand is the part of `konzil check PEER` that the running server does.
func (s *server) pingCommand(ctx context.Context, args []string, out io.Writer) error {
	if len(args) != 1 {
		return errors.New("ping: name one server")
	}
	peer, err := stanza.ParseJID(args[0])
	if err != nil || peer.IsZero() {
		return fmt.Errorf("ping: %q is no server's name", args[0])
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime-5*time.Second)
	defer cancel()
	begin := time.Now()
	if err := s.pings.ping(ctx, peer); err != nil {
		if why := s.federation.Why(peer.Domain()); why != nil {
			return fmt.Errorf("%w: %w", err, why)
		}
		return err
	}
	took := time.Since(begin).Round(time.Millisecond)
	if !s.federation.Reached(peer.Domain()) {
		fmt.Fprintf(out, "%s answers in %v, on the stream that this server has opened (XEP-0288): that it can open one to here is not shown by that\n", peer, took)
		return nil
	}
	fmt.Fprintf(out, "%s answers in %v, and has connected to here\n", peer, took)
	return nil
}
