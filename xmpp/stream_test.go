package xmpp

import (
	"strings"
	"testing"
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
	eventually(t, "the session ends", func() bool { return r.s.Session(p.jid) == nil })
}
