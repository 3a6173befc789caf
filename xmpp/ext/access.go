package ext

import (
	"context"
	"log/slog"
	"time"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

const nsAccess = "urn:xmpp:cam:0"

// sessionID begins the ids of clients that are known by a session alone; others have that of their user agent.
const sessionID = "session:"

// AccessClient is a client that can log in without the password (XEP-0484).
type AccessClient struct {
	ID     string // of its user agent
	Issued time.Time
}

// AccessStore knows those of an account.
type AccessStore interface {
	AccessClients(ctx context.Context, localpart string) ([]AccessClient, error)
	RevokeAccess(ctx context.Context, localpart, id string) error
}

// AttachAccess lets people see which clients have access to their account and take it away (XEP-0494). What got in with the password can come back with it.
func AttachAccess(s *xmpp.Server, store AccessStore, log *slog.Logger) {
	h := s.Hooks()
	h.Feature(xmpp.ToAccount, nsAccess)
	h.IQ(xmpp.ToAccount, nsAccess, "list", func(sess *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
		if !own(sess, iq) || sess.Guest() || iq.Type != "get" {
			return iq.ErrorReply(stanza.ErrForbidden)
		}
		ctx, cancel := ioContext()
		defer cancel()
		list, err := store.AccessClients(ctx, sess.JID().Local())
		if err != nil {
			return failed(log, iq, "clients not read", err)
		}
		out := stanza.NewElement(nsAccess, "clients")
		for _, x := range s.Sessions(sess.JID().Bare()) {
			out.Add(accessElement(sessionID+x.JID().Resource(), true, time.Time{}, "password", x.JID().Resource()))
		}
		for _, c := range list {
			out.Add(accessElement(c.ID, false, c.Issued, "fast", ""))
		}
		return iq.Result(out)
	})
	h.IQ(xmpp.ToAccount, nsAccess, "revoke", func(sess *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
		if !own(sess, iq) || sess.Guest() || iq.Type != "set" {
			return iq.ErrorReply(stanza.ErrForbidden)
		}
		return revoke(s, store, log, sess, iq)
	})
}

// accessElement describes a client. The time at which it was first seen is not known of sessions.
func accessElement(id string, connected bool, since time.Time, auth, software string) *stanza.Element {
	state := "false"
	if connected {
		state = "true"
	}
	el := stanza.NewElement(nsAccess, "client", "connected", state, "id", id, "type", "session")
	if !since.IsZero() {
		el.Add(stanza.TextElement(nsAccess, "first-seen", since.UTC().Format("2006-01-02T15:04:05Z")))
	}
	return el.Add(
		stanza.NewElement(nsAccess, "auth").Add(stanza.NewElement(nsAccess, auth)),
		stanza.NewElement(nsAccess, "permission", "status", "unrestricted"),
		stanza.NewElement(nsAccess, "user-agent").Add(stanza.TextElement(nsAccess, "software", software)))
}

// revoke takes the tokens of a client. One that is known by its session alone has the password: that has to be changed (XEP-0494 §3.2).
func revoke(s *xmpp.Server, store AccessStore, log *slog.Logger, sess *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
	id, owner := iq.Child(nsAccess, "revoke").Attr("id"), sess.JID()
	if id == "" {
		return iq.ErrorReply(stanza.ErrBadRequest)
	}
	for _, x := range s.Sessions(owner.Bare()) {
		if id == sessionID+x.JID().Resource() {
			return iq.ErrorReply(stanza.ErrServiceUnavailable.With("", stanza.NewElement(nsAccess, "password-reset-required")))
		}
	}
	ctx, cancel := ioContext()
	defer cancel()
	list, err := store.AccessClients(ctx, owner.Local())
	if err != nil {
		return failed(log, iq, "clients not read", err)
	}
	for _, c := range list {
		if c.ID != id {
			continue
		}
		if err := store.RevokeAccess(ctx, owner.Local(), id); err != nil {
			return failed(log, iq, "access not taken away", err)
		}
		return iq.Result()
	}
	return iq.ErrorReply(stanza.ErrItemNotFound)
}
