package muc

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"konzil/xmpp/stanza"
)

const (
	nsHats = "urn:xmpp:hats:0"

	// maxHats bounds the hats of a room: each presence carries those that its occupant wears.
	maxHats = 50
	// maxHatURI bounds the name of a hat, in bytes; its title is bounded as nicks are.
	maxHatURI = 512
)

// Hat is a role beyond those of XEP-0045 that all see (XEP-0317), such as lecturer or tutor. Hue is the angle of its colour in degrees, "" for none.
type Hat struct {
	URI   string `json:"uri"`
	Title string `json:"title"`
	Hue   string `json:"hue,omitempty"`
}

// hatRack is the hats that a room has of its own, in the order in which they were made, and the URIs of those that people wear, by bare address.
type hatRack struct {
	Hats []Hat               `json:"hats,omitempty"`
	Worn map[string][]string `json:"worn,omitempty"`
}

func (k *hatRack) find(uri string) int {
	return slices.IndexFunc(k.Hats, func(h Hat) bool { return h.URI == uri })
}

// of are the room's own hats that somebody wears.
func (k *hatRack) of(bare stanza.JID) (out []Hat) {
	if len(k.Worn) == 0 {
		return nil
	}
	worn := k.Worn[bare.String()]
	for _, h := range k.Hats {
		if slices.Contains(worn, h.URI) {
			out = append(out, h)
		}
	}
	return out
}

// take removes a hat of somebody; false: it was not worn.
func (k *hatRack) take(bare, uri string) bool {
	i := slices.Index(k.Worn[bare], uri)
	if i < 0 {
		return false
	}
	if left := slices.Delete(slices.Clone(k.Worn[bare]), i, i+1); len(left) > 0 {
		k.Worn[bare] = left
	} else {
		delete(k.Worn, bare)
	}
	return true
}

// hash stands for the list of hats in disco#info (XEP-0317 §3), "" when there are none.
func (k *hatRack) hash() string {
	if len(k.Hats) == 0 {
		return ""
	}
	sum := sha256.New()
	for _, h := range k.Hats {
		sum.Write([]byte(h.URI + "\x00" + h.Title + "\x00" + h.Hue + "\x00"))
	}
	return hex.EncodeToString(sum.Sum(nil)[:20])
}

// hats are those of a person in this room, those of the server first, nil for none. What clients say of their own hats is taken out by clean. The room
// is locked.
func (r *room) hats(bare stanza.JID) *stanza.Element {
	var list []Hat
	if r.svc.cfg.Hats != nil {
		list = r.svc.cfg.Hats(r.jid, bare)
	}
	list = append(list, r.rack.of(bare)...)
	if len(list) == 0 {
		return nil
	}
	el := stanza.NewElement(nsHats, "hats")
	for _, h := range list {
		el.Add(stanza.NewElement(nsHats, "hat", "uri", h.URI, "title", h.Title, "hue", h.Hue))
	}
	return el
}

// RefreshHats shows the hats of a person anew wherever it is inside, after what Config.Hats says of it has changed.
func (s *Service) RefreshHats(bare stanza.JID) {
	for _, r := range s.all() {
		r.mu.Lock()
		r.showHats(func(j stanza.JID) bool { return j == bare })
		r.flush()
	}
}

// showHats tells all inside of the hats that those chosen wear now (XEP-0317 §4). The room is locked.
func (r *room) showHats(chosen func(bare stanza.JID) bool) {
	for _, o := range r.order {
		if bare := o.bare(); chosen(bare) {
			o.hats = r.hats(bare)
			r.announce(o, o.jids(), r.presenceOf(o))
		}
	}
}
