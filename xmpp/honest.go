package xmpp

import (
	"strings"

	"konzil/xmpp/stanza"
)

const (
	nsSID        = "urn:xmpp:sid:0"
	nsOccupantID = "urn:xmpp:occupant-id:0"
	nsMAMPrefix  = "urn:xmpp:mam:"
)

// honest takes from a client's message the children by which only a server speaks, since clients have believed them: copies of carbons
// (CVE-2017-5589), results of an archive, ids and delays given by an address that is ours (XEP-0359 §6, XEP-0203 §5), ids of a room's occupants
// (XEP-0421 §4). What is wrapped deeper stays: it is quoted, not said.
func (s *Server) honest(st *stanza.Stanza) *stanza.Stanza {
	return s.without(st, func(e *stanza.Element) bool { return s.forged(st, e) })
}

// without leaves out suspicious children that are forged.
func (s *Server) without(st *stanza.Stanza, forged func(*stanza.Element) bool) *stanza.Stanza {
	suspect := false
	for _, n := range st.Names {
		suspect = suspect || suspicious(n)
	}
	if !suspect {
		return st
	}
	kept := make([]*stanza.Element, 0, len(st.Names))
	dropped := 0
	for _, e := range st.Payload() {
		if suspicious(e.Name) && forged(e) {
			dropped++
		} else {
			kept = append(kept, e)
		}
	}
	if dropped == 0 {
		return st
	}
	s.count.forged.Add(int64(dropped))
	return st.WithPayload(kept...)
}

// honestRemote is honest for what comes from another server: its rooms and archives may speak as rooms and archives do.
func (s *Server) honestRemote(st *stanza.Stanza) *stanza.Stanza {
	return s.without(st, func(e *stanza.Element) bool {
		if e.Space == nsOccupantID || strings.HasPrefix(e.Space, nsMAMPrefix) {
			return false
		}
		return s.forged(st, e)
	})
}

// suspicious names have to be looked at.
func suspicious(n stanza.Name) bool {
	switch n.Space {
	case nsCarbons:
		return n.Local == "sent" || n.Local == "received"
	case nsSID:
		return n.Local == "stanza-id"
	case nsDelay, nsOccupantID:
		return true
	}
	return n.Local == "result" && strings.HasPrefix(n.Space, nsMAMPrefix)
}

// forged tells, of a suspicious child, whether it speaks for somebody else. A client may say that its own message is late.
func (s *Server) forged(st *stanza.Stanza, e *stanza.Element) bool {
	switch e.Space {
	case nsSID:
		by, err := stanza.ParseJID(e.Attr("by"))
		return err == nil && s.serves(by.Domain())
	case nsDelay:
		from, err := stanza.ParseJID(e.Attr("from"))
		if err != nil || from.IsZero() || from.Bare() == st.From.Bare() {
			return false
		}
		return from.Bare() == st.To.Bare() || from.Local() == "" && s.serves(from.Domain())
	}
	return true
}

// serves tells whether a domain is one of ours, mounted ones included.
func (s *Server) serves(domain string) bool { return s.local(domain) || s.handler(domain) != nil }
