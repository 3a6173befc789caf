package main

import (
	"context"
	"crypto/x509"
	"net"
	"os"
	"strings"

	"konzil/internal/oops"
	"konzil/xmpp/s2s"
)

// FederationConfig is the exchange with other servers.
type FederationConfig struct {
	Mode               string   `yaml:"mode" doc:"open: everybody but deny; listed: allow alone; closed. Empty is open, and closed while domain is localhost or below .test, .local or .localhost."`
	Allow              []string `yaml:"allow" doc:"Domains to exchange messages with when mode is listed; *.example.org is every domain below."`
	Deny               []string `yaml:"deny" doc:"Domains never to exchange messages with."`
	Port               int      `yaml:"port" doc:"Other servers with STARTTLS; 0 is off."`
	TLSPort            int      `yaml:"tls_port" doc:"Other servers with direct TLS (XEP-0368); 0 is off."`
	RequireCertificate bool     `yaml:"require_certificate" doc:"Refuse servers without a valid certificate for their domain. Otherwise dialback (XEP-0220) will do, over TLS."`
	AllowPrivate       bool     `yaml:"allow_private" doc:"Connect to servers in private networks and on this machine."`
	RateBytesPerSec    int      `yaml:"rate_bytes_per_second" doc:"How fast one stream of another server may bring messages, bytes a second; a faster one is read more slowly."`
	CA                 string   `yaml:"ca" doc:"PEM file with further authorities whose certificates other servers may have. Empty: the system's alone."`
}

// mode is the one that holds.
func (c *Config) federation() string {
	if m := c.XMPP.Federation.Mode; m != "" {
		return m
	}
	for _, d := range []string{"localhost", "test", "local"} {
		if c.Domain == d || strings.HasSuffix(c.Domain, "."+d) {
			return s2s.Closed
		}
	}
	return s2s.Open
}

// openFederation makes the streams between servers.
func (s *server) openFederation(context.Context) error {
	f := s.cfg.XMPP.Federation
	secret, err := s.keptSecret("dialback-secret")
	if err != nil {
		return err
	}
	c := s2s.Config{
		TLS: s.certs.Config(), Resolver: s.cfg.resolver(), Secret: []byte(secret), Ledger: s.ledger, RequireCertificate: f.RequireCertificate, AllowPrivate: f.AllowPrivate,
		Policy: s2s.Policy{Mode: s.cfg.federation(), Allow: f.Allow, Deny: f.Deny}, Limits: s2s.DefaultLimits(),
	}
	c.Limits.RateBytes = f.RateBytesPerSec
	if f.CA != "" {
		pem, err := os.ReadFile(f.CA)
		if err != nil {
			return oops.File("xmpp.federation.ca", f.CA, "let this user read it", err)
		}
		if c.Roots, err = x509.SystemCertPool(); err != nil {
			c.Roots = x509.NewCertPool()
		}
		if !c.Roots.AppendCertsFromPEM(pem) {
			return oops.New("xmpp.federation.ca", f.CA+" holds no certificate", "give a PEM file", nil)
		}
	}
	if s.federation, err = s2s.New(c, s.xmpp, s.log.With("part", "federation")); err != nil {
		return err
	}
	s.xmpp.Remote(s.federation)
	s.onStop(func(ctx context.Context) { _ = s.federation.Shutdown(ctx) })
	return nil
}

// listener is one port on all addresses.
type listener struct {
	port    int
	setting string
	serve   func(net.Listener) error
}

func (s *server) federationListeners() []listener {
	if s.cfg.federation() == s2s.Closed {
		return nil
	}
	f := s.cfg.XMPP.Federation
	return []listener{{f.Port, "xmpp.federation.port", s.federation.ServeTCP}, {f.TLSPort, "xmpp.federation.tls_port", s.federation.ServeTLS}}
}
