package bytestreams

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"konzil/internal/await"
	"konzil/xmpp/stanza"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answers collects what the proxy routes.
type answers struct {
	mu   sync.Mutex // guards list
	list []*stanza.Stanza
}

func (a *answers) Route(st *stanza.Stanza) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = append(a.list, st)
}

// world is a proxy with a listener.
type world struct {
	*Proxy
	t    *testing.T
	out  *answers
	addr string
}

var (
	romeo  = stanza.MustJID("romeo@example.org/orchard")
	juliet = stanza.MustJID("juliet@example.org/balcony")
	tybalt = stanza.MustJID("tybalt@example.net/street")
)

func newWorld(t *testing.T, change func(*Config)) *world {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := Config{
		Domain: "proxy.example.org", Host: "127.0.0.1", Port: ln.Addr().(*net.TCPAddr).Port, MaxStreams: 10, PerAccount: 2,
		May: func(j stanza.JID) bool { return j.Domain() == "example.org" },
	}
	if change != nil {
		change(&c)
	}
	out := &answers{}
	p, err := New(c, out, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- p.Serve(ln) }()
	t.Cleanup(func() {
		p.Close()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &world{Proxy: p, t: t, out: out, addr: ln.Addr().String()}
}

// iq is the proxy's answer.
func (w *world) iq(typ string, from stanza.JID, payload *stanza.Element) *stanza.Stanza {
	w.t.Helper()
	w.HandleStanza(stanza.NewIQ(typ, "1", from, w.JID, payload))
	return w.out.list[len(w.out.list)-1]
}

func (w *world) activate(from stanza.JID, sid, target string) (condition string) {
	w.t.Helper()
	a := w.iq("set", from, stanza.NewElement(nsBytestreams, "query", "sid", sid).Add(stanza.TextElement(nsBytestreams, "activate", target)))
	return conditionOf(a)
}

func conditionOf(a *stanza.Stanza) string {
	if a.Type != "error" {
		return ""
	}
	return a.Child(stanza.NSClient, "error").Children()[0].Local
}

// dial connects and does the handshake for a stream.
func (w *world) dial(name string) net.Conn {
	w.t.Helper()
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	say(w.t, c, []byte{5, 1, 0}, []byte{5, 0})
	say(w.t, c, append(append([]byte{5, 1, 0, 3, 40}, name...), 0, 0), append(append([]byte{5, 0, 0, 3, 40}, name...), 0, 0))
	return c
}

// say writes and reads what must come.
func say(t *testing.T, c net.Conn, out, want []byte) {
	t.Helper()
	if _, err := c.Write(out); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("got %x, want %x: %v", got, want, err)
	}
}

// stream is an activated stream from romeo to juliet.
func (w *world) stream(sid string) (a, b net.Conn) {
	w.t.Helper()
	n := name(sid, romeo, juliet)
	a, b = w.dial(n), w.dial(n)
	if got := w.activate(romeo, sid, juliet.String()); got != "" {
		w.t.Fatal(got)
	}
	return a, b
}

func closedByPeer(c net.Conn) bool {
	_, err := c.Read(make([]byte, 1))
	return err != nil && !errors.Is(err, os.ErrDeadlineExceeded)
}

// TestName: what XEP-0065 §5.3.2 wants, as a shell computes it: printf %s mySIDinitiator@example.com/footarget@example.org/bar | sha1sum.
func TestName(t *testing.T) {
	if got := name("mySID", stanza.MustJID("initiator@example.com/foo"), stanza.MustJID("target@example.org/bar")); got != "2d689dde1799775d97f6f93e3510d033444e1132" {
		t.Error(got)
	}
}

func TestAddress(t *testing.T) {
	w := newWorld(t, nil)
	q := stanza.NewElement(nsBytestreams, "query")
	host := w.iq("get", romeo, q).Child(nsBytestreams, "query").Child(nsBytestreams, "streamhost")
	if host.Attr("jid") != "proxy.example.org" || net.JoinHostPort(host.Attr("host"), host.Attr("port")) != w.addr {
		t.Error(host)
	}
	if got := conditionOf(w.iq("get", tybalt, q)); got != "forbidden" {
		t.Error("a stranger learns the address:", got)
	}
	info := w.iq("get", tybalt, stanza.NewElement("http://jabber.org/protocol/disco#info", "query")).Child("http://jabber.org/protocol/disco#info", "query")
	if id := info.Child("http://jabber.org/protocol/disco#info", "identity"); id.Attr("category") != "proxy" || id.Attr("type") != "bytestreams" {
		t.Error(info)
	}
}

// TestTransfer: bytes go both ways, also those said before the activation, and each end can say that it is done.
func TestTransfer(t *testing.T) {
	w := newWorld(t, nil)
	n := name("s", romeo, juliet)
	a, b := w.dial(n), w.dial(n)
	if _, err := a.Write([]byte("early ")); err != nil {
		t.Fatal(err)
	}
	if got := w.activate(romeo, "s", juliet.String()); got != "" {
		t.Fatal(got)
	}
	data := make([]byte, 3<<20)
	rand.Read(data)
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = a.Write(data)
		_ = a.(*net.TCPConn).CloseWrite()
	})
	got, err := io.ReadAll(b)
	if err != nil || !bytes.Equal(got, append([]byte("early "), data...)) {
		t.Errorf("%d bytes, %v", len(got), err)
	}
	wg.Wait()
	if _, err := b.Write([]byte("thanks")); err != nil {
		t.Fatal(err)
	}
	_ = b.Close()
	if got, err := io.ReadAll(a); err != nil || string(got) != "thanks" {
		t.Errorf("%q, %v", got, err)
	}
	await.True(t, "the transfer ends", func() bool {
		c := w.Counters()
		return c["streams_now"] == 0 && c["bytes_total"] == uint64(len(data)+12)
	})
}

// TestWhoActivates: the initiator alone, once, when both are there (CVE-2021-32917 and its like: no byte moves before).
func TestWhoActivates(t *testing.T) {
	w := newWorld(t, nil)
	n := name("s", romeo, juliet)
	a := w.dial(n)
	if got := w.activate(romeo, "s", juliet.String()); got != "not-allowed" {
		t.Error("with one end:", got)
	}
	b := w.dial(n)
	if _, err := a.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	for from, want := range map[stanza.JID]string{
		juliet: "item-not-found", tybalt: "forbidden", stanza.MustJID("romeo@example.org/other"): "item-not-found", romeo.Bare(): "item-not-found",
	} {
		if got := w.activate(from, "s", juliet.String()); got != want {
			t.Errorf("%s activates: %s", from, got)
		}
	}
	for _, target := range []string{"", "@", tybalt.String()} {
		if got := w.activate(romeo, "s", target); got != "bad-request" && got != "item-not-found" {
			t.Errorf("target %q: %s", target, got)
		}
	}
	_ = b.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := b.Read(make([]byte, 1)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatal("a byte came before the activation:", n, err)
	}
	_ = b.SetReadDeadline(time.Now().Add(10 * time.Second))
	// A third connection is none of theirs.
	c, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	say(t, c, []byte{5, 1, 0}, []byte{5, 0})
	say(t, c, append(append([]byte{5, 1, 0, 3, 40}, n...), 0, 0), []byte{5, 2})
	if got := w.activate(romeo, "s", juliet.String()); got != "" {
		t.Fatal(got)
	}
	if got := w.activate(romeo, "s", juliet.String()); got != "item-not-found" {
		t.Error("twice:", got)
	}
	if _, err := io.ReadFull(b, make([]byte, 1)); err != nil {
		t.Error(err)
	}
}

// TestNoOpenProxy: nothing but the name of a stream can be asked for.
func TestNoOpenProxy(t *testing.T) {
	w := newWorld(t, nil)
	for what, c := range map[string]struct{ first, answer, request, refusal []byte }{
		"an IPv4 address":         {[]byte{5, 1, 0}, []byte{5, 0}, []byte{5, 1, 0, 1, 127, 0, 0, 1, 0, 22}, []byte{5, 8}},
		"an IPv6 address":         {[]byte{5, 1, 0}, []byte{5, 0}, append([]byte{5, 1, 0, 4}, make([]byte, 18)...), []byte{5, 8}},
		"a host":                  {[]byte{5, 1, 0}, []byte{5, 0}, append([]byte{5, 1, 0, 3, 9}, "localhost\x00\x16"...), []byte{5, 2}},
		"40 letters":              {[]byte{5, 1, 0}, []byte{5, 0}, append([]byte{5, 1, 0, 3, 40}, "www.exaaaaaaaaaaaaaaaaaaaaaaample.example\x00"...), []byte{5, 2}},
		"to listen":               {[]byte{5, 1, 0}, []byte{5, 0}, append([]byte{5, 2, 0, 3, 40}, make([]byte, 42)...), []byte{5, 7}},
		"UDP":                     {[]byte{5, 1, 0}, []byte{5, 0}, append([]byte{5, 3, 0, 3, 40}, make([]byte, 42)...), []byte{5, 7}},
		"with a password":         {[]byte{5, 1, 2}, []byte{5, 255}, nil, nil},
		"with one of two methods": {[]byte{5, 2, 2, 0}, []byte{5, 0}, []byte{4, 1, 0, 3}, nil},
		"SOCKS4":                  {[]byte{4, 1, 0, 22, 127, 0, 0, 1, 0}, nil, nil, nil},
		"HTTP":                    {[]byte("CONNECT localhost:22 HTTP/1.1\r\n\r\n"), nil, nil, nil},
	} {
		t.Run(what, func(t *testing.T) {
			conn, err := net.Dial("tcp", w.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
			say(t, conn, c.first, c.answer)
			if c.request != nil {
				say(t, conn, c.request, c.refusal)
			}
			for {
				if _, err := conn.Read(make([]byte, 64)); err != nil {
					if errors.Is(err, os.ErrDeadlineExceeded) {
						t.Error("the connection stays open")
					}
					return
				}
			}
		})
	}
}

// TestTimeouts: who says nothing or is not activated is disconnected.
func TestTimeouts(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.handshake = 50 * time.Millisecond })
	mute, err := net.Dial("tcp", w.addr)
	if err != nil {
		t.Fatal(err)
	}
	defer mute.Close()
	_ = mute.SetDeadline(time.Now().Add(10 * time.Second))
	if !closedByPeer(mute) {
		t.Error("no handshake")
	}
	await.True(t, "nobody waits", func() bool { return w.Counters()["connections_waiting_now"] == 0 })
	if c := w.Counters(); c["handshakes_failed_total"] != 1 || c["expired_total"] != 0 {
		t.Error(c)
	}
	w = newWorld(t, func(c *Config) { c.activate = 50 * time.Millisecond })
	if a := w.dial(name("x", romeo, juliet)); !closedByPeer(a) {
		t.Error("never activated")
	}
	if c := w.Counters(); c["expired_total"] != 1 || c["handshakes_failed_total"] != 0 || c["connections_waiting_now"] != 0 {
		t.Error(c)
	}
}

// TestIdle: one direction that is used keeps the other one; a stream that is silent in both ends in time.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, err := New(Config{Domain: "proxy.example.org", Host: "127.0.0.1", Port: 1, MaxStreams: 1, PerAccount: 1, May: func(stanza.JID) bool { return true }}, &answers{}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer p.Close()
		a, inA := net.Pipe()
		b, inB := net.Pipe()
		ended := make(chan time.Time, 1)
		go func() {
			p.relay(inA, inB, &account{})
			ended <- time.Now()
		}()
		const bytes = 20
		got := make([]byte, 1)
		for range bytes {
			time.Sleep(idleTime - 2*p.cfg.lookInterval) // a byte is noticed at the end of the look in which it comes
			if _, err := a.Write([]byte("x")); err != nil {
				t.Fatal("the silent direction ended the stream:", err)
			}
			if _, err := b.Read(got); err != nil {
				t.Fatal(err)
			}
		}
		last := time.Now()
		if _, err := a.Read(got); err != io.EOF {
			t.Error("idle:", err)
		}
		if _, err := b.Read(got); err != io.EOF {
			t.Error("idle:", err)
		}
		if d := (<-ended).Sub(last); d < idleTime || d > idleTime+2*p.cfg.lookInterval {
			t.Errorf("it ended after %v", d)
		}
		if c := p.Counters(); c["idle_closed_total"] == 0 || c["bytes_total"] != bytes {
			t.Error(c)
		}
	})
}

// TestLimits: streams of an account, and connections of an address that only wait.
func TestLimits(t *testing.T) {
	w := newWorld(t, nil)
	w.stream("1")
	w.stream("2")
	n := name("3", romeo, juliet)
	w.dial(n)
	w.dial(n)
	if got := w.activate(romeo, "3", juliet.String()); got != "resource-constraint" {
		t.Error("a third stream of two:", got)
	}
	var more []net.Conn
	for range maxParkedEach {
		c, err := net.Dial("tcp", w.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		more = append(more, c)
	}
	await.True(t, "two are refused", func() bool { return w.Counters()["connections_refused_total"] == 2 })
	_ = more[len(more)-1].SetDeadline(time.Now().Add(10 * time.Second))
	if !closedByPeer(more[len(more)-1]) {
		t.Error("one too many was let in")
	}
}

// TestRate: an account's streams together are no faster than they may be.
func TestRate(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.AccountRate = 4 * chunk })
	a, b := w.stream("1")
	began := time.Now()
	var wg sync.WaitGroup
	wg.Go(func() {
		_, _ = a.Write(make([]byte, 3*chunk))
		_ = a.Close()
	})
	n, err := io.Copy(io.Discard, b)
	wg.Wait()
	if took := time.Since(began); err != nil || n != 3*chunk || took < 400*time.Millisecond { // the first chunk is the burst
		t.Errorf("%d bytes in %v, %v", n, took, err)
	}
}

// pipe is what a strange client sends, and swallows the answers.
type pipe struct {
	io.Reader
	out bytes.Buffer
}

func (p *pipe) Write(b []byte) (int, error) { return p.out.Write(b) }

// FuzzHandshake: no bytes break it; what is accepted is a name, and not a byte of what follows was taken.
func FuzzHandshake(f *testing.F) {
	good := append(append([]byte{5, 1, 0, 5, 1, 0, 3, 40}, bytes.Repeat([]byte("aF"), 20)...), 0, 0)
	f.Add(good)
	f.Add(append(bytes.Clone(good), "data"...))
	f.Add([]byte{5, 0})
	f.Add([]byte{5, 255, 0})
	f.Fuzz(func(t *testing.T, in []byte) {
		r := bytes.NewReader(in)
		p := &pipe{Reader: r}
		n, err := handshake(p)
		if err != nil {
			return
		}
		if len(n) != 40 || bytes.Trim([]byte(n), "0123456789abcdef") != nil && len(bytes.Trim([]byte(n), "0123456789abcdef")) > 0 {
			t.Errorf("%q", n)
		}
		if used := len(in) - r.Len(); used != 2+int(in[1])+4+1+40+2 {
			t.Errorf("%d bytes taken", used)
		}
		if !bytes.Equal(p.out.Bytes(), []byte{5, 0}) {
			t.Errorf("%x", p.out.Bytes())
		}
	})
}
