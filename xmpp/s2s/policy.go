package s2s

import (
	"strings"

	"konzil/xmpp/stanza"
)

// Modes of federation.
const (
	Open   = "open"   // everybody but who is denied
	Listed = "listed" // who is allowed
	Closed = "closed" // nobody
)

// Policy says with whom this server speaks.
type Policy struct {
	Mode  string   // Open, Listed, Closed; "" is Open
	Allow []string // domains; "*.example.org" is every domain below
	Deny  []string // domains, before Allow
	// Account tells whether somebody of this server may write to others; nil: all may.
	Account func(local stanza.JID) bool
}

// allows tells whether remote may be spoken with.
func (p *Policy) allows(remote string) bool {
	switch {
	case p.Mode == Closed || matches(p.Deny, remote):
		return false
	case p.Mode == Listed:
		return matches(p.Allow, remote)
	}
	return true
}

// allowsAccount tells whether a local address may exchange stanzas with other servers.
func (p *Policy) allowsAccount(j stanza.JID) bool {
	return p.Account == nil || j.Local() == "" || p.Account(j.Bare())
}

// Lists are what administrators add at run time: addresses of any form, a domain for all below it. With Only nobody else may be spoken with.
type Lists struct{ Refused, Only []stanza.JID }

// SetLists replaces the lists.
func (s *Service) SetLists(l Lists) { s.lists.Store(&l) }

// allows tells whether anything may be exchanged with an address elsewhere.
func (s *Service) allows(j stanza.JID) bool {
	l := s.lists.Load()
	return l == nil || !names(l.Refused, j) && (len(l.Only) == 0 || names(l.Only, j))
}

// names tells whether an entry is j, its bare address or its domain.
func names(list []stanza.JID, j stanza.JID) bool {
	for _, e := range list {
		if e == j || e == j.Bare() || e.Local() == "" && e.IsBare() && e.Domain() == j.Domain() {
			return true
		}
	}
	return false
}

func matches(list []string, domain string) bool {
	for _, l := range list {
		if l == domain {
			return true
		}
		if rest, ok := strings.CutPrefix(l, "*."); ok && strings.HasSuffix(domain, "."+rest) {
			return true
		}
	}
	return false
}
