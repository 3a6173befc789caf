package muc

import (
	"net/url"
	"strings"

	"konzil/xmpp/stanza"
)

const (
	nsMentions   = "urn:xmpp:mmn:0"
	nsReference  = "urn:xmpp:reference:0"
	nsForwarding = "urn:xmpp:forward:0"

	// maxMentions bounds the people who get one message for being mentioned in it.
	maxMentions = 20
)

// forwardMentions gives a message to the members that it mentions (XEP-0372) and that are not in the room (XEP-0452 §3.2). It goes after the message itself.
func (r *room) forwardMentions(said *stanza.Stanza) {
	inside := map[stanza.JID]bool{}
	for _, o := range r.order {
		inside[o.bare()] = true
	}
	for _, e := range said.Payload() {
		if e.Name != (stanza.Name{Space: nsReference, Local: "reference"}) || e.Attr("type") != "mention" {
			continue
		}
		who := r.mentioned(e.Attr("uri"))
		if who.IsZero() || inside[who] || r.affiliation(who) < member {
			continue
		}
		if inside[who] = true; len(inside) > len(r.order)+maxMentions {
			return
		}
		original := said.WithTo(r.jid).AsElement()
		r.send(stanza.NewMessage("", r.jid, stanza.JID{}, stanza.NewElement(nsMentions, "mentions").Add(
			stanza.NewElement(nsForwarding, "forwarded").Add(delay(r.jid, r.svc.now()), original))), who)
	}
}

// mentioned is the bare address that an xmpp: URI means: an address itself, or the occupant address of a registered nick (XEP-0045 §7.10). Zero: nobody's.
func (r *room) mentioned(uri string) stanza.JID {
	text, ok := strings.CutPrefix(uri, "xmpp:")
	if !ok {
		return stanza.JID{}
	}
	text, _, _ = strings.Cut(text, "?")
	if plain, err := url.PathUnescape(text); err == nil {
		text = plain
	}
	j, err := stanza.ParseJID(text)
	switch {
	case err != nil:
		return stanza.JID{}
	case j.Bare() == r.jid:
		return r.reserved[j.Resource()]
	}
	return j.Bare()
}
