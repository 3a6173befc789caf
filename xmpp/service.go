package xmpp

import (
	"context"
	"slices"
	"strings"

	"konzil/xmpp/stanza"
)

// Service domains hold the accounts of an installation's own parts: recorders, telephone gateways, bridges. They log in with a password and have
// nothing else of an account; to features they are like guests. A service domain may be mounted too: what is for none of its sessions goes
// to the handler.

// service tells whether domain is one of Config.Services.
func (s *Server) service(domain string) bool { return slices.Contains(s.cfg.Services, domain) }

// toService delivers to the sessions of a service account; false: it has none.
func (s *Server) toService(x *Session, st *stanza.Stanza, again bool) bool {
	if len(s.cfg.Services) == 0 || st.To.Local() == "" || !s.service(st.To.Domain()) || len(s.Sessions(st.To)) == 0 {
		return false
	}
	s.toAccount(x, st, again)
	return true
}

// serviceJID is the address that a name typed at a service domain stands for.
func (st *stream) serviceJID(user string) (stanza.JID, error) {
	return stanza.NewJID(strings.TrimSuffix(user, "@"+st.domain), st.domain, "")
}

// checkService is the password check of a service domain.
func (st *stream) checkService(_ context.Context, user, password string) (string, bool, error) {
	if st.srv.backoff.blocked(st.canonical(user), st.network()) {
		st.srv.count.authDelayed.Add(1)
		return "", false, errBackoff
	}
	j, err := st.serviceJID(user)
	return user, err == nil && j.Local() != "" && st.srv.cfg.ServiceLogin(j, password), nil
}
