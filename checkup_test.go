package main

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"konzil/internal/auth/ldaptest"
	"konzil/internal/certs/certtest"
	"konzil/internal/check/dnstest"
	"konzil/internal/proctest"
)

// TestCheck: an operator's mistakes, one at a time, are found with what to do about them; without one everything is fine.
func TestCheck(t *testing.T) {
	dir, dns, authority := ldaptest.Start(t), dnstest.Start(t), certtest.New()
	names := []string{"campus.example", "chat.campus.example", "conference.campus.example", "pubsub.campus.example", "upload.campus.example", "proxy.campus.example"}
	year := time.Now().Add(300 * 24 * time.Hour)
	tmp := t.TempDir()
	ca, cert, key := filepath.Join(tmp, "ca.pem"), filepath.Join(tmp, "cert.pem"), filepath.Join(tmp, "key.pem")
	issue := func(until time.Time, names ...string) {
		t.Helper()
		issued := authority.Sign(&x509.Certificate{Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, NotAfter: until})
		if err := errors.Join(authority.WriteCertificate(ca), certtest.Write(issued, cert, key)); err != nil {
			t.Fatal(err)
		}
	}
	issue(year, names...)
	file := settings(t, fmt.Sprintf(`domain: campus.example
host: chat.campus.example
resolver: %s
tls: {cert: %s, key: %s}
auth: {ldap: {urls: ["%s"], ca_file: %s, bind_dn: "%s", bind_password: %s, base_dn: "%s"}}
`, dns.Addr, cert, key, dir.TLS, dir.CAFile, ldaptest.SearchDN, ldaptest.SearchPassword, ldaptest.BaseDN))
	rewrite(t, file, "federation: {", "federation: {ca: "+ca+", ")
	h := startHouse(t, file)
	dns.Host("chat.campus.example", "127.0.0.1")
	dns.Host("campus.example", "127.0.0.1")
	for _, r := range h.cfg.records() {
		var port uint16
		if _, err := fmt.Sscanf(r.Value, "0 5 %d ", &port); err != nil {
			t.Fatal(r.Value, err)
		}
		dns.SRV(r.Name, "chat.campus.example", port)
	}
	good, err := os.ReadFile(h.file)
	if err != nil {
		t.Fatal(err)
	}
	change := func(old, new string) func() {
		return func() {
			if !strings.Contains(string(good), old) {
				t.Fatalf("no %q in\n%s", old, good)
			}
			if err := os.WriteFile(h.file, []byte(strings.Replace(string(good), old, new, 1)), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Close() }()
	go func() { // takes connections and says what no client wants to hear
		for {
			c, err := other.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte("220 mail\r\n"))
			_ = c.Close()
		}
	}()
	clientSRV := "_xmpp-client._tcp.campus.example"
	for _, c := range []struct {
		name string
		do   func()
		code int
		want []string
		undo func()
	}{
		{"nothing", func() {}, 0, []string{
			clientSRV + ". ", "IN SRV   0 5 ", "ok    chat.campus.example is 127.0.0.1, this machine", "ok    valid until", "ok    is for campus.example",
			"Authority of a test, which is trusted", "open (clients with STARTTLS)", "open (servers with TLS)", "open (TURN over UDP)", "lets us search",
		}, nil},
		{"missing SRV", func() { dns.SRV(clientSRV, "", 0) }, 1,
			[]string{"FAIL  " + clientSRV + " is missing (no such record)", fmt.Sprintf("→ set the record: %s. IN SRV 0 5 %d chat.campus.example.", clientSRV, h.cfg.XMPP.Port)},
			func() { dns.SRV(clientSRV, "chat.campus.example", uint16(h.cfg.XMPP.Port)) }},
		{"SRV elsewhere", func() { dns.SRV(clientSRV, "old.campus.example", 5222) }, 1, []string{"leads to old.campus.example. port 5222, and not here"},
			func() { dns.SRV(clientSRV, "chat.campus.example", uint16(h.cfg.XMPP.Port)) }},
		{"no address", func() { dns.Host("chat.campus.example") }, 1, []string{"FAIL  chat.campus.example has no address", "closed from outside"},
			func() { dns.Host("chat.campus.example", "127.0.0.1") }},
		{"domain without address", func() {
			dns.Host("campus.example")
			change(fmt.Sprintf("tls: {cert: %s, key: %s}", cert, key), "tls: {acme: {email: postmaster@campus.example}}")()
		}, 1, []string{"FAIL  campus.example has no address: the authority cannot see that it is ours"}, nil},
		{"domain elsewhere", func() { dns.Host("campus.example", "192.0.2.7") }, 1,
			[]string{"warn  campus.example is 192.0.2.7, another machine, where the authority asks", "→ have the web server there send http://campus.example/.well-known/acme-challenge/ on"},
			func() { dns.Host("campus.example", "127.0.0.1"); change("", "")() }},
		{"closed port", change(fmt.Sprintf("tls_port: %d, fed", h.cfg.XMPP.TLSPort), fmt.Sprintf("tls_port: %d, fed", proctest.Ports(t, 1)[0])), 1,
			[]string{"(clients with TLS) is closed: at 127.0.0.1: connection refused", "→ start the server"}, change("", "")},
		{"other program", change(fmt.Sprintf("tls_port: %d, fed", h.cfg.XMPP.TLSPort), fmt.Sprintf("tls_port: %d, fed", other.Addr().(*net.TCPAddr).Port)), 1,
			[]string{"takes connections, and no TLS"}, change("", "")},
		{"wrong bind password", change(ldaptest.SearchPassword, "wrong"), 1, []string{"FAIL  ldaps://", "→ correct auth.ldap.bind_dn and auth.ldap.bind_password"}, change("", "")},
		{"wrong base", change("base_dn: \"ou=people", "base_dn: \"ou=persons"), 1, []string{"→ correct auth.ldap.base_dn"}, change("", "")},
		{"expired", func() { issue(time.Now().Add(-time.Hour), names...) }, 1, []string{"FAIL  it has expired on", "→ renew it"}, nil},
		{"soon", func() { issue(time.Now().Add(5*24*time.Hour), names...) }, 1, []string{"warn  it ends in 4 days"}, nil},
		{"other names", func() { issue(year, "chat.campus.example") }, 1,
			[]string{"FAIL  it is for chat.campus.example, not for campus.example", "warn  it is not for conference.campus.example"}, nil},
		{"not the host", func() { issue(year, slices.Delete(slices.Clone(names), 1, 2)...) }, 1,
			[]string{"FAIL  it is not for chat.campus.example, where clients are told to find pages"}, func() { issue(year, names...) }},
		{"unknown authority", change("ca: "+ca+", ", ""), 1, []string{"others do not trust it", "fullchain.pem"}, change("", "")},
	} {
		c.do()
		out, code := h.does("", "check")
		if code != c.code {
			t.Errorf("%s: exit %d\n%s", c.name, code, out)
		}
		for _, want := range c.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s: no %q in\n%s", c.name, want, out)
			}
		}
		if c.undo != nil {
			c.undo()
		}
	}
	if out, code := h.does("", "check", "config"); code != 0 || out != "the configuration is fine\n" {
		t.Errorf("config alone: %d %s", code, out)
	}
	if out, code := h.does("", "check", "nowhere.example"); code != 1 || !strings.Contains(out, "nowhere.example: remote-server-not-found: ") {
		t.Errorf("federation: %d %s", code, out)
	}
}
