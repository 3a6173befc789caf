package xmpp

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"slices"
	"strings"
	"testing"
	"time"

	"konzil/internal/certs/certtest"
	"konzil/xmpp/stanza"
)

// peopleCA signs certificates for clients.
type peopleCA struct {
	t *testing.T
	*certtest.Authority
}

// issue makes a certificate with xmppAddr names, and mail addresses for those that begin with mailto:.
func (a *peopleCA) issue(until time.Time, names ...string) tls.Certificate {
	a.t.Helper()
	var list []asn1.RawValue
	for _, n := range names {
		if mail, ok := strings.CutPrefix(n, "mailto:"); ok {
			list = append(list, asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 1, Bytes: []byte(mail)})
			continue
		}
		b, err := asn1.MarshalWithParams(struct {
			ID    asn1.ObjectIdentifier
			Value string `asn1:"utf8,explicit,tag:0"`
		}{oidXMPPAddr, n}, "tag:0")
		if err != nil {
			a.t.Fatal(err)
		}
		list = append(list, asn1.RawValue{FullBytes: b})
	}
	san, err := asn1.Marshal(list)
	if err != nil {
		a.t.Fatal(err)
	}
	return a.Sign(&x509.Certificate{Subject: pkix.Name{CommonName: "alice@x.test"}, NotAfter: until,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}, ExtraExtensions: []pkix.Extension{{Id: oidAltName, Value: san}}})
}

// TestExternal: a certificate of the operator's authorities logs in whom its names are for, and nobody else (XEP-0178 §2).
func TestExternal(t *testing.T) {
	ca, stranger := &peopleCA{t, certtest.New()}, &peopleCA{t, certtest.New()}
	r := newRig(t, func(c *Config) {
		c.ClientCAs = ca.Pool()
	})
	hour := time.Now().Add(time.Hour)
	for name, c := range map[string]struct {
		cert    tls.Certificate
		authzid string
		want    string // "" where EXTERNAL is not offered
	}{
		"one name":      {ca.issue(hour, "alice@x.test"), "", "<success"},
		"named":         {ca.issue(hour, "alice@x.test"), "alice@x.test", "<success"},
		"somebody else": {ca.issue(hour, "alice@x.test"), "bob@x.test", "invalid-authzid"},
		"which":         {ca.issue(hour, "alice@x.test", "bob@x.test"), "", "invalid-authzid"},
		"second":        {ca.issue(hour, "alice@x.test", "bob@x.test"), "bob@x.test", "<success"},
		"mail address":  {ca.issue(hour, "mailto:bob@x.test"), "", "<success"},
		"other domain":  {ca.issue(hour, "alice@y.test"), "", ""},
		"nobody":        {ca.issue(hour, "nobody@x.test"), "", ""},
		"no names":      {ca.issue(hour), "", ""}, // the common name does not count
		"expired":       {ca.issue(time.Now().Add(-time.Minute), "alice@x.test"), "", ""},
		"stranger":      {stranger.issue(hour, "alice@x.test"), "", ""},
		"none":          {tls.Certificate{}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			cfg := &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"xmpp-client"}}
			if c.cert.PrivateKey != nil {
				cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &c.cert, nil }
			}
			conn, err := tls.Dial("tcp", r.tls, cfg)
			if err != nil {
				t.Fatal(err)
			}
			p := &play{t: t, name: "cert", conn: conn, rd: stanza.NewReader(conn, stanza.Limits{})}
			t.Cleanup(func() { _ = conn.Close() })
			var offered []string
			for _, m := range p.header("x.test").Child(nsSASL, "mechanisms").Children() {
				offered = append(offered, m.Text())
			}
			if got := slices.Contains(offered, "EXTERNAL"); got != (c.want != "") {
				t.Fatalf("offered %v", offered)
			}
			if c.want == "" {
				return
			}
			text := "="
			if c.authzid != "" {
				text = base64.StdEncoding.EncodeToString([]byte(c.authzid))
			}
			p.send("<auth xmlns='%s' mechanism='EXTERNAL'>%s</auth>", nsSASL, text)
			p.expect(c.want)
		})
	}
}

// FuzzXMPPAddrs: no subject alternative name makes it panic.
func FuzzXMPPAddrs(f *testing.F) {
	f.Add([]byte{0x30, 0x00})
	f.Add([]byte{0x30, 0x1c, 0xa0, 0x1a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x08, 0x05, 0xa0, 0x0e, 0x0c, 0x0c, 'a', 'l', 'i', 'c', 'e', '@', 'x', '.', 't', 'e', 's', 't'})
	f.Fuzz(func(_ *testing.T, san []byte) {
		xmppAddrs(&x509.Certificate{Extensions: []pkix.Extension{{Id: oidAltName, Value: san}}})
	})
}
