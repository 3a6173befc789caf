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
		ctx, cancel := xmpp.StoreContext()
		defer cancel()
		list, err := store.AccessClients(ctx, sess.JID().Local())
		if err != nil {
			return failed(log, iq, "clients not read", err)
		}
		return iq.Result(accessList(s.Sessions(sess.JID().Bare()), list))
	})
	h.IQ(xmpp.ToAccount, nsAccess, "revoke", func(sess *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
		if !own(sess, iq) || sess.Guest() || iq.Type != "set" {
			return iq.ErrorReply(stanza.ErrForbidden)
		}
		return revoke(s, store, log, sess, iq)
	})
}

// accessList is every client once: those with tokens, with their sessions where they have any, and the sessions of others.
func accessList(sessions []*xmpp.Session, tokens []AccessClient) *stanza.Element {
	out := stanza.NewElement(nsAccess, "clients")
	here := map[string]*xmpp.Session{}
	for _, x := range sessions {
		if id := x.Note(xmpp.NoteClient); id != "" {
			here[id] = x
		}
	}
	for _, c := range tokens {
		x := here[c.ID]
		out.Add(accessElement(c.ID, x, c.Issued, true))
		delete(here, c.ID)
	}
	for _, x := range sessions {
		if id := x.Note(xmpp.NoteClient); id == "" || here[id] == x {
			out.Add(accessElement(sessionID+x.JID().Resource(), x, time.Time{}, false))
		}
	}
	return out
}

// accessElement describes a client with or without a session. The time at which it was first seen is not known of sessions.
func accessElement(id string, x *xmpp.Session, since time.Time, token bool) *stanza.Element {
	state, now := "false", time.Now().UTC().Format(time.RFC3339)
	auth, agent := stanza.NewElement(nsAccess, "auth"), stanza.NewElement(nsAccess, "user-agent")
	if x != nil {
		state = "true"
		if x.Note(xmpp.NoteToken) == "" {
			auth.Add(stanza.NewElement(nsAccess, "password"))
		}
		software := x.Note(xmpp.NoteSoftware)
		if software == "" {
			software = x.JID().Resource()
		}
		agent.Add(stanza.TextElement(nsAccess, "software", software))
		if device := x.Note(xmpp.NoteDevice); device != "" {
			agent.Add(stanza.TextElement(nsAccess, "device", device))
		}
	}
	if token {
		auth.Add(stanza.NewElement(nsAccess, "fast"))
	}
	el := stanza.NewElement(nsAccess, "client", "connected", state, "id", id, "type", "session")
	if !since.IsZero() {
		el.Add(stanza.TextElement(nsAccess, "first-seen", since.UTC().Format(time.RFC3339)))
	}
	if x != nil {
		el.Add(stanza.TextElement(nsAccess, "last-seen", now))
	}
	return el.Add(auth, stanza.NewElement(nsAccess, "permission", "status", "unrestricted"), agent)
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
	ctx, cancel := xmpp.StoreContext()
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
