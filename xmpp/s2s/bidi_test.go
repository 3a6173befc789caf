package s2s

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"testing"
	"time"

	"konzil/internal/await"
	"konzil/internal/certs/certtest"
	"konzil/internal/proctest"
	"konzil/xmpp/stanza"
)

// peer is the server svc.b.test played by a test: one stream to a server, written and read by hand.
type peer struct {
	t  *testing.T
	c  *tls.Conn
	rd *stanza.Reader
}

const peerHeader = "<stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback' version='1.0' from='svc.b.test' to='svc.a.test'>"

// newPeer connects to n and gets as far as TLS.
func newPeer(t *testing.T, n *node, cert *tls.Config) *peer {
	t.Helper()
	raw, err := net.Dial("tcp", n.addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	_ = raw.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := raw.Write([]byte(peerHeader + "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")); err != nil {
		t.Fatal(err)
	}
	rd := stanza.NewReader(raw, DefaultLimits().Stanza)
	if _, err := rd.Header(); err != nil {
		t.Fatal(err)
	}
	features, err := rd.Next()
	if err != nil || features.Elem.Child(nsBidiFeature, "bidi") == nil {
		t.Fatal("bidi is not offered before TLS", err)
	}
	if _, err := rd.Next(); err != nil { // proceed
		t.Fatal(err)
	}
	c := tls.Client(raw, &tls.Config{Certificates: cert.Certificates, InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		t.Fatal(err)
	}
	p := &peer{t, c, stanza.NewReader(c, DefaultLimits().Stanza)}
	p.open()
	return p
}

// open begins a stream and returns the features.
func (p *peer) open() *stanza.Element {
	p.t.Helper()
	p.rd.Reset(p.c, true)
	p.say(peerHeader)
	if _, err := p.rd.Header(); err != nil {
		p.t.Fatal(err)
	}
	return p.elem()
}

func (p *peer) say(xml string) {
	p.t.Helper()
	if _, err := p.c.Write([]byte(xml)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) next() stanza.Item {
	p.t.Helper()
	it, err := p.rd.Next()
	if err != nil {
		p.t.Fatal(err)
	}
	return it
}

func (p *peer) elem() *stanza.Element {
	p.t.Helper()
	it := p.next()
	if it.Elem == nil {
		p.t.Fatal("a stanza: ", it.Stanza)
	}
	return it.Elem
}

// external proves who the peer is by its certificate.
func (p *peer) external() {
	p.t.Helper()
	p.say("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='EXTERNAL'>=</auth>")
	if e := p.elem(); e.Local != "success" {
		p.t.Fatal(e)
	}
	p.open()
}

// closes waits until nothing of the peer's stream is left.
func (p *peer) closes(n *node) {
	p.t.Helper()
	_ = p.c.Close()
	await.True(p.t, "the stream ends", func() bool {
		n.fed.mu.Lock()
		defer n.fed.mu.Unlock()
		return len(n.fed.streams) == 0
	})
}

const askBidi = "<bidi xmlns='urn:xmpp:bidi'/>"

// What a server that asks for both ways gets on its stream: nothing before it has proved who it is, nothing for others, then what is for it (XEP-0288 §2.2).
func TestBidiAfterExternal(t *testing.T) {
	ca, z := certtest.New(), newZone()
	trust := func(c *Config) { c.Roots = ca.Pool(); c.Limits.RetryMax = 10 * time.Millisecond }
	a := newNode(t, z, "a.test", serverTLS(ca, "", "svc.a.test"), trust)
	b := &node{name: stanza.MustJID("svc.b.test")}
	cert := serverTLS(ca, "", "svc.b.test")
	ln, err := net.Listen("tcp", "127.0.0.1:0") // where the peer could be reached, were it not for its stream
	if err != nil {
		t.Fatal(err)
	}
	z.set("xmpp-server", "svc.b.test", ln.Addr().(*net.TCPAddr).Port)
	ln.Close()

	p := newPeer(t, a, cert)
	p.say(askBidi)
	a.send(b, "early")
	a.wantError(t, "remote-server-timeout")
	p.external()
	a.send(b, "1") // without stream management, once it is clear that there is none
	if it := p.next(); it.Stanza == nil || it.Stanza.ID != "1" {
		t.Fatal(it)
	}
	p.say("<message from='svc.b.test' to='svc.a.test' id='2' type='chat'><body>2</body></message>")
	a.wantMessage(t, "2")
	p.say("<message from='evil.test' to='svc.a.test' id='3'/>")
	if e := p.elem(); e.Child(stanza.NSStreams, "invalid-from") == nil {
		t.Fatal(e)
	}
	p.closes(a)
	a.send(b, "4")
	a.wantError(t, "remote-server-timeout")

	p = newPeer(t, a, cert) // who does not ask gets nothing
	p.external()
	p.say("<message from='svc.b.test' to='svc.a.test' id='5' type='chat'><body>5</body></message>")
	a.wantMessage(t, "5")
	a.send(b, "6")
	a.wantError(t, "remote-server-timeout")
}

// On the way back, too, a stream that breaks is resumed with what was not acknowledged, and lies about it end it.
func TestBidiResumed(t *testing.T) {
	ca, z := certtest.New(), newZone()
	a := newNode(t, z, "a.test", serverTLS(ca, "", "svc.a.test"), func(c *Config) { c.Roots = ca.Pool() })
	b := &node{name: stanza.MustJID("svc.b.test")}
	cert := serverTLS(ca, "", "svc.b.test")
	p := newPeer(t, a, cert)
	p.say(askBidi)
	p.external()
	p.say("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
	id := p.elem().Attr("id")
	wantIDs := func(ids ...string) {
		t.Helper()
		for len(ids) > 0 {
			if it := p.next(); it.Stanza != nil {
				if it.Stanza.ID != ids[0] {
					t.Fatalf("%s, want %s", it.Stanza, ids[0])
				}
				ids = ids[1:]
			}
		}
	}
	for i := range 3 {
		a.send(b, fmt.Sprint(i))
	}
	wantIDs("0", "1", "2")
	p.say("<a xmlns='urn:xmpp:sm:3' h='1'/>")
	p.closes(a)
	a.send(b, "3")

	p = newPeer(t, a, cert)
	p.say(askBidi)
	p.external()
	p.say("<resume xmlns='urn:xmpp:sm:3' h='2' previd='" + id + "'/>")
	if e := p.elem(); e.Local != "resumed" {
		t.Fatal(e)
	}
	wantIDs("2", "3")
	p.say("<a xmlns='urn:xmpp:sm:3' h='9'/>")
	for {
		it := p.next()
		if it.Elem == nil || it.Elem.Child(stanza.NSStreams, "undefined-condition") == nil {
			continue
		}
		if why := it.Elem.Child("urn:xmpp:sm:3", "handled-count-too-high"); why.Attr("h") != "9" || why.Attr("send-count") != "4" {
			t.Errorf("acknowledged too much: %s", it.Elem.AppendXML(nil, ""))
		}
		break
	}
}

// Both directions on one stream that is cut again and again: nothing is lost, nothing comes twice.
func TestBidiCutAndResume(t *testing.T) {
	ca, z := certtest.New(), newZone()
	trust := func(c *Config) { c.Roots = ca.Pool(); c.Limits.QueueStanzas = 10_000 }
	a := newNode(t, z, "a.test", serverTLS(ca, "", "svc.a.test"), trust)
	b := newNode(t, z, "b.test", serverTLS(ca, "", "svc.b.test"), trust)
	br := proctest.StartProxy(t, b.addr())
	z.set("xmpp-server", "svc.b.test", br.Port())
	const n = 3000
	a.send(b, "0")
	b.wantMessage(t, "0")
	b.send(a, "0")
	a.wantMessage(t, "0")
	cuts := uint64(0)
	for i := 1; i < n; i++ {
		cut := i%500 == 250
		if cut {
			// Most of it has come on the stream that replaced the one before. What follows is not acknowledged before the cut: where nothing is
			// unacknowledged b need not wait for the stream to come back.
			await.True(t, "most of what was sent is there", func() bool { return a.fed.count.received.Load() >= uint64(i)*9/10 })
			br.Stall()
		}
		a.send(b, fmt.Sprint(i))
		b.send(a, fmt.Sprint(i))
		if cut {
			await.True(t, "b has written it", func() bool { return b.unacked(a, fmt.Sprint(i)) })
			br.Cut()
			cuts++
		}
	}
	for i := 1; i < n; i++ {
		b.wantMessage(t, fmt.Sprint(i))
		a.wantMessage(t, fmt.Sprint(i))
	}
	if a.fed.count.bounced.Load()+b.fed.count.bounced.Load() > 0 || len(a.got)+len(b.got) > 0 {
		t.Error(a.fed.count.bounced.Load(), b.fed.count.bounced.Load(), len(a.got), len(b.got))
	}
	if b.fed.count.opened.Load() > 0 || b.fed.count.backward.Load() != 1+cuts || a.fed.count.resumed.Load() != cuts {
		t.Errorf("not on one stream that is resumed: %d opened, %d used backwards, %d resumed", b.fed.count.opened.Load(), b.fed.count.backward.Load(), a.fed.count.resumed.Load())
	}
	if c := fmt.Sprint(a.fed.Connections(), b.fed.Connections()); c != "map[svc.b.test:[bidi]] map[svc.a.test:[bidi]]" {
		t.Error(c)
	}
}

// A server that we reached by dialback may answer on our stream, and is told that it gets no further domains on it (XEP-0220 §2.4).
func TestBidiOnOurStream(t *testing.T) {
	ca, z := certtest.New(), newZone()
	nobody := func(c *Config) { c.Roots = x509.NewCertPool() }
	a := newNode(t, z, "a.test", serverTLS(ca, "", "a.test"), nobody)
	b := newNode(t, z, "b.test", serverTLS(ca, "", "b.test"), nobody)
	a.send(b, "1")
	b.wantMessage(t, "1")
	b.fed.mu.Lock()
	var in *incoming
	for s := range b.fed.streams {
		in = s
	}
	b.fed.mu.Unlock()
	b.send(a, "2")
	a.wantMessage(t, "2")
	if err := in.write([]byte("<db:result from='other.b.test' to='svc.a.test'>key</db:result>" +
		"<message from='svc.b.test' to='svc.a.test' id='3' type='chat'><body>3</body></message>" +
		"<message from='other.b.test' to='svc.a.test' id='4' type='chat'><body>4</body></message>")); err != nil {
		t.Fatal(err)
	}
	a.wantMessage(t, "3")
	await.True(t, "the stanza of another domain is refused", func() bool { return a.fed.count.forged.Load() > 0 })
	if len(a.got) > 0 {
		t.Error(<-a.got)
	}
}
