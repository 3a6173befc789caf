package s2s

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"konzil/internal/certs/certtest"
	"konzil/xmpp/internal/hostile"
	"konzil/xmpp/stanza"
)

// stranger is a server that does as it likes: it sends text and reads elements.
type stranger struct {
	t    *testing.T
	conn net.Conn
	rd   *stanza.Reader
	id   string // of the stream
}

func (n *node) stranger(t *testing.T) *stranger {
	t.Helper()
	c, err := net.Dial("tcp", n.addr())
	if err != nil {
		t.Fatal(err)
	}
	x := &stranger{t: t}
	t.Cleanup(func() { x.conn.Close() })
	x.over(c)
	return x
}

// over goes on with a connection as it is now: in clear, then in TLS.
func (x *stranger) over(c net.Conn) {
	_ = c.SetDeadline(time.Now().Add(15 * time.Second))
	x.conn, x.rd = c, stanza.NewReader(c, stanza.Limits{})
}

func (x *stranger) say(format string, args ...any) {
	x.t.Helper()
	if _, err := fmt.Fprintf(x.conn, format, args...); err != nil {
		x.t.Fatal(err)
	}
}

// header opens a stream and gives the features.
func (x *stranger) header(from, to string) *stanza.Element {
	x.t.Helper()
	x.rd = stanza.NewReader(x.conn, stanza.Limits{})
	x.say("<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' from='%s' to='%s' version='1.0'>", from, to)
	h, err := x.rd.Header()
	if err != nil {
		x.t.Fatal(err)
	}
	x.id = h.Attr("id")
	return x.next()
}

// next is the next thing that is no stanza.
func (x *stranger) next() *stanza.Element {
	x.t.Helper()
	it, err := x.rd.Next()
	if err != nil || it.Elem == nil {
		x.t.Fatalf("%+v, %v", it, err)
	}
	return it.Elem
}

// secure goes through STARTTLS, showing a certificate if there is one.
func (x *stranger) secure(from, to string, cert *tls.Config) *stranger {
	x.t.Helper()
	x.header(from, to)
	x.say("<starttls xmlns='%s'/>", nsTLS)
	if e := x.next(); e.Local != "proceed" {
		x.t.Fatal(e.Local)
	}
	cfg := &tls.Config{InsecureSkipVerify: true}
	if cert != nil {
		cfg.Certificates = cert.Certificates
	}
	x.over(tls.Client(x.conn, cfg))
	x.header(from, to)
	return x
}

// external is secure with SASL EXTERNAL after it.
func (x *stranger) external(from, to string, cert *tls.Config) *stranger {
	x.t.Helper()
	x.secure(from, to, cert)
	x.say("<auth xmlns='%s' mechanism='EXTERNAL'>=</auth>", nsSASL)
	if e := x.next(); e.Local != "success" {
		x.t.Fatalf("%s", e.AppendXML(nil, ""))
	}
	x.header(from, to)
	return x
}

// wantEnd reads until the stream ends with an error of that condition.
func (x *stranger) wantEnd(condition string) {
	x.t.Helper()
	var last *stanza.Element
	for {
		it, err := x.rd.Next()
		if err != nil {
			break
		}
		last = it.Elem
	}
	if last == nil || last.Child(stanza.NSStreams, condition) == nil {
		x.t.Fatalf("ended after %s, want %s", xmlOf(last), condition)
	}
	_ = x.conn.Close()
}

func xmlOf(e *stanza.Element) string {
	if e == nil {
		return "nothing"
	}
	return string(e.AppendXML(nil, ""))
}

// wantResult reads the answer to a dialback request.
func (x *stranger) wantResult(typ string) {
	x.t.Helper()
	if e := x.next(); e.Space != nsDialback || e.Attr("type") != typ {
		x.t.Fatalf("want %s, got %s", typ, xmlOf(e))
	}
}

// quiet fails if anything came.
func (n *node) quiet(t *testing.T) {
	t.Helper()
	select {
	case st := <-n.got:
		t.Fatalf("it came: %s", st)
	default:
	}
}

// TestCorpus: what ends a client's stream ends another server's, in each state.
func TestCorpus(t *testing.T) {
	ca, z := certtest.New(), newZone()
	a := newNode(t, z, "a.test", serverTLS(ca, "", "a.test", "svc.a.test"), func(c *Config) { c.Roots = ca.Pool() })
	cert := serverTLS(ca, "", "b.test")
	for where, enter := range map[string]func(x *stranger){
		"in clear":     func(x *stranger) { x.header("b.test", "a.test") },
		"before proof": func(x *stranger) { x.secure("b.test", "a.test", nil) },
		"proved":       func(x *stranger) { x.external("b.test", "a.test", cert) },
	} {
		for name, c := range hostile.Corpus(stanza.NSServer) {
			t.Run(name+" "+where, func(t *testing.T) {
				x := a.stranger(t)
				enter(x)
				_, _ = io.WriteString(x.conn, c.In) // it may be gone before all is written
				x.wantEnd(c.Condition)
			})
		}
	}
}

const greeting = "<message from='u@%s' to='svc.a.test' type='chat'><body>x</body></message>"

// TestUnverified: nothing passes from a domain that was not proved on this stream, for this domain of ours (RFC 6120 §8.1.2.2, CVE-2021-32919).
func TestUnverified(t *testing.T) {
	ca, z := certtest.New(), newZone()
	a := newNode(t, z, "a.test", serverTLS(ca, "", "a.test", "svc.a.test"), func(c *Config) { c.Roots = ca.Pool() })
	cert := serverTLS(ca, "", "b.test")
	x := a.stranger(t).secure("b.test", "a.test", cert)
	x.say(greeting, "b.test") // the certificate would do, but nobody has asked
	x.wantEnd("invalid-from")
	x = a.stranger(t).external("b.test", "svc.a.test", cert)
	x.say(greeting, "b.test")
	if st := a.next(t); st.From.Domain() != "b.test" {
		t.Fatal(st)
	}
	x.say(greeting, "c.test") // piggybacked
	x.wantEnd("invalid-from")
	x = a.stranger(t).external("b.test", "a.test", cert)
	x.say(greeting, "b.test") // proved for a.test, said to svc.a.test
	x.wantEnd("invalid-from")
	x = a.stranger(t).external("b.test", "svc.a.test", cert)
	x.say(greeting, "svc.a.test") // ours
	x.wantEnd("invalid-from")
	for _, bad := range []string{"<message to='svc.a.test'/>", "<message from='u@b.test'/>", "<message from='u@b.test/@' to='@@'/>"} {
		x = a.stranger(t).external("b.test", "svc.a.test", cert)
		x.say("%s", bad)
		x.wantEnd("improper-addressing")
	}
	x = a.stranger(t).secure("c.test", "a.test", cert)
	x.say("<auth xmlns='%s' mechanism='EXTERNAL'>=</auth>", nsSASL) // the certificate is b's
	if e := x.next(); e.Child(nsSASL, "not-authorized") == nil {
		t.Fatal(xmlOf(e))
	}
	x.conn.Close()
	a.quiet(t)
}

// TestDialbackForged: a key is good for one stream and one pair of domains, and only the domain itself says so (XEP-0220 §2.3, XEP-0185,
// CVE-2016-0756, CVE-2016-1232).
func TestDialbackForged(t *testing.T) {
	ca, z := certtest.New(), newZone()
	nobody := func(c *Config) { c.Roots = x509.NewCertPool() }
	a := newNode(t, z, "a.test", serverTLS(ca, "", "a.test"), nobody)
	b := newNode(t, z, "b.test", serverTLS(ca, "", "b.test"), nobody) // authoritative for b.test, and does not know the stranger
	result := func(x *stranger, from, key string) {
		x.say("<db:result from='%s' to='svc.a.test'>%s</db:result>", from, key)
	}
	x := a.stranger(t).secure("b.test", "svc.a.test", nil)
	for _, key := range []string{"", "x", strings.Repeat("0", 64), b.fed.key("svc.a.test", "b.test", "another stream"), b.fed.key("a.test", "b.test", x.id),
		b.fed.key("svc.a.test", "svc.b.test", x.id), a.fed.key("svc.a.test", "b.test", x.id)} {
		result(x, "b.test", key)
		x.wantResult("invalid")
	}
	x.say(greeting, "b.test")
	x.wantEnd("invalid-from")

	// What b itself would send is believed, for b alone; the same key on another stream is not.
	x = a.stranger(t).secure("b.test", "svc.a.test", nil)
	key := b.fed.key("svc.a.test", "b.test", x.id)
	result(x, "b.test", key)
	x.wantResult("valid")
	x.say(greeting, "b.test")
	if st := a.next(t); st.From.Domain() != "b.test" {
		t.Fatal(st)
	}
	y := a.stranger(t).secure("b.test", "svc.a.test", nil)
	if y.id == x.id || len(y.id) < 16 {
		t.Errorf("stream ids %s, %s", x.id, y.id)
	}
	result(y, "b.test", key)
	y.wantResult("invalid")
	x.say("<db:result type='valid' from='svc.b.test' to='svc.a.test'/><db:verify type='valid' id='%s' from='svc.b.test' to='svc.a.test'/>", x.id) // answers to nothing
	x.say(greeting, "svc.b.test")
	x.wantEnd("invalid-from")
	a.quiet(t)
}

// TestForgedByServer: a server whose identity is proved still cannot speak for us: copies of carbons and ids given by our domains do not pass
// (XEP-0280 §11, XEP-0359 §6); those of its own rooms and archives do.
func TestForgedByServer(t *testing.T) {
	ca, z := certtest.New(), newZone()
	a := newNode(t, z, "a.test", serverTLS(ca, "", "a.test", "svc.a.test"), func(c *Config) { c.Roots = ca.Pool() })
	x := a.stranger(t).external("b.test", "svc.a.test", serverTLS(ca, "", "b.test"))
	x.say("<message from='room@b.test/nick' to='svc.a.test' type='groupchat'><body>x</body><sent xmlns='urn:xmpp:carbons:2'/><received xmlns='urn:xmpp:carbons:2'/>" +
		"<stanza-id xmlns='urn:xmpp:sid:0' by='svc.a.test' id='forged'/><stanza-id xmlns='urn:xmpp:sid:0' by='room@b.test' id='its own'/>" +
		"<delay xmlns='urn:xmpp:delay' from='a.test' stamp='2001-01-01T00:00:00Z'/><occupant-id xmlns='urn:xmpp:occupant-id:0' id='its own'/></message>")
	const want = "<body>x</body><stanza-id xmlns='urn:xmpp:sid:0' by='room@b.test' id='its own'/><occupant-id xmlns='urn:xmpp:occupant-id:0' id='its own'/></message>"
	if st := a.next(t); !strings.HasSuffix(st.String(), want) || strings.Contains(st.String(), "forged") || strings.Contains(st.String(), "carbons") {
		t.Error(st)
	}
}

// TestHeaderTricks: the names of a stream are those of its beginning (CVE-2018-10847), and what is odd is refused.
func TestHeaderTricks(t *testing.T) {
	ca, z := certtest.New(), newZone()
	a := newNode(t, z, "a.test", serverTLS(ca, "", "a.test", "svc.a.test"), func(c *Config) { c.Roots = ca.Pool() })
	for _, c := range []struct{ from, to, condition string }{
		{"b.test", "other.test", "host-unknown"}, {"b.test", "u@a.test", "host-unknown"}, {"b.test", "", "host-unknown"},
		{"u@b.test", "a.test", "improper-addressing"}, {"b.test/x", "a.test", "improper-addressing"}, {"@", "a.test", "improper-addressing"},
	} {
		if e := a.stranger(t).header(c.from, c.to); e.Child(stanza.NSStreams, c.condition) == nil {
			t.Errorf("%+v: %s", c, xmlOf(e))
		}
	}
	cert := serverTLS(ca, "", "b.test")
	for _, c := range []struct{ from, to string }{{"b.test", "svc.a.test"}, {"c.test", "a.test"}} {
		x := a.stranger(t).secure("b.test", "a.test", cert)
		x.say("<auth xmlns='%s' mechanism='EXTERNAL'>=</auth>", nsSASL)
		if e := x.next(); e.Local != "success" {
			t.Fatal(xmlOf(e))
		}
		if e := x.header(c.from, c.to); e.Child(stanza.NSStreams, "improper-addressing") == nil {
			t.Errorf("%+v: %s", c, xmlOf(e))
		}
	}
}
