package muc

import (
	"context"
	"crypto/sha1"
	"encoding/base64"
	"encoding/hex"
	"strings"

	"konzil/xmpp/stanza"
)

const nsVCardUpdate = "vcard-temp:x:update"

// vcardIQ is the vcard of the room, whose photo is its avatar (XEP-0486, XEP-0054). That of a temporary room is in memory (room.vcard). The room is locked,
// as for all of this file.
func (r *room) vcardIQ(st *stanza.Stanza) {
	switch {
	case r.meeting:
		r.fail(st, stanza.ErrServiceUnavailable)
	case st.Type == "get" && !r.mayLook(st.From):
		r.fail(st, stanza.ErrForbidden.With("Only members may look at this room"))
	case st.Type == "get" && !r.set.Persistent:
		r.answer(vcardResult(st, r.vcard))
	case st.Type == "get":
		r.later(func() { r.svc.reply(r.card(st)) })
	case r.affiliation(st.From.Bare()) < owner:
		r.fail(st, stanza.ErrForbidden.With("Only owners may set the avatar"))
	default:
		r.setVCard(st, st.Child(nsVCard, "vCard"))
	}
}

// card reads the vcard. The room is not locked.
func (r *room) card(st *stanza.Stanza) *stanza.Stanza {
	ctx, cancel := context.WithTimeout(context.Background(), r.svc.cfg.StoreTimeout)
	defer cancel()
	text, err := r.svc.store.VCard(ctx, r.jid.String())
	if err != nil {
		r.svc.count.storeErrors.Add(1)
		r.svc.log.Error("vcard of a room not read", "room", r.jid.String(), "err", err)
		return st.ErrorReply(stanza.ErrInternal)
	}
	return vcardResult(st, text)
}

// vcardResult answers st with a vcard, an empty one for nil.
func vcardResult(st *stanza.Stanza, text []byte) *stanza.Stanza {
	card, err := stanza.ParseElement(text)
	if err != nil {
		card = stanza.NewElement(nsVCard, "vCard")
	}
	return st.Result(card)
}

func (r *room) setVCard(st *stanza.Stanza, card *stanza.Element) {
	var text []byte
	hash := ""
	if card != nil && len(card.Children()) > 0 {
		text = card.AppendXML(nil, "")
		raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(card.Child(nsVCard, "PHOTO").Child(nsVCard, "BINVAL").Text()), ""))
		if err != nil || len(text) > r.svc.cfg.MaxVCard {
			r.fail(st, stanza.ErrNotAcceptable.With("The picture is too big or cannot be read"))
			return
		}
		if len(raw) > 0 {
			sum := sha1.Sum(raw) // what XEP-0153 §3 wants
			hash = hex.EncodeToString(sum[:])
		}
	}
	old := r.set
	r.set.Avatar = hash
	rec, result := r.record(false), st.Result()
	if !r.set.Persistent {
		r.vcard = text
	}
	r.stored(st, func(ctx context.Context, s Store) error {
		if err := s.SetVCard(ctx, rec.Room, text); err != nil {
			return err
		}
		return s.SaveRoom(ctx, rec)
	}, func() { r.svc.reply(result) })
	if old != r.set {
		r.tellConfig(old, r.logged())
		r.send(r.avatarPresence(), r.recipients...)
	}
}

// avatarPresence is how most clients see that a room has an avatar, or none any more (XEP-0153).
func (r *room) avatarPresence() *stanza.Stanza {
	return stanza.NewPresence("", r.jid, stanza.JID{}, stanza.NewElement(nsVCardUpdate, "x").Add(stanza.TextElement(nsVCardUpdate, "photo", r.set.Avatar)))
}

// mayLook tells who may see what describes a hidden room beyond its name.
func (r *room) mayLook(from stanza.JID) bool {
	return r.set.Public && !r.set.MembersOnly || r.sessions[from] != nil || r.affiliation(from.Bare()) >= member
}
