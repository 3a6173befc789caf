package xmpp

import (
	"encoding/base64"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"konzil/internal/await"
	"konzil/xmpp/internal/hostile"
	"konzil/xmpp/stanza"
)

// transports are the ways in; each gives a stream that is where the name says.
var transports = map[string]func(r *rig) *play{
	"tcp before login": func(r *rig) *play { p := r.dial("x", r.tls); p.header("x.test"); return p },
	"tcp in clear":     func(r *rig) *play { p := r.dial("x", r.tcp); p.header("x.test"); return p },
	"ws before login":  func(r *rig) *play { p := r.dialWS("x", ""); p.header("x.test"); return p },
	"tcp before bind":  func(r *rig) *play { return r.dial("x", r.tls).auth("x.test", "alice") },
	"ws before bind":   func(r *rig) *play { return r.dialWS("x", "").auth("x.test", "") },
	"tcp session":      func(r *rig) *play { return r.user("alice", "a") },
	"ws session":       func(r *rig) *play { return r.guest("x") },
}

// The same corpus on each transport and in each state must end in the same stream error.
func TestCorpus(t *testing.T) {
	r := newRig(t, fast)
	corpus := hostile.Corpus(stanza.NSClient)
	corpus["other element"] = hostile.Case{In: "<x xmlns='urn:x'/>", Condition: "unsupported-stanza-type"}
	for name, c := range corpus {
		for where, enter := range transports {
			t.Run(name+" "+where, func(t *testing.T) {
				p := enter(r)
				p.t = t
				_ = p.trySend(c.In) // the server may be gone before all is written
				want := c.Condition
				if name == "other element" && !strings.Contains(where, "session") && !strings.Contains(where, "bind") {
					want = "not-authorized"
					if strings.Contains(where, "clear") {
						want = "policy-violation"
					}
				}
				p.expectEnd(want)
			})
		}
	}
	await.True(t, "all streams are gone", func() bool {
		n := r.s.Counters()
		return n["sessions"] == 0 && n["streams_pending"] == 0
	})
}

func TestHeaders(t *testing.T) {
	r := newRig(t, nil)
	const good = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='x.test' version='1.0'>"
	for name, c := range map[string]struct{ in, condition string }{
		"unknown host":   {strings.Replace(good, "x.test", "y.test", 1), "host-unknown"},
		"no host":        {strings.Replace(good, "to='x.test'", "", 1), "host-unknown"},
		"account as to":  {strings.Replace(good, "x.test", "a@x.test", 1), "host-unknown"},
		"old version":    {strings.Replace(good, "version='1.0'", "", 1), "unsupported-version"},
		"content":        {strings.Replace(good, "jabber:client", "jabber:server", 1), "invalid-namespace"},
		"stream":         {strings.Replace(good, "etherx", "other", 1), "invalid-namespace"},
		"http":           {"GET / HTTP/1.1\r\n\r\n", "not-well-formed"},
		"doctype":        {"<!DOCTYPE a>" + good, "restricted-xml"},
		"encoding":       {"<?xml version='1.0' encoding='utf-16'?>" + good, "unsupported-encoding"},
		"long attribute": {strings.Replace(good, "x.test", strings.Repeat("x", 20_000), 1), "policy-violation"},
	} {
		t.Run(name, func(t *testing.T) {
			p := r.dial("x", r.tls)
			p.t = t
			_ = p.trySend(c.in)
			if _, err := p.rd.Header(); err != nil {
				t.Fatalf("no header before the error: %v", err)
			}
			p.expectEnd(c.condition)
		})
	}
	t.Run("quotes are escaped", func(t *testing.T) {
		p := r.dial("x", r.tls)
		p.send("%s", strings.Replace(good, "version", `from="a'&lt;@x.test" version`, 1))
		h, err := p.rd.Header()
		if err != nil || h.Attr("from") != "x.test" || h.Attr("id") == "" {
			t.Fatalf("%v %v", h, err)
		}
	})
	t.Run("host changes after TLS", func(t *testing.T) {
		p := r.dial("x", r.tcp).secure()
		p.send("%s", strings.Replace(good, "x.test", "guest.x.test", 1))
		_, _ = p.rd.Header()
		p.expectEnd("host-unknown")
	})
	t.Run("host changes after SASL", func(t *testing.T) {
		p := r.dial("x", r.tls)
		p.header("x.test")
		p.send("<auth xmlns='%s' mechanism='PLAIN'>%s</auth>", nsSASL, plain("alice", "secret-a"))
		p.expect("<success")
		p.rd.Reset(p.conn, true)
		p.send("%s", strings.Replace(good, "x.test", "guest.x.test", 1))
		_, _ = p.rd.Header()
		p.expectEnd("host-unknown")
	})
	t.Run("websocket", func(t *testing.T) {
		p := r.dialWS("x", "")
		p.send("<open xmlns='%s' to='y.test' version='1.0'/>", nsFraming)
		p.expect("<open")
		p.expectEnd("host-unknown")
		p = r.dialWS("x", "")
		p.send("<message xmlns='jabber:client'/>")
		p.expect("<open")
		p.expectEnd("invalid-namespace")
	})
}

// Before the TLS handshake there is STARTTLS and nothing else, and nothing sent in clear counts later.
func TestInClear(t *testing.T) {
	r := newRig(t, nil)
	p := r.dial("x", r.tcp)
	if f := p.header("x.test"); f.Child(nsSASL, "mechanisms") != nil || f.Child(nsTLS, "starttls").Child(nsTLS, "required") == nil {
		t.Errorf("features in clear: %s", f.AppendXML(nil, ""))
	}
	p.send("<auth xmlns='%s' mechanism='PLAIN'>%s</auth>", nsSASL, plain("alice", "secret-a"))
	p.expect("<encryption-required")
	p.expectEnd("policy-violation")
	p = r.dial("x", r.tcp)
	p.header("x.test")
	p.send("<starttls xmlns='%s'/><auth xmlns='%s' mechanism='PLAIN'>%s</auth>", nsTLS, nsSASL, plain("alice", "secret-a"))
	if it, err := p.next(); err == nil && it.Elem.Local == "proceed" {
		if _, err := p.next(); err != io.EOF && err == nil {
			t.Error("bytes before the handshake were taken")
		}
	}
	p = r.dial("x", r.tcp) // a newline is no attack
	p.header("x.test")
	p.send("<starttls xmlns='%s'/>\n", nsTLS)
	p.expect("<proceed")
	p.startTLS()
	p.header("x.test")
}

func TestSpoofedFrom(t *testing.T) {
	r := newRig(t, nil)
	bob := r.user("bob", "b")
	for _, from := range []string{"bob@x.test/b", "bob@x.test", "x.test", "alice@x.test/other", "alice@y.test", "@"} {
		p := r.user("alice", "a")
		p.send("<message from='%s' to='bob@x.test'/>", from)
		p.expectEnd("invalid-from")
	}
	p := r.user("alice", "a")
	for _, from := range []string{"alice@x.test/a", "alice@x.test", "ALICE@X.test/a"} {
		p.send("<message from='%s' to='bob@x.test/b'/>", from)
		bob.expect("<message to='bob@x.test/b' from='alice@x.test/a'/>")
	}
}

func TestStanzaTooEarly(t *testing.T) {
	r := newRig(t, nil)
	r.user("bob", "b")
	for _, enter := range []string{"tcp before login", "ws before login", "tcp before bind", "ws before bind"} {
		p := transports[enter](r)
		p.send("<message xmlns='jabber:client' to='bob@x.test'><body>x</body></message>")
		p.expectEnd("not-authorized")
	}
}

func TestMalformedAddresses(t *testing.T) {
	r := newRig(t, nil)
	p := r.user("alice", "a")
	p.send("<iq type='get' id='1' to='@@'><q xmlns='urn:q'/></iq>")
	p.expect("id='1'", "type='error'", "<jid-malformed")
	p.send("<message to='a b@x.test' id='2'/>")
	p.expect("id='2'", "<jid-malformed")
	p.send("<presence to='room@x.test/\u2764\ufe0f' id='4'/>") // a resource with what PRECIS disallows: the bare address answers
	p.expect("id='4'", "from='room@x.test'", "<jid-malformed")
	p.send("<message to='a b@x.test' type='error' id='3'/>") // no answer to an error
	for _, iq := range []string{"<iq type='get' id='1'/>", "<iq type='get'><a xmlns='b'/></iq>", "<iq id='1'><a xmlns='b'/></iq>",
		"<iq type='get' id='1'><a xmlns='b'/><a xmlns='b'/></iq>"} {
		p.send("%s", iq)
		p.expect("type='error'", "<bad-request")
	}
	p.sync()
}

func TestNegotiationTimeout(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.NegotiationTimeout = 500 * time.Millisecond })
	half := r.dial("half login", r.tls)
	half.header("x.test")
	for _, p := range []*play{half, r.dial("tcp", r.tcp), r.dialWS("ws", "")} {
		p.expectEnd0()
	}
	await.True(t, "none is left", func() bool { return r.s.Counters()["streams_pending"] == 0 })
}

// expectEnd0 waits for the end, however it comes.
func (p *play) expectEnd0() {
	for {
		if _, err := p.next(); err != nil {
			return
		}
	}
}

func TestTooManyPending(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.Pending = 2 })
	p, q := r.dial("1", r.tls), r.dialWS("2", "")
	p.header("x.test")
	q.header("x.test")
	r.dial("3", r.tcp).expectEnd0()
	if n := r.s.Counters()["streams_refused"]; n != 1 {
		t.Errorf("%d refused", n)
	}
	p.cut()
	await.True(t, "the place is free", func() bool { return r.s.Counters()["streams_pending"] == 1 })
	r.user("alice", "a")
}

// One address cannot take all places of those that have not logged in; a proxy on this machine is not one address.
func TestTooManyPendingOfOnePeer(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.PendingPerPeer = 2 })
	p, q := r.dial("1", r.tls), r.dial("2", r.tls)
	p.header("x.test")
	q.header("x.test")
	r.dial("3", r.tcp).expectEnd0()
	r.dialWS("4", "").header("x.test")
	p.cut()
	await.True(t, "the place is free", func() bool { return r.s.peers.count("127.0.0.1") == 1 })
	r.user("alice", "a")
	await.True(t, "who has logged in counts no more", func() bool { return r.s.peers.count("127.0.0.1") == 1 })
	q.cut()
	await.True(t, "nothing is remembered", func() bool { return r.s.peers.count("127.0.0.1") == 0 })
}

func (p *pendingPeers) count(peer string) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.n[peer]
}

// A client that stops reading loses its session and slows nobody.
func TestSlowReader(t *testing.T) {
	r := newRig(t, func(c *Config) {
		fast(c)
		c.Limits.OutboxStanzas, c.Limits.OutboxBytes = 200, 1<<20
	})
	slow, bob := r.user("alice", "a"), r.user("bob", "b")
	body := strings.Repeat("x", 8<<10)
	n := 0
	for r.s.Session(slow.jid) != nil && n < 10_000 {
		bob.send("<message to='alice@x.test' type='chat' id='%d'><body>%s</body></message>", n, body)
		n++
	}
	bob.send("<iq type='get' id='sync' to='x.test'><sync xmlns='test:sync'/></iq>")
	bob.expect("id='sync'")
	c := r.s.Counters()
	if c["outbox_overflows"] == 0 {
		t.Fatalf("no overflow after %d messages: %v", n, c)
	}
	await.True(t, "what nobody got goes offline", func() bool { return len(r.offline) > 0 })
}

// Reading is delayed, nothing is dropped.
func TestRate(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.RateBytes, c.Limits.RateBurst = 100_000, 20_000 })
	p, bob := r.user("alice", "a"), r.user("bob", "b")
	start := time.Now()
	body := strings.Repeat("x", 1000)
	go func() {
		for n := range 40 {
			_ = p.trySend(fmt.Sprintf("<message to='bob@x.test' id='%d'><body>%s</body></message>", n, body))
		}
	}()
	for n := range 40 {
		bob.expect(fmt.Sprintf("id='%d'", n))
	}
	if d := time.Since(start); d < 150*time.Millisecond {
		t.Errorf("40 kB at 100 kB/s with 20 kB at once took %v", d)
	}
	if r.s.Counters()["rate_waits"] == 0 {
		t.Error("no wait counted")
	}
}

func TestSASLFailures(t *testing.T) {
	r := newRig(t, nil)
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for name, c := range map[string]struct{ mech, data, want string }{
		"wrong password":    {"PLAIN", plain("alice", "x"), "not-authorized"},
		"no account":        {"PLAIN", plain("nobody", "x"), "not-authorized"},
		"directory away":    {"PLAIN", plain("broken", "x"), "temporary-auth-failure"},
		"two parts":         {"PLAIN", b64("alice\x00secret-a"), "malformed-request"},
		"four parts":        {"PLAIN", b64("\x00alice\x00secret-a\x00"), "malformed-request"},
		"empty password":    {"PLAIN", b64("\x00alice\x00"), "malformed-request"},
		"other identity":    {"PLAIN", b64("bob@x.test\x00alice\x00secret-a"), "invalid-authzid"},
		"other domain":      {"PLAIN", b64("alice@y.test\x00alice\x00secret-a"), "invalid-authzid"},
		"full JID":          {"PLAIN", b64("alice@x.test/a\x00alice\x00secret-a"), "invalid-authzid"},
		"nothing":           {"PLAIN", "=", "malformed-request"}, // an empty response, not none (RFC 6120 §6.4.2)
		"base64":            {"PLAIN", "AG*=", "incorrect-encoding"},
		"unknown mechanism": {"CRAM-MD5", "", "invalid-mechanism"},
		"not offered":       {"ANONYMOUS", "", "invalid-mechanism"}, // over TCP on the main domain
		"scram nonsense":    {"SCRAM-SHA-1", b64("x"), "malformed-request"},
		"scram with p":      {"SCRAM-SHA-1", b64("p=tls-exporter,,n=alice,r=x"), "malformed-request"},
		"plus without p":    {"SCRAM-SHA-1-PLUS", b64("n,,n=alice,r=x"), "malformed-request"},
		"plus unknown":      {"SCRAM-SHA-256-PLUS", b64("p=tls-unique,,n=alice,r=x"), "not-authorized"},
		"downgrade":         {"SCRAM-SHA-256", b64("y,,n=alice,r=x"), "not-authorized"},
		"mandatory ext":     {"SCRAM-SHA-256", b64("n,,m=1,n=alice,r=x"), "malformed-request"},
	} {
		t.Run(name, func(t *testing.T) {
			p := r.dial("x", r.tls)
			p.t = t
			p.header("x.test")
			p.send("<auth xmlns='%s' mechanism='%s'>%s</auth>", nsSASL, c.mech, c.data)
			p.expect("<failure", "<"+c.want)
			// the stream is still good for another try
			p.send("<auth xmlns='%s' mechanism='PLAIN'>%s</auth>", nsSASL, plain("carol", "secret-c"))
			p.expect("<success")
		})
	}
	t.Run("own identity", func(t *testing.T) {
		p := r.dial("x", r.tls)
		p.header("x.test")
		p.send("<auth xmlns='%s' mechanism='PLAIN'>%s</auth>", nsSASL, b64("Alice@X.test\x00ALICE@x.test\x00secret-a"))
		p.expect("<success")
	})
	t.Run("abort", func(t *testing.T) {
		p := r.dial("x", r.tls)
		p.header("x.test")
		p.send("<auth xmlns='%s' mechanism='PLAIN'/>", nsSASL)
		p.expect("<challenge")
		p.send("<abort xmlns='%s'/>", nsSASL)
		p.expect("<aborted")
	})
	t.Run("three are enough", func(t *testing.T) {
		p := r.dial("x", r.tls)
		p.header("x.test")
		for range 3 {
			p.send("<auth xmlns='%s' mechanism='PLAIN'>%s</auth>", nsSASL, plain("bob", "x"))
			p.expect("<not-authorized")
		}
		p.expectEnd("policy-violation")
	})
}

func TestBackoff(t *testing.T) {
	b := newBackoff()
	now := time.Unix(0, 0)
	b.now = func() time.Time { return now }
	for range backoffFree {
		if b.blocked("a", "n") {
			t.Fatal("blocked too early")
		}
		b.failed("a", "n")
	}
	if !b.blocked("a", "n") || b.blocked("a", "other") || b.blocked("b", "n") {
		t.Error("not blocked, or others too")
	}
	now = now.Add(backoffFirst)
	if b.blocked("a", "n") {
		t.Error("blocked too long")
	}
	for range 40 {
		b.failed("a", "n")
	}
	now = now.Add(backoffLongest - 1)
	if !b.blocked("a", "n") {
		t.Error("not blocked for the longest time")
	}
	now = now.Add(2)
	if b.blocked("a", "n") {
		t.Error("blocked for ever")
	}
	b.succeeded("a", "n")
	for i := range backoffEntries + 10 {
		b.failed(fmt.Sprint(i), "n")
	}
	if len(b.m) > backoffEntries {
		t.Errorf("%d entries", len(b.m))
	}
}

// Passwords go over TLS or to the machine itself only.
func TestPlainHTTPFromElsewhere(t *testing.T) {
	r := newRig(t, nil)
	st := &stream{srv: r.s, wire: &wsWire{}, domain: "x.test"}
	if got := fmt.Sprint(st.mechanisms()); got != "[ANONYMOUS]" {
		t.Errorf("offered without TLS: %s", got)
	}
	if !loopback("127.0.0.1:1") || !loopback("[::1]:1") || loopback("192.0.2.1:1") || loopback("[::ffff:192.0.2.1]:1") {
		t.Error("loopback")
	}
}

func TestConditionsAreElements(t *testing.T) {
	r := newRig(t, nil)
	st := &stream{srv: r.s, wire: &wsWire{}}
	if _, err := stanza.ParseElement(st.xml(stanza.NewStreamError("policy-violation", "a<b"))); err != nil {
		t.Error(err)
	}
}

// What StrictChannelBinding decides: whether a client that just tried a binding type we have not may go on with "y".
func TestBindingFallback(t *testing.T) {
	b64 := func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
	for _, strict := range []bool{false, true} {
		r := newRig(t, func(c *Config) { c.StrictChannelBinding = strict })
		p := r.dial("x", r.tls)
		p.header("x.test")
		y := fmt.Sprintf("<auth xmlns='%s' mechanism='SCRAM-SHA-256'>%s</auth>", nsSASL, b64("y,,n=alice,r=x"))
		p.send("%s", y)
		p.expect("<failure", "<not-authorized")
		p.send("<auth xmlns='%s' mechanism='SCRAM-SHA-256-PLUS'>%s</auth>", nsSASL, b64("p=tls-unique,,n=alice,r=x"))
		p.expect("<failure", "<not-authorized")
		p.send("%s", y)
		if strict {
			p.expect("<failure", "<not-authorized")
		} else {
			p.expect("<challenge")
		}
		p.cut()
	}
}
