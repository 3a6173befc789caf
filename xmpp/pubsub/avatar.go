package pubsub

import (
	"crypto/sha1" // XEP-0084 §4 and XEP-0153 §3 name images by it
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"

	"konzil/internal/cache"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

const (
	nodeAvatar     = "urn:xmpp:avatar:metadata"
	nodeAvatarData = "urn:xmpp:avatar:data"
	nsVCard        = "vcard-temp"
	nsVCardUpdate  = "vcard-temp:x:update"
)

// maxHashes is how many accounts' hashes stay in memory; above, all are forgotten and read again.
const maxHashes = 50_000

// VCards is where vcards are.
type VCards interface {
	Card(owner stanza.JID) (*stanza.Element, error) // nil if there is none
	Replace(owner stanza.JID, card *stanza.Element) error
}

// Avatars keeps the avatar of an account (XEP-0084) and the photo of its vcard the same (XEP-0398), and puts its hash into the presence of its clients
// (XEP-0153), so that a client need not know which of the two others use.
type Avatars struct {
	e      *Engine
	cards  VCards
	hashes *cache.Cache[stanza.JID, avatarHash]
}

// avatarHash is what goes into presence: nothing if unset, and an empty one says that there is no avatar any more.
type avatarHash struct {
	set  bool
	text string
}

// AttachAvatars starts it, before serving.
func (e *Engine) AttachAvatars(cards VCards) *Avatars {
	a := &Avatars{e: e, cards: cards, hashes: cache.New[stanza.JID, avatarHash](maxHashes)}
	e.Changed(nodeAvatar, a.published)
	h := e.srv.Hooks()
	h.Feature(xmpp.ToAccount, "urn:xmpp:pep-vcard-conversion:0")
	h.Presence(a.stamp)
	return a
}

// hash is that of the account's avatar.
func (a *Avatars) hash(owner stanza.JID) avatarHash {
	h, ok := a.hashes.Get(owner)
	if ok {
		return h
	}
	items, err := a.e.Items(owner, nodeAvatar, 1)
	if err == nil && len(items) > 0 {
		h = avatarHash{true, chosen(&items[0]).Attr("id")}
	} else if err == nil {
		var card *stanza.Element
		if card, err = a.cards.Card(owner); err == nil && card != nil { // a photo of a time before avatars
			if _, _, text := photo(card); text != "" {
				h = avatarHash{true, text}
				a.convert(owner, card)
			}
		}
	}
	if err != nil {
		a.e.failed("avatar not read", owner, err)
		return avatarHash{}
	}
	a.hashes.Put(owner, h)
	return h
}

// stamp puts the hash into an available presence that has none (XEP-0398 §4).
func (a *Avatars) stamp(s *xmpp.Session, st *stanza.Stanza) *stanza.Stanza {
	if s.Guest() || st.Type != "" || st.Child(nsVCardUpdate, "x").Child(nsVCardUpdate, "photo").Text() != "" {
		return st
	}
	if h := a.hash(s.JID().Bare()); h.set {
		return stamped(st, h.text)
	}
	return st
}

// stamped is st with that hash and no other.
func stamped(st *stanza.Stanza, hash string) *stanza.Stanza {
	x := stanza.NewElement(nsVCardUpdate, "x").Add(stanza.TextElement(nsVCardUpdate, "photo", hash))
	if !st.Has(nsVCardUpdate, "x") {
		return st.WithAdded(x)
	}
	var kept []*stanza.Element
	for _, c := range st.Payload() {
		if c.Name != x.Name {
			kept = append(kept, c)
		}
	}
	return st.WithPayload(append(kept, x)...)
}

// announce shows a changed hash to everybody who sees the presence of the account.
func (a *Avatars) announce(owner stanza.JID, hash string) {
	a.hashes.Put(owner, avatarHash{true, hash})
	for _, s := range a.e.srv.Sessions(owner) {
		s.Renew(func(p *stanza.Stanza) *stanza.Stanza { return stamped(p, hash) })
	}
}

// published takes an avatar into the vcard (XEP-0398 §3.1).
func (a *Avatars) published(owner stanza.JID) {
	if err := a.toCard(owner); err != nil {
		a.e.failed("avatar not taken into the vcard", owner, err)
	}
}

func (a *Avatars) toCard(owner stanza.JID) error {
	items, err := a.e.Items(owner, nodeAvatar, 1)
	if err != nil {
		return err
	}
	var info *stanza.Element
	if len(items) > 0 {
		info = chosen(&items[0])
	}
	card, err := a.cards.Card(owner)
	if err != nil {
		return err
	}
	var pic *stanza.Element
	id := info.Attr("id")
	if id != "" {
		it, err := a.e.item(owner, nodeAvatarData, id)
		if err != nil || it == nil { // it is somewhere else, or comes later
			return err
		}
		el, err := stanza.ParseElement(it.XML)
		if err != nil {
			return err
		}
		pic = stanza.NewElement(nsVCard, "PHOTO").Add(
			stanza.TextElement(nsVCard, "TYPE", info.Attr("type")), stanza.TextElement(nsVCard, "BINVAL", compact(el.Text())))
	}
	if _, _, have := photo(card); have != id {
		changed := stanza.NewElement(nsVCard, "vCard")
		for _, c := range card.Children() {
			if c.Local != "PHOTO" {
				changed.Add(c)
			}
		}
		if err := a.cards.Replace(owner, changed.Add(pic)); err != nil {
			return err
		}
	}
	a.announce(owner, id)
	return nil
}

// chosen is the image that goes into the vcard: one that is at the account itself, a PNG if there is one (XEP-0084 §4.2.1); nil: none.
func chosen(it *Item) *stanza.Element {
	el, err := stanza.ParseElement(it.XML)
	if err != nil {
		return nil
	}
	var best *stanza.Element
	for _, info := range el.ChildrenNamed(nodeAvatar, "info") {
		if info.Attr("url") == "" && info.Attr("id") != "" && (best == nil || best.Attr("type") != "image/png" && info.Attr("type") == "image/png") {
			best = info
		}
	}
	return best
}

// CardSet takes the photo of a vcard that a client has set (XEP-0398 §3.2).
func (a *Avatars) CardSet(owner stanza.JID, card *stanza.Element) {
	before := a.hash(owner)
	if hash := a.convert(owner, card); hash != before.text {
		a.announce(owner, hash)
	}
}

// convert publishes the photo of a vcard, or that there is none; it gives its hash.
func (a *Avatars) convert(owner stanza.JID, card *stanza.Element) string {
	typ, image, hash := photo(card)
	items, err := a.e.Items(owner, nodeAvatar, 1)
	now := ""
	if err == nil && len(items) > 0 {
		now = chosen(&items[0]).Attr("id")
	}
	if err == nil && now != hash {
		cfg := defaults(true, nodeAvatar)
		cfg.Access = accessOpen // as the vcard is
		meta := stanza.NewElement(nodeAvatar, "metadata")
		if hash != "" {
			data := stanza.TextElement(nodeAvatarData, "data", base64.StdEncoding.EncodeToString(image))
			if err = a.e.Publish(owner, nodeAvatarData, hash, data, cfg); err == nil {
				meta.Add(stanza.NewElement(nodeAvatar, "info", "id", hash, "type", typ, "bytes", strconv.Itoa(len(image))))
			}
		}
		if err == nil {
			err = a.e.Publish(owner, nodeAvatar, hash, meta, cfg)
		}
	}
	if err != nil {
		a.e.failed("photo of the vcard not published", owner, err)
	}
	return hash
}

// Card is the vcard as asker may see it: without the photo if the avatar is not for him.
func (a *Avatars) Card(owner, asker stanza.JID, card *stanza.Element) *stanza.Element {
	if card.Child(nsVCard, "PHOTO") == nil || !a.e.hasNode(owner, nodeAvatar) || a.e.readable(owner, nodeAvatar, asker) {
		return card
	}
	out := stanza.NewElement(nsVCard, "vCard")
	for _, c := range card.Children() {
		if c.Local != "PHOTO" {
			out.Add(c)
		}
	}
	return out
}

// photo is the image of a vcard and its hash; "" if there is none that can be read.
func photo(card *stanza.Element) (typ string, image []byte, hash string) {
	p := card.Child(nsVCard, "PHOTO")
	image, err := base64.StdEncoding.DecodeString(compact(p.Child(nsVCard, "BINVAL").Text()))
	if err != nil || len(image) == 0 {
		return "", nil, ""
	}
	if typ = p.Child(nsVCard, "TYPE").Text(); typ == "" {
		typ = "image/png"
	}
	sum := sha1.Sum(image)
	return typ, image, hex.EncodeToString(sum[:])
}

// compact takes out the line ends that some clients put into base64.
func compact(s string) string { return strings.Join(strings.Fields(s), "") }
