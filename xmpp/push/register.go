package push

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"konzil/internal/store"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

const (
	nsPush   = "urn:xmpp:push:0"
	nsPubSub = "http://jabber.org/protocol/pubsub"
	nsData   = "jabber:x:data"

	maxClients = 20   // of one account: each message costs an iq for each of them
	maxNode    = 1024 // bytes
	maxOptions = 4096 // bytes of the form that is passed on
)

// errFull is for who has too many clients.
var errFull = errors.New("push: too many clients")

// client is one that wants to be woken.
type client struct {
	owner, service stanza.JID
	node, resource string
	options        []byte

	mu       sync.Mutex // guards all below
	waiting  string     // id of the iq that has no answer yet
	since    time.Time  // when it was sent
	again    bool       // more has come meanwhile
	messages int        // since the client was last there
	failures int        // in a row
}

// Service keeps the clients of all accounts. Use Attach.
type Service struct {
	srv *xmpp.Server
	db  *store.DB
	log *slog.Logger

	mu      sync.RWMutex // guards clients; the slices in it are replaced, not changed
	clients map[stanza.JID][]*client

	sent, failed, disabled, failures atomic.Uint64
}

// Attach adds push notifications to s. It goes after the archive, so that a message is seen once.
func Attach(s *xmpp.Server, db *store.DB, log *slog.Logger) (*Service, error) {
	p := &Service{srv: s, db: db, log: log, clients: map[stanza.JID][]*client{}}
	if err := p.load(); err != nil {
		return nil, err
	}
	h := s.Hooks()
	h.Feature(xmpp.ToAccount, nsPush)
	h.IQ(xmpp.ToAccount, nsPush, "enable", p.enable)
	h.IQ(xmpp.ToAccount, nsPush, "disable", p.disable)
	h.Inbound(p.inbound)
	h.AccountIQ(p.answer)
	h.Resumed(p.there)
	return p, nil
}

// Counters are numbers for metrics.
func (p *Service) Counters() map[string]uint64 {
	return map[string]uint64{"sent_total": p.sent.Load(), "failed_total": p.failed.Load(), "disabled_total": p.disabled.Load(), "store_errors_total": p.failures.Load()}
}

// load reads all clients: some hundred bytes each, and no question to the database for any message.
func (p *Service) load() error {
	ctx, cancel := xmpp.StoreContext()
	defer cancel()
	rows, err := p.db.Read().QueryContext(ctx, `SELECT owner, service, node, resource, options FROM push_clients`)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		c := &client{}
		var owner, service string
		if err := rows.Scan(&owner, &service, &c.node, &c.resource, &c.options); err != nil {
			return err
		}
		if c.owner, err = stanza.ParseJID(owner); err != nil {
			return err
		}
		if c.service, err = stanza.ParseJID(service); err != nil {
			return err
		}
		p.clients[c.owner] = append(p.clients[c.owner], c)
	}
	return rows.Err()
}

func (p *Service) of(owner stanza.JID) []*client {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.clients[owner]
}

// asked reads a request of one's own.
func asked(s *xmpp.Session, iq *stanza.Stanza) (el *stanza.Element, service stanza.JID, bad *stanza.Error) {
	el = iq.Payload()[0]
	service, err := stanza.ParseJID(el.Attr("jid"))
	switch {
	case s == nil || !iq.To.IsZero() && iq.To.Bare() != s.JID().Bare():
		bad = stanza.ErrForbidden
	case s.Guest():
		bad = stanza.ErrNotAllowed.With("Guests cannot be woken")
	case iq.Type != "set" || err != nil || service.IsZero() || len(el.Attr("node")) > maxNode:
		bad = stanza.ErrBadRequest
	}
	return el, service, bad
}

// enable is XEP-0357 §5.
func (p *Service) enable(s *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
	el, service, bad := asked(s, iq)
	if bad != nil {
		return iq.ErrorReply(bad)
	}
	c := &client{owner: s.JID().Bare(), service: service, node: el.Attr("node"), resource: s.JID().Resource()}
	if x := el.Child(nsData, "x"); x != nil {
		if c.options = x.AppendXML(nil, ""); len(c.options) > maxOptions {
			return iq.ErrorReply(stanza.ErrPolicyViolation.With("The form is too big"))
		}
	}
	err := p.change(c, true)
	if errors.Is(err, errFull) {
		return iq.ErrorReply(stanza.ErrResourceConstraint.With("Too many clients of this account want to be woken"))
	}
	return p.done(iq, err)
}

// disable is XEP-0357 §6: one node, or all of an app server.
func (p *Service) disable(s *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
	el, service, bad := asked(s, iq)
	if bad != nil {
		return iq.ErrorReply(bad)
	}
	for _, c := range p.of(s.JID().Bare()) {
		if c.service == service && (el.Attr("node") == "" || el.Attr("node") == c.node) {
			if err := p.change(c, false); err != nil {
				return p.done(iq, err)
			}
		}
	}
	return iq.Result()
}

func (p *Service) done(iq *stanza.Stanza, err error) *stanza.Stanza {
	if err != nil {
		p.failures.Add(1)
		p.log.Error("push registration not stored", "from", iq.From.String(), "err", err)
		return iq.ErrorReply(stanza.ErrInternal)
	}
	return iq.Result()
}

// change stores a client in place of one with the same node, or removes it.
func (p *Service) change(c *client, there bool) error {
	ctx, cancel := xmpp.StoreContext()
	defer cancel()
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []*client
	for _, o := range p.clients[c.owner] {
		if o.service != c.service || o.node != c.node {
			list = append(list, o)
		}
	}
	if there {
		if list = append(list, c); len(list) > maxClients {
			return errFull
		}
	}
	err := p.db.Write(ctx, func(tx *sql.Tx) (err error) {
		if there {
			_, err = tx.Exec(`INSERT OR REPLACE INTO push_clients (owner, service, node, resource, options) VALUES (?, ?, ?, ?, ?)`,
				c.owner.String(), c.service.String(), c.node, c.resource, c.options)
		} else {
			_, err = tx.Exec(`DELETE FROM push_clients WHERE owner = ? AND service = ? AND node = ?`, c.owner.String(), c.service.String(), c.node)
		}
		return err
	})
	if err != nil {
		return err
	}
	if len(list) == 0 {
		delete(p.clients, c.owner)
	} else {
		p.clients[c.owner] = list
	}
	return nil
}

// Forget removes all clients of an account.
func (p *Service) Forget(ctx context.Context, owner stanza.JID) error {
	err := p.db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`DELETE FROM push_clients WHERE owner = ?`, owner.String())
		return err
	})
	if err == nil {
		p.mu.Lock()
		delete(p.clients, owner)
		p.mu.Unlock()
	}
	return err
}
