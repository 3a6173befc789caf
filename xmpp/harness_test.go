package xmpp

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"konzil/internal/certs/certtest"
	"konzil/xmpp/stanza"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 10 * time.Second

// testAccounts are people and passwords in memory.
type testAccounts map[string]string

const testIterations = 4096

func (a testAccounts) SCRAM(_ context.Context, user, h string) ([]byte, int, []byte, []byte, bool, error) {
	newHash, size := sha256.New, 32
	if h == "SHA-1" {
		newHash, size = sha1.New, 20
	}
	user, _ = a.Localpart(context.Background(), user)
	salt := sha256.Sum256([]byte("salt" + user))
	pw, ok := a[user]
	if !ok {
		return salt[:16], testIterations, nil, nil, false, nil
	}
	salted, err := pbkdf2.Key(newHash, pw, salt[:16], testIterations, size)
	mac := func(key []byte, s string) []byte { m := hmac.New(newHash, key); m.Write([]byte(s)); return m.Sum(nil) }
	sum := func(h hash.Hash, b []byte) []byte { h.Write(b); return h.Sum(nil) }
	return salt[:16], testIterations, sum(newHash(), mac(salted, "Client Key")), mac(salted, "Server Key"), true, err
}

func (a testAccounts) CheckPassword(_ context.Context, user, password string) (string, bool, error) {
	if user == "broken" {
		return "", false, errors.New("directory away")
	}
	user, _ = a.Localpart(context.Background(), user)
	pw, ok := a[user]
	return user, ok && pw == password, nil
}

func (a testAccounts) Exists(_ context.Context, local string) (bool, error) {
	_, ok := a[local]
	return ok, nil
}

func (a testAccounts) Localpart(_ context.Context, user string) (string, error) {
	return strings.ToLower(strings.TrimSuffix(user, "@x.test")), nil
}

func (a testAccounts) Enabled(ctx context.Context, local string) (bool, error) {
	return a.Exists(ctx, local)
}

func (a testAccounts) Mechanisms() []string { return []string{"SCRAM-SHA-256", "SCRAM-SHA-1", "PLAIN"} }

var testCert = sync.OnceValue(func() tls.Certificate { return certtest.New().Issue("x.test", "guest.x.test") })

// rig is a server with all its listeners on loopback.
type rig struct {
	t             testing.TB
	s             *Server
	tcp, tls, web string // addresses
	offline       chan *stanza.Stanza
}

func newRig(t testing.TB, change func(*Config)) *rig { return newRigWith(t, change, nil) }

func newRigWith(t testing.TB, change func(*Config), attach func(*Server)) *rig {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Domain, cfg.GuestDomain = "x.test", "guest.x.test"
	cfg.AnonymousOnMain = true
	cfg.TLS = &tls.Config{Certificates: []tls.Certificate{testCert()}}
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg, testAccounts{"alice": "secret-a", "bob": "secret-b", "carol": "secret-c"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, s: s, offline: make(chan *stanza.Stanza, 100_000)}
	s.Hooks().Offline(func(st *stanza.Stanza) bool { r.offline <- st; return true })
	if attach != nil {
		attach(s)
	}
	listen := func() net.Listener {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return ln
	}
	ln, lnTLS := listen(), listen()
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.ServeTCP(ln) })
	wg.Go(func() { _ = s.ServeTLS(lnTLS) })
	web := httptest.NewServer(s.WebSocketHandler())
	r.tcp, r.tls, r.web = ln.Addr().String(), lnTLS.Addr().String(), "ws"+strings.TrimPrefix(web.URL, "http")
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		wg.Wait()
		web.Close()
		if n := s.Counters(); n["sessions"] != 0 || n["streams_pending"] != 0 || n["sessions_hibernating"] != 0 {
			t.Errorf("left over: %v", n)
		}
	})
	return r
}

// play is a client of the line protocol: it sends text and expects elements.
type play struct {
	t    testing.TB
	name string
	conn net.Conn
	ws   *websocket.Conn
	rd   *stanza.Reader
	jid  stanza.JID
	smid string
	h    uint32 // stanzas got since enable
}

func (r *rig) dial(name, addr string) *play {
	r.t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		r.t.Fatal(err)
	}
	p := &play{t: r.t, name: name, conn: c}
	r.t.Cleanup(func() { p.conn.Close() })
	if addr == r.tls {
		p.startTLS()
	} else {
		p.rd = stanza.NewReader(c, stanza.Limits{})
	}
	return p
}

func (p *play) startTLS() {
	p.t.Helper()
	c := tls.Client(p.conn, &tls.Config{InsecureSkipVerify: true, ServerName: "x.test"})
	if err := c.Handshake(); err != nil {
		p.t.Fatalf("%s: %v", p.name, err)
	}
	p.conn = c
	p.rd = stanza.NewReader(c, stanza.Limits{})
}

func (r *rig) dialWS(name, query string) *play {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, r.web+"/xmpp-websocket"+query, &websocket.DialOptions{Subprotocols: []string{"xmpp"}})
	if err != nil {
		r.t.Fatal(err)
	}
	ws.SetReadLimit(1 << 24)
	r.t.Cleanup(func() { ws.CloseNow() })
	return &play{t: r.t, name: name, ws: ws}
}

func (p *play) send(format string, args ...any) {
	p.t.Helper()
	if err := p.trySend(fmt.Sprintf(format, args...)); err != nil {
		p.t.Fatalf("%s: send: %v", p.name, err)
	}
}

func (p *play) trySend(s string) error {
	if p.ws != nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		return p.ws.Write(ctx, websocket.MessageText, []byte(s))
	}
	_ = p.conn.SetWriteDeadline(time.Now().Add(patience))
	_, err := io.WriteString(p.conn, s)
	return err
}

// next reads one element; stream ends are errors.
func (p *play) next() (stanza.Item, error) {
	if p.ws != nil {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_, b, err := p.ws.Read(ctx)
		if err != nil {
			return stanza.Item{}, err
		}
		it, err := stanza.ParseFrame(b, stanza.Limits{})
		if err == nil && it.Elem != nil && it.Elem.Space == nsFraming && it.Elem.Local == "close" {
			err = stanza.ErrStreamEnd
		}
		return it, err
	}
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	return p.rd.Next()
}

func text(it stanza.Item) string {
	if it.Stanza != nil {
		return it.Stanza.String()
	}
	return string(it.Elem.AppendXML(nil, ""))
}

// expect reads the next element, which must contain all the parts.
func (p *play) expect(parts ...string) stanza.Item {
	p.t.Helper()
	it, err := p.next()
	if err != nil {
		p.t.Fatalf("%s: waiting for %q: %v", p.name, parts, err)
	}
	got := text(it)
	for _, part := range parts {
		if !strings.Contains(got, part) {
			p.t.Fatalf("%s: got %s, want %q", p.name, got, part)
		}
	}
	if it.Stanza != nil {
		p.h++
	}
	return it
}

// expectEnd reads until the stream ends, having seen a stream error of that condition ("" for none).
func (p *play) expectEnd(condition string) {
	p.t.Helper()
	var last string
	for {
		it, err := p.next()
		if err != nil {
			break
		}
		last = text(it)
	}
	if p.ws != nil {
		_ = p.ws.Close(websocket.StatusNormalClosure, "")
	} else {
		p.conn.Close()
	}
	if condition == "" && strings.Contains(last, stanza.NSStreams) || condition != "" && !strings.Contains(last, "<"+condition+" ") {
		p.t.Fatalf("%s: ended after %q, want %q", p.name, last, condition)
	}
}

func (p *play) header(to string) *stanza.Element {
	p.t.Helper()
	if p.ws != nil {
		p.send("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='%s' version='1.0'/>", to)
		p.expect("<open", "version='1.0'", "from=")
	} else {
		p.send("<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='%s' version='1.0'>", to)
		_ = p.conn.SetReadDeadline(time.Now().Add(patience))
		if _, err := p.rd.Header(); err != nil {
			p.t.Fatalf("%s: header: %v", p.name, err)
		}
	}
	return p.expect("<features").Elem
}

// secure goes through STARTTLS.
func (p *play) secure() *play {
	p.t.Helper()
	p.header("x.test")
	p.send("<starttls xmlns='%s'/>", nsTLS)
	p.expect("<proceed")
	p.startTLS()
	return p
}

func plain(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
}

// auth logs in and restarts the stream; user "" is anonymous.
func (p *play) auth(domain, user string) *play {
	p.t.Helper()
	p.header(domain)
	if user == "" {
		p.send("<auth xmlns='%s' mechanism='ANONYMOUS'/>", nsSASL)
	} else {
		p.send("<auth xmlns='%s' mechanism='PLAIN'>%s</auth>", nsSASL, plain(user, "secret-"+user[:1]))
	}
	p.expect("<success")
	if p.rd != nil {
		p.rd.Reset(p.conn, true)
	}
	p.header(domain)
	return p
}

const clientNS = " xmlns='jabber:client'" // a WebSocket frame must have it, TCP does not mind

func (p *play) bind(resource string) *play {
	p.t.Helper()
	p.send("<iq%s type='set' id='b'><bind xmlns='%s'><resource>%s</resource></bind></iq>", clientNS, nsBind, resource)
	st := p.expect("<iq id='b' type='result'>").Stanza
	p.jid = stanza.MustJID(st.Child(nsBind, "bind").Child(nsBind, "jid").Text())
	return p
}

func (p *play) enable() *play {
	p.t.Helper()
	p.send("<enable xmlns='%s' resume='true'/>", nsSM)
	p.smid = p.expect("<enabled", "resume='true'").Elem.Attr("id")
	p.h = 0
	return p
}

func (p *play) available(extra string) *play {
	p.t.Helper()
	p.send("<presence%s>%s</presence>", clientNS, extra)
	p.sync()
	return p
}

// sync is a barrier: all sent before it was handled.
func (p *play) sync() {
	p.t.Helper()
	p.send("<iq%s type='get' id='sync' to='x.test'><sync xmlns='test:sync'/></iq>", clientNS)
	for {
		it, err := p.next()
		if err != nil {
			p.t.Fatalf("%s: sync: %v", p.name, err)
		}
		if it.Stanza != nil {
			p.h++
			if it.Stanza.ID == "sync" {
				return
			}
			p.t.Fatalf("%s: got %s before the sync", p.name, it.Stanza)
		}
		if it.Elem.Local != "r" { // requests for acknowledgement may come at any time
			p.t.Fatalf("%s: got %s before the sync", p.name, text(it))
		}
	}
}

// user logs in over TLS and becomes available.
func (r *rig) user(name, resource string) *play {
	r.t.Helper()
	return r.dial(name, r.tls).auth("x.test", name).bind(resource).available("")
}

func (r *rig) guest(name string) *play {
	r.t.Helper()
	return r.dialWS(name, "?room=r1").auth("x.test", "").bind("")
}

// cut breaks the connection without a word.
func (p *play) cut() {
	if p.ws != nil {
		p.ws.CloseNow()
		return
	}
	p.conn.Close()
}

func mustBare(s string) stanza.JID { return stanza.MustJID(s) }
