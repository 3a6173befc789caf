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

// Allows tells whether remote may be spoken with.
func (p *Policy) Allows(remote string) bool {
	switch {
	case p.Mode == Closed || matches(p.Deny, remote):
		return false
	case p.Mode == Listed:
		return matches(p.Allow, remote)
	}
	return true
}

// AllowsAccount tells whether a local address may exchange stanzas with other servers.
func (p *Policy) AllowsAccount(j stanza.JID) bool {
	return p.Account == nil || j.Local() == "" || p.Account(j.Bare())
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
