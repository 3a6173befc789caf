package xmpp

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"konzil/internal/await"
	"konzil/internal/slots"
	"konzil/xmpp/internal/hostile"
	"konzil/xmpp/stanza"
)

// boshClient is one session of a client that knows what it wants.
type boshClient struct {
	t   *testing.T
	url string
	sid string
	rid uint64
}

// bosh serves r's server by BOSH.
func (r *rig) bosh(t *testing.T) *boshClient {
	srv := httptest.NewServer(r.s.BOSHHandler())
	t.Cleanup(srv.Close)
	return &boshClient{t: t, url: srv.URL, rid: 1000}
}

// request sends a body as it is.
func (c *boshClient) request(ctx context.Context, body string) (*stanza.Element, error) {
	req, err := http.NewRequestWithContext(ctx, "POST", c.url+"?room=r1", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "text/xml; charset=utf-8")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.Header.Get("Access-Control-Allow-Origin") != "*" {
		return nil, fmt.Errorf("no page of another origin may use it: %v", resp.Header)
	}
	e, err := stanza.ParseElement(b)
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", resp.Status, b, err)
	}
	return e, nil
}

// body is a body with the next rid.
func (c *boshClient) body(attrs, content string) string {
	c.rid++
	return fmt.Sprintf("<body xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh' rid='%d' sid='%s' %s>%s</body>", c.rid, c.sid, attrs, content)
}

func (c *boshClient) must(body string) *stanza.Element {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	e, err := c.request(ctx, body)
	if err != nil {
		c.t.Fatal(err)
	}
	return e
}

func (c *boshClient) say(attrs, content string) *stanza.Element {
	c.t.Helper()
	return c.must(c.body(attrs, content))
}

// later sends and gives the answer when it comes.
func (c *boshClient) later(body string) <-chan *stanza.Element {
	out := make(chan *stanza.Element, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		e, err := c.request(ctx, body)
		if err != nil {
			e = stanza.NewElement("error", "error").AddText(err.Error())
		}
		out <- e
	}()
	return out
}

func (c *boshClient) open(attrs string) *stanza.Element {
	c.t.Helper()
	e := c.must(fmt.Sprintf("<body xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh' rid='%d' to='x.test' xml:lang='en' xmpp:version='1.0' content='text/xml; charset=utf-8' %s/>", c.rid, attrs))
	c.sid = e.Attr("sid")
	return e
}

// login opens and goes as far as a full address.
func (c *boshClient) login(user, resource, attrs string) *boshClient {
	c.t.Helper()
	c.open(attrs)
	e := c.say("", "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>"+base64.StdEncoding.EncodeToString([]byte("\x00"+user+"\x00secret-"+user[:1]))+"</auth>")
	if e.Child(nsSASL, "success") == nil {
		c.t.Fatal(string(e.AppendXML(nil, "")))
	}
	if e = c.say("xmpp:restart='true' to='x.test' xml:lang='en'", ""); e.Child(stanza.NSStream, "features").Child(nsBind, "bind") == nil {
		c.t.Fatal(string(e.AppendXML(nil, "")))
	}
	e = c.say("", "<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>"+resource+"</resource></bind></iq>")
	if got := e.Child(stanza.NSClient, "iq").Child(nsBind, "bind").Child(nsBind, "jid").Text(); got != user+"@x.test/"+resource {
		c.t.Fatal(string(e.AppendXML(nil, "")))
	}
	return c
}

func xmlOf(e *stanza.Element) string { return string(e.AppendXML(nil, "")) }

func TestBOSH(t *testing.T) {
	r := newRig(t, nil)
	c := r.bosh(t)
	e := c.open("wait='60' hold='1' ver='1.6' ack='1'")
	for name, want := range map[string]string{"wait": "60", "hold": "1", "requests": "2", "ver": "1.6", "ack": "1000", "inactivity": "60", "maxpause": "120", "from": "x.test"} {
		if e.Attr(name) != want {
			t.Errorf("%s=%q, want %q", name, e.Attr(name), want)
		}
	}
	if f := e.Child(stanza.NSStream, "features"); f.Child(nsSASL, "mechanisms") == nil || len(e.Attr("sid")) != 32 || e.Attr("authid") == "" {
		t.Fatal(xmlOf(e))
	}
	if e := r.bosh(t).open("wait='60' hold='2'"); e.Attr("hold") != "1" || e.Attr("requests") != "2" {
		t.Errorf("hold %s, requests %s of a client that asked for 2", e.Attr("hold"), e.Attr("requests"))
	}
	c = r.bosh(t).login("alice", "a", "wait='60' hold='1'")
	if x := r.s.Session(stanza.MustJID("alice@x.test/a")); x == nil || x.Param("room") != "r1" {
		t.Error("session", x)
	}
	// A held request gets what comes.
	poll := c.later(c.body("", "<presence xmlns='jabber:client'/>"))
	bob := r.user("bob", "b")
	await.True(t, "alice is available", func() bool { return r.s.Session(stanza.MustJID("alice@x.test/a")).Presence() != nil })
	bob.send("<message to='alice@x.test' type='chat'><body>to a held request</body></message>")
	if got := xmlOf(<-poll); !strings.Contains(got, "to a held request") || !strings.Contains(got, "xmlns='jabber:client'") && !strings.Contains(got, `xmlns="jabber:client"`) {
		t.Fatal(got)
	}
	// What comes meanwhile waits for the next one, in order.
	for i := range 3 {
		bob.send("<message to='alice@x.test' type='chat'><body>n%d</body></message>", i)
	}
	got := ""
	for deadline := time.Now().Add(patience); strings.Count(got, "<message") < 3 && time.Now().Before(deadline); {
		got += xmlOf(c.say("", ""))
	}
	if a, b, d := strings.Index(got, "n0"), strings.Index(got, "n1"), strings.Index(got, "n2"); a < 0 || b < a || d < b {
		t.Fatal(got)
	}
	// One too many: the older is answered, with nothing.
	one := c.later(c.body("", ""))
	await.True(t, "it is held", func() bool { return c.held(r) == 1 })
	two := c.later(c.body("", "<message xmlns='jabber:client' to='bob@x.test/b'><body>hi</body></message>"))
	if got := <-one; len(got.Nodes) != 0 || got.Attr("type") != "" {
		t.Error(xmlOf(got))
	}
	bob.expect("from='alice@x.test/a'", "<body>hi</body>")
	// The end.
	if got := c.say("type='terminate'", "<presence xmlns='jabber:client' type='unavailable'/>"); got.Attr("type") != "" && got.Attr("type") != "terminate" {
		t.Error(xmlOf(got))
	}
	<-two
	await.True(t, "the session ends", func() bool { return r.s.Session(stanza.MustJID("alice@x.test/a")) == nil })
	if got := c.say("", ""); got.Attr("type") != "terminate" || got.Attr("condition") != "item-not-found" {
		t.Error(xmlOf(got))
	}
}

// held is how many requests of c wait.
func (c *boshClient) held(r *rig) int {
	w := r.s.bosh.get(c.sid)
	if w == nil {
		return 0
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, q := range w.held {
		n += q.attached
	}
	return n
}

func TestBOSHGuest(t *testing.T) {
	r := newRig(t, nil)
	c := r.bosh(t)
	c.open("wait='5' hold='1'")
	if e := c.say("", "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='ANONYMOUS'/>"); e.Child(nsSASL, "success") == nil {
		t.Fatal(xmlOf(e))
	}
	c.say("xmpp:restart='true' to='x.test'", "")
	e := c.say("", "<iq xmlns='jabber:client' type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
	if jid := e.Child(stanza.NSClient, "iq").Child(nsBind, "bind").Child(nsBind, "jid").Text(); !strings.Contains(jid, "@guest.x.test/") {
		t.Fatal(xmlOf(e))
	}
}

// TestBOSHOrder: requests may overtake each other, be repeated, and be lost; nothing is lost or doubled by it.
func TestBOSHOrder(t *testing.T) {
	r := newRig(t, nil)
	bob := r.user("bob", "b")
	c := r.bosh(t).login("alice", "a", "wait='60' hold='1'")
	msg := func(s string) string {
		return "<message xmlns='jabber:client' to='bob@x.test/b'><body>" + s + "</body></message>"
	}
	one, two := c.body("", msg("first")), c.body("", msg("second"))
	late := c.later(two)
	await.True(t, "the second is there", func() bool {
		w := r.s.bosh.get(c.sid)
		w.mu.Lock()
		defer w.mu.Unlock()
		return len(w.early) == 1
	})
	if got := c.must(one); len(got.Nodes) != 0 {
		t.Error(xmlOf(got))
	}
	bob.expect("<body>first</body>")
	bob.expect("<body>second</body>")
	// The connection of a held request breaks: what comes for it is not lost, and not sent before it is back.
	bob.send("<message to='alice@x.test/a'><body>for two</body></message>")
	answer := xmlOf(<-late)
	if !strings.Contains(answer, "for two") {
		t.Fatal(answer)
	}
	if again := xmlOf(c.must(two)); again != answer { // the client did not get it
		t.Errorf("%s, and again %s", answer, again)
	}
	three := c.body("", msg("third"))
	ctx, cancel := context.WithCancel(context.Background())
	broken := make(chan struct{})
	go func() { defer close(broken); _, _ = c.request(ctx, three) }()
	bob.expect("<body>third</body>")
	await.True(t, "it is held", func() bool { return c.held(r) == 1 })
	cancel()
	<-broken
	await.True(t, "its connection is gone", func() bool { return c.held(r) == 0 })
	bob.send("<message to='alice@x.test/a'><body>for three</body></message>")
	if got := xmlOf(c.must(three)); !strings.Contains(got, "for three") {
		t.Error(got)
	}
	bob.send("<iq type='get' id='q' to='x.test'><nothing xmlns='urn:x'/></iq>")
	bob.expect("type='error'", "id='q'") // and not "third" twice
	// Beyond the window.
	c.rid += 10
	if got := c.say("", ""); got.Attr("condition") != "item-not-found" {
		t.Error(xmlOf(got))
	}
	await.True(t, "the session ends", func() bool { return r.s.Session(stanza.MustJID("alice@x.test/a")) == nil })
}

// TestBOSHKeys: who knows the sid and not the chain of keys does not get in (XEP-0124 §15).
func TestBOSHKeys(t *testing.T) {
	r := newRig(t, nil)
	c := r.bosh(t)
	k := []string{"seed"}
	for range 3 {
		k = append(k, boshKey(k[len(k)-1]))
	}
	c.open("wait='60' hold='1' newkey='" + k[3] + "'")
	const auth = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGFsaWNlAHdyb25n</auth>"
	if got := c.say("key='"+k[2]+"'", auth); got.Child(nsSASL, "failure") == nil {
		t.Error(xmlOf(got))
	}
	if got := c.say("key='"+k[1]+"' newkey='"+boshKey("other")+"'", auth); got.Child(nsSASL, "failure") == nil {
		t.Error(xmlOf(got))
	}
	if got := c.say("key='wrong'", auth); got.Attr("condition") != "item-not-found" {
		t.Error(xmlOf(got))
	}
	await.True(t, "the stream ends", func() bool { return r.s.bosh.get(c.sid) == nil })
}

// TestBOSHWaits: a held request is answered in time, a client that is gone is noticed, and what waited for it goes where it would without it.
func TestBOSHWaits(t *testing.T) {
	r := newRig(t, nil)
	c := r.bosh(t).login("alice", "a", "wait='1' hold='1'")
	began := time.Now()
	if got := c.say("", ""); len(got.Nodes) != 0 || time.Since(began) < 900*time.Millisecond {
		t.Errorf("after %v: %s", time.Since(began), xmlOf(got))
	}
	if got := c.say("pause='1'", ""); len(got.Nodes) != 0 || got.Attr("type") != "" {
		t.Error(xmlOf(got))
	}
	bob := r.user("bob", "b")
	bob.send("<message to='alice@x.test/a' type='chat'><body>too late</body></message>")
	select {
	case st := <-r.offline:
		if st.Child(stanza.NSClient, "body").Text() != "too late" {
			t.Error(st)
		}
	case <-time.After(patience):
		t.Fatal("the message is lost")
	}
	await.True(t, "the session ends", func() bool { return r.s.Session(stanza.MustJID("alice@x.test/a")) == nil })
}

// TestBOSHPolling: a client that wants no request held may not ask all the time (XEP-0124 §12).
func TestBOSHPolling(t *testing.T) {
	r := newRig(t, nil)
	c := r.bosh(t).login("alice", "a", "wait='0' hold='0'")
	if got := c.say("", "<iq xmlns='jabber:client' type='get' id='1' to='x.test'><x xmlns='urn:x'/></iq>"); !strings.Contains(xmlOf(got), "service-unavailable") {
		t.Error(xmlOf(got))
	}
	if got := c.say("", ""); got.Attr("type") != "" {
		t.Error(xmlOf(got))
	}
	if got := c.say("", ""); got.Attr("condition") != "policy-violation" {
		t.Error(xmlOf(got))
	}
}

// TestBOSHCorpus: the parser of BOSH is that of the other transports, with its limits (CVE-2022-0217).
func TestBOSHCorpus(t *testing.T) {
	r := newRig(t, fast)
	corpus := hostile.Corpus(stanza.NSClient)
	corpus["open"] = hostile.Case{In: "<message xmlns='jabber:client'>", Condition: "not-well-formed"}
	corpus["other element"] = hostile.Case{In: "<x xmlns='urn:x'/>", Condition: "unsupported-stanza-type"}
	corpus["size"] = hostile.Case{In: "<message xmlns='jabber:client'>" + strings.Repeat("x", 250<<10) + "</message>", Condition: "policy-violation"}
	delete(corpus, "attribute size") // what is longer than a body is refused before it belongs to a session: TestBOSHRefused
	for name, c := range corpus {
		for where, loggedIn := range map[string]bool{"before": false, "session": true} {
			if loggedIn && name == "size" {
				continue // it fits
			}
			t.Run(name+" "+where, func(t *testing.T) {
				b := r.bosh(t)
				want := c.Condition
				switch {
				case loggedIn:
					b.login("alice", "r"+strings.ReplaceAll(name, " ", ""), "wait='60' hold='1'")
				default:
					b.open("wait='60' hold='1'")
					if name == "other element" {
						want = "not-authorized"
					}
				}
				got := b.say("", c.In)
				if e := got.Child(stanza.NSStream, "error"); got.Attr("type") != "terminate" || got.Attr("condition") != "remote-stream-error" || e.Child(stanza.NSStreams, want) == nil {
					t.Errorf("want %s: %.300s", want, xmlOf(got))
				}
			})
		}
	}
	await.True(t, "all streams are gone", func() bool {
		n := r.s.Counters()
		return n["sessions"] == 0 && n["streams_pending"] == 0
	})
}

func TestBOSHRefused(t *testing.T) {
	r := newRig(t, nil)
	c := r.bosh(t)
	for what, body := range map[string]string{
		"nothing": "", "no XML": "hello", "no body": "<message xmlns='jabber:client'/>", "no rid": "<body xmlns='http://jabber.org/protocol/httpbind' to='x.test'/>",
		"a rid too big": "<body xmlns='http://jabber.org/protocol/httpbind' to='x.test' rid='9007199254740992'/>",
	} {
		if got := c.must(body); got.Attr("condition") != "bad-request" {
			t.Errorf("%s: %s", what, xmlOf(got))
		}
	}
	if got := c.must(strings.Repeat("<", hostile.Size)); got.Attr("type") != "terminate" || got.Attr("condition") != "policy-violation" {
		t.Error(xmlOf(got))
	}
	if got := c.must("<body xmlns='http://jabber.org/protocol/httpbind' sid='x' rid='1'/>"); got.Attr("condition") != "item-not-found" {
		t.Error(xmlOf(got))
	}
	got := c.must("<body xmlns='http://jabber.org/protocol/httpbind' to='y.test' rid='1' wait='5' hold='1'/>")
	if got.Attr("type") != "terminate" || got.Child(stanza.NSStream, "error").Child(stanza.NSStreams, "host-unknown") == nil {
		t.Error(xmlOf(got))
	}
	resp, err := http.Get(c.url)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusMethodNotAllowed {
		t.Error(resp.Status)
	}
}

// TestBOSHReading: requests that are sent slowly take places of which there are not many, and give them back.
func TestBOSHReading(t *testing.T) {
	r := newRig(t, nil)
	r.s.bosh.reading = slots.New[string](2, 0)
	c := r.bosh(t)
	var slow []net.Conn
	begin := func() {
		conn, err := net.Dial("tcp", strings.TrimPrefix(c.url, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		fmt.Fprint(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n<body")
		slow = append(slow, conn)
	}
	post := func() int {
		resp, err := http.Post(c.url, "text/xml", strings.NewReader("<body/>"))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp.StatusCode
	}
	await.True(t, "there is no place", func() bool {
		begin() // until two have a place: one that comes while post has it is refused
		return post() == http.StatusServiceUnavailable
	})
	if r.s.Counters()["bosh_refused"] == 0 {
		t.Error("it was not counted")
	}
	for _, conn := range slow {
		conn.Close()
	}
	await.True(t, "there are places again", func() bool { return post() == http.StatusBadRequest })
}

// FuzzBOSH: no body breaks the reader, and what it gives is whole.
func FuzzBOSH(f *testing.F) {
	s, err := New(Config{Domain: "x.test", Limits: DefaultConfig().Limits}, testAccounts{}, nil)
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte("<body xmlns='http://jabber.org/protocol/httpbind' rid='1'/>"))
	f.Add([]byte("<body xmlns='http://jabber.org/protocol/httpbind' xmlns:x='urn:xmpp:xbosh' x:restart='true' rid='1'><message xmlns='jabber:client'/> <iq/></body>"))
	f.Add([]byte("<?xml version='1.0'?><b:body xmlns:b='http://jabber.org/protocol/httpbind' rid='2' type='terminate'><a/></b:body> "))
	f.Add([]byte("<body xmlns='http://jabber.org/protocol/httpbind' rid='1'></body></body>"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := s.readBOSH(raw)
		if err != nil {
			return
		}
		for _, in := range b.in {
			if in.err == nil && in.item.Stanza == nil && in.item.Elem == nil {
				t.Errorf("nothing from %q", raw)
			}
		}
		_ = b.streamHeader()
	})
}
