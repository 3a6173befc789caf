package main

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"konzil/internal/auth"
	"konzil/internal/certs"
	"konzil/internal/check"
	"konzil/internal/control"
	"konzil/xmpp/s2s"
)

// checkTime bounds a question to the running server or to the web.
const checkTime = 30 * time.Second

// checkup is `konzil check`: what the configuration needs of the world, and whether it is there. args may name another server to exchange a ping
// with, or say config for the configuration alone.
func checkup(ctx context.Context, c Config, args []string, out io.Writer) error {
	fmt.Fprintln(out, "the configuration is fine")
	if len(args) > 0 && args[0] == "config" || c.Domain == "localhost" {
		return nil
	}
	p := c.plan()
	if len(args) > 0 {
		p.More = append(p.More, check.Part{Name: "Federation", Run: func(ctx context.Context, r *check.Report) { c.checkFederation(ctx, r, args[0]) }})
	}
	return p.Run(ctx, out)
}

// plan is what is to be looked at.
func (c *Config) plan() *check.Plan {
	p := &check.Plan{
		Domain: c.dnsName(), Host: c.host(), Open: c.federation() != s2s.Closed, Listen: c.Listen, Public: c.Media.Advertise,
		Ports: c.ports(), Records: c.records(), Resolver: c.resolver(), Now: time.Now(),
	}
	if p.Open {
		p.Below = c.below()
	}
	if u, err := url.Parse(c.publicURL()); err == nil && c.HTTP.Port != 0 && u.Hostname() != p.Domain {
		p.Web = append(p.Web, u.Hostname())
	}
	if host := cmp.Or(c.TURN.Host, c.host()); c.TURN.Port != 0 && c.TURN.TLSPort != 0 && host != p.Domain && !slices.Contains(p.Web, host) {
		p.Web = append(p.Web, host)
	}
	if c.TLS.ACME.Enabled() && c.TLS.ACME.Directory == certs.DefaultACMEConfig().Directory {
		p.CAA = "letsencrypt.org"
	}
	p.Proven = c.TLS.ACME.Enabled()
	source, err := c.shownCertificate()
	p.CertAdvice = "set tls.cert and tls.key, or tls.acme.email to get one"
	if c.TLS.ACME.Enabled() {
		p.CertAdvice = "let the server run with the records set and port " + strconv.Itoa(c.TLS.ACME.HTTPPort) + " open: it asks the authority at its start, so restart it when you have changed something, and tries again later; its log tells what the authority says"
	}
	if p.CertError = err; err == nil {
		p.Certificate = source.Certificate()
		p.SelfSigned = p.Certificate.Leaf.Subject.CommonName == certs.SelfSignedName
	}
	if ca := c.XMPP.Federation.CA; ca != "" {
		if pem, err := os.ReadFile(ca); err == nil { // serving tells if not
			if p.Roots, err = x509.SystemCertPool(); err != nil {
				p.Roots = x509.NewCertPool()
			}
			p.Roots.AppendCertsFromPEM(pem)
		}
	}
	if c.HTTP.Port != 0 {
		p.More = append(p.More, check.Part{Name: "Web", Run: func(ctx context.Context, r *check.Report) { c.checkWeb(ctx, r, p) }})
	}
	if c.Auth.LDAP.Enabled() {
		p.More = append(p.More, check.Part{Name: "Directory", Run: c.checkDirectory})
	}
	return p
}

// shownCertificate is the one that the server shows, without anything being made or asked for.
func (c *Config) shownCertificate() (*certs.Source, error) {
	log := logger(LogConfig{Level: "error"}, io.Discard)
	switch {
	case c.TLS.Cert != "":
		return certs.Load(c.TLS.Cert, c.TLS.Key, log)
	case c.TLS.ACME.Enabled():
		return certs.LoadACME(c.Data, log)
	}
	return certs.LoadSelfSigned(c.Data, log)
}

// ports are those that the world connects to.
func (c *Config) ports() []check.Port {
	out := []check.Port{
		{Setting: "xmpp.port", What: "clients with STARTTLS", Number: c.XMPP.Port, Kind: check.ClientStartTLS},
		{Setting: "xmpp.tls_port", What: "clients with TLS", Number: c.XMPP.TLSPort, Kind: check.TLS, ALPN: "xmpp-client"},
	}
	if c.federation() != s2s.Closed {
		out = append(out,
			check.Port{Setting: "xmpp.federation.port", What: "servers with STARTTLS", Number: c.XMPP.Federation.Port, Kind: check.ServerStartTLS},
			check.Port{Setting: "xmpp.federation.tls_port", What: "servers with TLS", Number: c.XMPP.Federation.TLSPort, Kind: check.TLS, ALPN: "xmpp-server"})
	}
	out = append(out,
		check.Port{Setting: "http.port", What: "meeting page, WebSocket, files", Number: c.HTTP.Port, Kind: check.TLS},
		check.Port{Setting: "turn.port", What: "TURN over UDP", Number: c.TURN.Port, Kind: check.STUN},
		check.Port{Setting: "turn.port", What: "TURN over TCP", Number: c.TURN.Port, Kind: check.Plain})
	if c.TURN.Port != 0 {
		out = append(out, check.Port{Setting: "turn.tls_port", What: "TURN over TLS", Number: c.TURN.TLSPort, Kind: check.TLS})
	}
	if c.Proxy.Port != 0 {
		out = append(out, check.Port{Setting: "proxy.port", What: "file proxy", Number: c.Proxy.Port, Kind: check.Plain})
	}
	if c.TLS.ACME.Enabled() {
		out = append(out, check.Port{Setting: "tls.acme.http_port", What: "the authority's questions", Number: c.TLS.ACME.HTTPPort, Kind: check.Plain})
	}
	return out
}

// records are those that lead people here (RFC 6120 §3.2.1, XEP-0368, RFC 5928).
func (c *Config) records() (out []check.Record) {
	srv := func(name string, port int, must bool, why string) {
		if port != 0 {
			out = append(out, check.Record{Name: name, Type: "SRV", Value: fmt.Sprintf("0 5 %d %s.", port, c.host()), Must: must, Why: why})
		}
	}
	srv("_xmpp-client._tcp."+c.dnsName(), c.XMPP.Port, true, "clients do not find the server")
	srv("_xmpps-client._tcp."+c.dnsName(), c.XMPP.TLSPort, true, "clients behind strict firewalls do not find the server")
	if c.federation() != s2s.Closed {
		f := c.XMPP.Federation
		srv("_xmpp-server._tcp."+c.dnsName(), f.Port, true, "other servers do not find this one")
		srv("_xmpps-server._tcp."+c.dnsName(), f.TLSPort, true, "other servers cannot connect with TLS from the first byte")
		for _, d := range c.below() {
			srv("_xmpp-server._tcp."+d, f.Port, true, "people of other servers cannot use "+d)
			srv("_xmpps-server._tcp."+d, f.TLSPort, false, "other servers cannot connect with TLS from the first byte")
		}
	}
	if c.TLS.ACME.Enabled() {
		for _, d := range c.below() {
			out = append(out, check.Record{Name: d, Type: "CNAME", Value: c.host() + ".", Why: "the authority cannot see that it is ours, and leaves it out of the certificate"})
		}
	}
	const turn = "clients that are not told by the server do not find it"
	srv("_stun._udp."+c.dnsName(), c.TURN.Port, false, turn)
	srv("_turn._udp."+c.dnsName(), c.TURN.Port, false, turn)
	srv("_turn._tcp."+c.dnsName(), c.TURN.Port, false, turn)
	if c.TURN.Port != 0 {
		srv("_turns._tcp."+c.dnsName(), c.TURN.TLSPort, false, turn)
	}
	return out
}

// checkWeb looks whether web clients find the server (XEP-0156).
func (c *Config) checkWeb(ctx context.Context, r *check.Report, p *check.Plan) {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	client := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: p.Roots, MinVersion: tls.VersionTLS12},
		DialContext: p.Dial,
	}}
	meta := "https://" + c.dnsName() + "/.well-known/host-meta"
	advice := "serve it under that name: when the domain's web server is another machine, have it send " + meta + " and host-meta.json on to " + c.publicURL() + ".well-known/ (with Access-Control-Allow-Origin: *)"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, meta, nil)
	if err != nil {
		r.Fail("", "%v", err)
		return
	}
	answer, err := client.Do(req)
	if err != nil {
		r.Warn(advice, "web clients do not find the server: %v", err)
		return
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	if err != nil || answer.StatusCode != http.StatusOK || !strings.Contains(string(body), "urn:xmpp:alt-connections:") {
		r.Warn(advice, "web clients do not find the server: %s answers %s", meta, answer.Status)
		return
	}
	r.OK("web clients find the server by %s", meta)
}

// checkDirectory connects to each server of the directory.
func (c *Config) checkDirectory(ctx context.Context, r *check.Report) {
	d, err := auth.NewLDAP(c.Auth.LDAP, c.Domain, logger(LogConfig{Level: "error"}, io.Discard))
	if err != nil {
		r.Fail("", "%v", err)
		return
	}
	defer d.Close()
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	for _, s := range d.Check(ctx) {
		if s.Err != nil {
			r.Fail(s.Do, "%s: %v", s.URL, s.Err)
		} else {
			r.OK("%s answers, and lets us search below %s", s.URL, c.Auth.LDAP.BaseDN)
		}
	}
	r.Note("konzil ldap test NAME explains the login of a person")
}

// checkFederation has the running server exchange a ping with another one, which shows both directions.
func (c *Config) checkFederation(ctx context.Context, r *check.Report, peer string) {
	if c.federation() == s2s.Closed {
		r.Fail("set xmpp.federation.mode to open or listed", "federation is closed")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	var said strings.Builder
	ran, err := control.Run(ctx, c.Data, []string{"ping", peer}, nil, &said)
	switch {
	case !ran && err == nil:
		r.Fail("start it", "the server does not run")
	case err != nil:
		do := "the log of the server (part=federation) tells each try"
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			do = "is port " + strconv.Itoa(c.XMPP.Federation.Port) + " open for " + peer + " to connect back? " + do
		}
		r.Fail(do, "%s: %v", peer, err)
	default:
		r.OK("%s", strings.TrimSpace(said.String()))
	}
}
