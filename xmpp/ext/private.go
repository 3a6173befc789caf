package ext

import (
	"context"
	"errors"
	"log/slog"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

const (
	nsPrivate         = "jabber:iq:private"
	maxPrivate        = 64 << 10 // bytes of one element: bookmarks of some hundred rooms
	maxPrivateEntries = 100      // elements of one account
)

// ErrFull is for who has too many entries already.
var ErrFull = errors.New("ext: too many entries")

// PrivateStore keeps private XML by element name. SetPrivate is durable before it returns nil; a new name beyond max is ErrFull.
type PrivateStore interface {
	Private(ctx context.Context, owner stanza.JID, name stanza.Name) (xml []byte, err error) // nil if there is none
	SetPrivate(ctx context.Context, owner stanza.JID, name stanza.Name, xml []byte, max int) error
}

// AttachPrivate lets clients keep XML of their own (XEP-0049).
func AttachPrivate(s *xmpp.Server, store PrivateStore, log *slog.Logger) {
	s.Hooks().Feature(xmpp.ToServer, nsPrivate)
	s.Hooks().Feature(xmpp.ToAccount, nsPrivate)
	s.Hooks().IQ(xmpp.ToAccount, nsPrivate, "query", func(sess *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
		switch {
		case !own(sess, iq):
			return iq.ErrorReply(stanza.ErrForbidden)
		case sess.Guest():
			return iq.ErrorReply(stanza.ErrNotAllowed.With("Guests have no storage"))
		}
		entries := iq.Child(nsPrivate, "query").Children()
		ctx, cancel := ioContext()
		defer cancel()
		if iq.Type == "set" {
			return setPrivate(ctx, store, log, iq, entries)
		}
		if len(entries) != 1 {
			return iq.ErrorReply(stanza.ErrBadRequest)
		}
		out := stanza.NewElement(entries[0].Space, entries[0].Local)
		b, err := store.Private(ctx, iq.From.Bare(), entries[0].Name)
		if err != nil {
			return failed(log, iq, "private XML not read", err)
		}
		if b != nil {
			if out, err = stanza.ParseElement(b); err != nil {
				return failed(log, iq, "private XML as stored", err)
			}
		}
		return iq.Result(stanza.NewElement(nsPrivate, "query").Add(out))
	})
}

func setPrivate(ctx context.Context, store PrivateStore, log *slog.Logger, iq *stanza.Stanza, entries []*stanza.Element) *stanza.Stanza {
	if len(entries) == 0 || len(entries) > maxPrivateEntries {
		return iq.ErrorReply(stanza.ErrBadRequest)
	}
	for _, e := range entries {
		b := e.AppendXML(nil, "")
		switch {
		case e.Space == "" || e.Space == nsPrivate || e.Space == stanza.NSClient:
			return iq.ErrorReply(stanza.ErrBadRequest.With("Private XML has a namespace of its own"))
		case len(b) > maxPrivate:
			return iq.ErrorReply(stanza.ErrPolicyViolation.With("That is too big"))
		}
		err := store.SetPrivate(ctx, iq.From.Bare(), e.Name, b, maxPrivateEntries)
		if errors.Is(err, ErrFull) {
			return iq.ErrorReply(stanza.ErrResourceConstraint.With("There are too many entries"))
		}
		if err != nil {
			return failed(log, iq, "private XML not stored", err)
		}
	}
	return iq.Result()
}
