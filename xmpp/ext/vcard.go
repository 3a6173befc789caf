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
	ForgetVCard(ctx context.Context, owner stanza.JID) error
}

// VCards are those of all accounts. Use AttachVCard.
type VCards struct {
	store VCardStore
	log   *slog.Logger

	// Changed, if set before serving, is told of a vcard that its owner has set.
	Changed func(owner stanza.JID, card *stanza.Element)
	// View, if set before serving, gives what asker may see of a card.
	View func(owner, asker stanza.JID, card *stanza.Element) *stanza.Element
	// Overlay, if set before serving, gives a card with what the organisation tells asker of its owner in place of what the owner says; card
	// is nil for who has set none, and so is the answer when there is nothing at all.
	Overlay func(owner, asker stanza.JID, card *stanza.Element) *stanza.Element
}

// AttachVCard lets people publish a vcard; everybody who knows the address may read it (XEP-0054 §3).
func AttachVCard(s *xmpp.Server, store VCardStore, log *slog.Logger) *VCards {
	v := &VCards{store: store, log: log}
	s.Hooks().Feature(xmpp.ToServer, nsVCard)
	s.Hooks().Feature(xmpp.ToAccount, nsVCard)
	s.Hooks().IQ(xmpp.ToAccount, nsVCard, "vCard", v.iq)
	return v
}

// Card is the vcard of an account, nil if it has none.
func (v *VCards) Card(owner stanza.JID) (*stanza.Element, error) {
	ctx, cancel := xmpp.StoreContext()
	defer cancel()
	b, err := v.store.VCard(ctx, owner)
	if err != nil || b == nil {
		return nil, err
	}
	return stanza.ParseElement(b)
}

// Forget removes the vcard of an account that is no more.
func (v *VCards) Forget(ctx context.Context, owner stanza.JID) error {
	return v.store.ForgetVCard(ctx, owner)
}

// Replace stores a vcard.
func (v *VCards) Replace(owner stanza.JID, card *stanza.Element) error {
	ctx, cancel := xmpp.StoreContext()
	defer cancel()
	return v.store.SetVCard(ctx, owner, card.AppendXML(nil, ""))
}

func (v *VCards) iq(sess *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
	if iq.Type == "set" {
		return v.set(sess, iq)
	}
	owner := iq.To.Bare()
	if iq.To.IsZero() {
		owner = iq.From.Bare()
	}
	card, err := v.Card(owner)
	if err == nil && v.Overlay != nil {
		card = v.Overlay(owner, iq.From, card)
	}
	switch {
	case err != nil:
		return failed(v.log, iq, "vcard not read", err)
	case card == nil && own(sess, iq):
		return iq.Result(stanza.NewElement(nsVCard, "vCard")) // §3.1: an empty one for oneself
	case card == nil:
		return iq.ErrorReply(stanza.ErrServiceUnavailable) // the same as for an account that does not exist
	}
	if v.View != nil && !own(sess, iq) {
		card = v.View(owner, iq.From, card)
	}
	return iq.Result(card)
}

func (v *VCards) set(s *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
	switch {
	case !own(s, iq):
		return iq.ErrorReply(stanza.ErrForbidden)
	case s.Guest():
		return iq.ErrorReply(stanza.ErrNotAllowed.With("Guests have no vcard"))
	}
	card := iq.Child(nsVCard, "vCard")
	if len(card.AppendXML(nil, "")) > maxVCard {
		return iq.ErrorReply(stanza.ErrPolicyViolation.With("The vcard is too big"))
	}
	if err := v.Replace(s.JID().Bare(), card); err != nil {
		return failed(v.log, iq, "vcard not stored", err)
	}
	if v.Changed != nil {
		v.Changed(s.JID().Bare(), card)
	}
	return iq.Result()
}
