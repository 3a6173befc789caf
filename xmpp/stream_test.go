package xmpp

import (
	"strings"
	"testing"

	"konzil/internal/await"
)

func TestLoginTCP(t *testing.T) {
	r := newRig(t, nil)
	p := r.dial("alice", r.tcp).secure().auth("x.test", "alice").bind("desk")
	if p.jid.String() != "alice@x.test/desk" {
		t.Fatalf("bound as %s", p.jid)
	}
	p.available("")
	p.send("<message to='alice@x.test'><body>hi</body></message>")
	p.expect("<message to='alice@x.test' from='alice@x.test/desk'><body>hi</body></message>")
	p.send("</stream:stream>")
	p.expectEnd("")
}

func TestLoginDirectTLS(t *testing.T) {
	r := newRig(t, nil)
	if p := r.user("bob", "b"); p.jid.String() != "bob@x.test/b" {
		t.Fatalf("bound as %s", p.jid)
	}
}

func TestGuestWebSocket(t *testing.T) {
	r := newRig(t, nil)
	p := r.guest("guest")
	if p.jid.Domain() != "guest.x.test" || len(p.jid.Local()) != 36 || strings.ToLower(p.jid.Local()) != p.jid.Local() {
		t.Fatalf("bound as %s", p.jid)
	}
	x := r.s.Session(p.jid)
	if x == nil || !x.Guest() || x.Param("room") != "r1" || x.Param("nope") != "" {
		t.Fatalf("session %+v", x)
	}
	q := r.user("alice", "a")
	q.send("<message to='%s' type='chat'><body>x</body></message>", p.jid)
	p.expect("from='alice@x.test/a'", "<body>x</body>")
	p.send("<message xmlns='jabber:client' to='alice@x.test' type='chat'><body>y</body></message>")
	q.expect("from='"+p.jid.String(), "<body>y</body>")
	p.send("<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>")
	p.expectEnd("")
	await.True(t, "the session ends", func() bool { return r.s.Session(p.jid) == nil })
}

func TestOffers(t *testing.T) {
	r := newRig(t, func(c *Config) { c.AnonymousOnMain = false })
	for name, c := range map[string]struct {
		p          *play
		domain     string
		want, none []string
	}{
		"tls":       {r.dial("x", r.tls), "x.test", []string{"SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "SCRAM-SHA-256<", "PLAIN", "type='tls-exporter'", "type='tls-server-end-point'"}, []string{"ANONYMOUS"}},
		"ws":        {r.dialWS("x", ""), "x.test", []string{"SCRAM-SHA-256<", "PLAIN"}, []string{"ANONYMOUS", "PLUS", "sasl-cb"}},
		"tls guest": {r.dial("x", r.tls), "guest.x.test", []string{"ANONYMOUS"}, []string{"PLAIN", "SCRAM", "sasl-cb"}},
		"ws guest":  {r.dialWS("x", ""), "guest.x.test", []string{"ANONYMOUS"}, []string{"PLAIN", "SCRAM"}},
	} {
		got := string(c.p.header(c.domain).AppendXML(nil, ""))
		for _, w := range c.want {
			if !strings.Contains(got, w) {
				t.Errorf("%s: no %s in %s", name, w, got)
			}
		}
		for _, w := range c.none {
			if strings.Contains(got, w) {
				t.Errorf("%s: %s in %s", name, w, got)
			}
		}
	}
	f := r.dial("x", r.tls).auth("x.test", "alice")
	f.bind("a")
}

func TestSessionsInAll(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.Sessions = 1 })
	r.user("alice", "a")
	p := r.dial("bob", r.tls).auth("x.test", "bob")
	p.send("<iq type='set' id='b'><bind xmlns='%s'/></iq>", nsBind)
	p.expect("type='error'", "<resource-constraint")
}

// A client that acknowledges nothing is not kept for ever.
func TestUnackedOverflow(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.UnackedStanzas = 10 })
	p, bob := r.resumable("tcp"), r.user("bob", "b")
	for range 20 {
		bob.send("<message to='alice@x.test' type='chat'/>")
		bob.sync()
	}
	p.expectEnd("resource-constraint")
	await.True(t, "the session ends", func() bool { return r.s.Session(p.jid) == nil })
	if r.s.Counters()["unacked_overflows"] == 0 {
		t.Error("not counted")
	}
}
