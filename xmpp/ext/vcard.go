package ext

import (
	"context"
	"log/slog"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

const (
	nsVCard  = "vcard-temp"
	maxVCard = 128 << 10 // bytes; a photo is the most of it
)

// VCardStore keeps vcards. SetVCard is durable before it returns nil.
type VCardStore interface {
	VCard(ctx context.Context, owner stanza.JID) (xml []byte, err error) // nil if there is none
	SetVCard(ctx context.Context, owner stanza.JID, xml []byte) error
}

// AttachVCard lets people publish a vcard; everybody who knows the address may read it (XEP-0054 §3).
func AttachVCard(s *xmpp.Server, store VCardStore, log *slog.Logger) {
	s.Hooks().Feature(xmpp.ToServer, nsVCard)
	s.Hooks().Feature(xmpp.ToAccount, nsVCard)
	s.Hooks().IQ(xmpp.ToAccount, nsVCard, "vCard", func(sess *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
		owner := iq.To.Bare()
		if iq.To.IsZero() {
			owner = iq.From.Bare()
		}
		ctx, cancel := ioContext()
		defer cancel()
		if iq.Type == "set" {
			return setVCard(ctx, store, log, sess, iq)
		}
		b, err := store.VCard(ctx, owner)
		if err != nil {
			return failed(log, iq, "vcard not read", err)
		}
		if b == nil {
			if own(sess, iq) {
				return iq.Result(stanza.NewElement(nsVCard, "vCard")) // §3.1: an empty one for oneself
			}
			return iq.ErrorReply(stanza.ErrServiceUnavailable) // the same as for an account that does not exist
		}
		card, err := stanza.ParseElement(b)
		if err != nil {
			return failed(log, iq, "vcard as stored", err)
		}
		return iq.Result(card)
	})
}

func setVCard(ctx context.Context, store VCardStore, log *slog.Logger, s *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
	switch {
	case !own(s, iq):
		return iq.ErrorReply(stanza.ErrForbidden)
	case s.Guest():
		return iq.ErrorReply(stanza.ErrNotAllowed.With("Guests have no vcard"))
	}
	b := iq.Child(nsVCard, "vCard").AppendXML(nil, "")
	if len(b) > maxVCard {
		return iq.ErrorReply(stanza.ErrPolicyViolation.With("The vcard is too big"))
	}
	if err := store.SetVCard(ctx, s.JID().Bare(), b); err != nil {
		return failed(log, iq, "vcard not stored", err)
	}
	return iq.Result()
}
