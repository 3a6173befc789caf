package ext

import (
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

const (
	nsCarbons = "urn:xmpp:carbons:2"
	nsForward = "urn:xmpp:forward:0"
	nsMUCUser = "http://jabber.org/protocol/muc#user"
	nsReceipt = "urn:xmpp:receipts"
	nsSID     = "urn:xmpp:sid:0"
)

type carbons struct{ srv *xmpp.Server }

// AttachCarbons gives clients that ask for it copies of what other clients of the account send and get (XEP-0280).
func AttachCarbons(s *xmpp.Server) {
	c := &carbons{s}
	h := s.Hooks()
	h.Feature(xmpp.ToServer, nsCarbons, "urn:xmpp:carbons:rules:0")
	h.Feature(xmpp.ToAccount, nsCarbons)
	for _, on := range []bool{true, false} {
		name := "disable"
		if on {
			name = "enable"
		}
		h.IQ(xmpp.ToAccount, nsCarbons, name, func(sess *xmpp.Session, iq *stanza.Stanza) *stanza.Stanza {
			switch {
			case !own(sess, iq):
				return iq.ErrorReply(stanza.ErrForbidden)
			case iq.Type != "set":
				return iq.ErrorReply(stanza.ErrBadRequest)
			}
			sess.SetNote(xmpp.NoteCarbons, map[bool]string{true: "on"}[on])
			return iq.Result()
		})
	}
	h.BindFeature(nsCarbons, func(x *xmpp.Session, asked *stanza.Element) *stanza.Element {
		if asked.Local == "enable" {
			x.SetNote(xmpp.NoteCarbons, "on")
		}
		return nil
	})
	h.Outbound(c.sent)
	h.Inbound(c.received)
}

func wants(s *xmpp.Session) bool { return s.Note(xmpp.NoteCarbons) != "" }

// conversational tells what people's clients say to each other besides words (§6.1): states, receipts, markers, encrypted words, corrections, reactions,
// calls, invitations to rooms.
func conversational(space string) bool {
	switch space {
	case nsChatStates, nsReceipt, "urn:xmpp:chat-markers:0", "eu.siacs.conversations.axolotl", "urn:xmpp:omemo:2", "urn:xmpp:openpgp:0",
		"urn:xmpp:eme:0", "urn:xmpp:message-correct:0", "urn:xmpp:message-retract:1", "urn:xmpp:reactions:0", "urn:xmpp:jingle-message:0",
		"jabber:x:conference":
		return true
	}
	return false
}

// eligible are messages of a conversation between two people (§6.1): chat, any with words or what goes with them, also where such a message comes back
// as an error, and invitations to rooms; nothing else of rooms, nothing private.
func eligible(st *stanza.Stanza) bool {
	if st.Kind != stanza.Message || st.Has(nsCarbons, "private") || st.Has(nsHints, "no-copy") || st.Has(nsCarbons, "sent") || st.Has(nsCarbons, "received") {
		return false
	}
	if x := st.Child(nsMUCUser, "x"); x != nil && (st.Type == "error" || x.Child(nsMUCUser, "invite") == nil) {
		return false
	}
	switch st.Type {
	case "chat":
		return true
	case "groupchat", "headline":
		return false
	}
	for _, n := range st.Names { // normal, also by an unknown name (RFC 6121 §5.2.2), and error
		if n == (stanza.Name{Space: stanza.NSClient, Local: "body"}) || n.Space == nsMUCUser || conversational(n.Space) {
			return true
		}
	}
	return false
}

// sent copies what a client sends to the others of its account (§8). Forged copies are gone: the server takes them out of messages.
func (c *carbons) sent(s *xmpp.Session, st *stanza.Stanza) bool {
	if st.Kind != stanza.Message {
		return false
	}
	bare := s.JID().Bare()
	if !eligible(st) || st.To.IsZero() || st.To.Bare() == bare { // to oneself: received will do
		return false
	}
	var copied *stanza.Stanza
	for _, other := range c.srv.Sessions(bare) {
		if other != s && wants(other) {
			if copied == nil {
				copied = wrap("sent", st, bare)
			}
			other.Send(copied.WithTo(other.JID()))
		}
	}
	return false
}

// received copies what one client gets to the others of the account (§7). Where nobody gets it now, it waits for all.
func (c *carbons) received(st *stanza.Stanza) bool {
	if !eligible(st) || st.Type == "error" && c.srv.Session(st.To) == nil { // such an error is dropped
		return false
	}
	bare := st.To.Bare()
	all := c.srv.Sessions(bare)
	if len(all) < 2 {
		return false
	}
	getting := recipients(all, st.To)
	if len(getting) == 0 {
		return false
	}
	var copied *stanza.Stanza
	for _, other := range all {
		if getting[other] || !wants(other) || other.JID() == st.From {
			continue
		}
		if copied == nil {
			copied = wrap("received", st, bare)
		}
		other.Send(copied.WithTo(other.JID()))
	}
	return false
}

// recipients are the sessions that the server will give a message for to (RFC 6121 §8.5): the one with that address, or those of the highest
// priority.
func recipients(all []*xmpp.Session, to stanza.JID) map[*xmpp.Session]bool {
	out := map[*xmpp.Session]bool{}
	best := 0
	for _, s := range all {
		if s.JID() == to {
			return map[*xmpp.Session]bool{s: true}
		}
		p := s.Priority()
		switch {
		case s.Presence() == nil || p < best:
		case p > best:
			best = p
			out = map[*xmpp.Session]bool{s: true}
		default:
			out[s] = true
		}
	}
	return out
}

// wrap makes the copy (§7, XEP-0297): from the own bare address, which is how clients know that it is honest. What it remembers of the message keeps it from coming
// twice when a kill has come between, and the message is sent again.
func wrap(kind string, st *stanza.Stanza, bare stanza.JID) *stanza.Stanza {
	m := st.AsElement()
	if id := st.Archive(); id != "" && kind == "sent" { // by which the own archive has it (XEP-0313 §5.1.2)
		m.Add(stanza.NewElement(nsSID, "stanza-id", "by", bare.String(), "id", id))
	}
	el := stanza.NewElement(nsCarbons, kind).Add(stanza.NewElement(nsForward, "forwarded").Add(m))
	return stanza.NewMessage(st.Type, bare, stanza.JID{}, el).WithArchive(st.Archive(), stanza.JID{}).WithOrigin(st.Origin()).Part()
}
