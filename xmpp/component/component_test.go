package component

import (
	"context"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// nobody is an account system without accounts.
type nobody struct{}

func (nobody) SCRAM(context.Context, string, string) ([]byte, int, []byte, []byte, bool, error) {
	return nil, 0, nil, nil, false, nil
}
func (nobody) CheckPassword(context.Context, string, string) (string, bool, error) {
	return "", false, nil
}
func (nobody) Exists(context.Context, string) (bool, error)              { return false, nil }
func (nobody) Localpart(context.Context, string) (string, error)         { return "", nil }
func (a nobody) Enabled(ctx context.Context, local string) (bool, error) { return a.Exists(ctx, local) }

func (nobody) Mechanisms() []string { return []string{"PLAIN"} }

// rig is a server with two components, and what comes back for other domains.
func rig(t *testing.T) (addr string, s *Service, srv *xmpp.Server) {
	t.Helper()
	cfg := xmpp.DefaultConfig()
	cfg.Domain = "x.test"
	srv, err := xmpp.New(cfg, nobody{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s, err = New([]Config{{Domain: "a.x.test", Secret: "secret-a"}, {Domain: "b.x.test", Secret: "secret-b"},
		{Domain: "d.x.test", Secret: "secret-d", Roster: "get", Delegate: []Delegation{{Namespace: "urn:delegated"}}}}, srv, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = s.Serve(ln) })
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
		_ = srv.Shutdown(ctx)
		wg.Wait()
	})
	return ln.Addr().String(), s, srv
}

// peer is the component's end.
type peer struct {
	t    *testing.T
	conn net.Conn
	rd   *stanza.Reader
	id   string
}

func dial(t *testing.T, addr, domain string) *peer {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	p := &peer{t: t, conn: c, rd: stanza.NewReader(c, stanza.Limits{})}
	fmt.Fprintf(c, "<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' to='%s'>", domain)
	h, err := p.rd.Header()
	if err != nil {
		t.Fatal(err)
	}
	p.id = h.Attr("id")
	return p
}

func (p *peer) handshake(secret string) *peer {
	sum := sha1.Sum([]byte(p.id + secret))
	fmt.Fprintf(p.conn, "<handshake>%s</handshake>", hex.EncodeToString(sum[:]))
	return p
}

// wants reads an element or a stanza and compares its name, or that of an error's condition.
func (p *peer) wants(name string) stanza.Item {
	p.t.Helper()
	it, err := p.rd.Next()
	if err != nil {
		p.t.Fatalf("waiting for %s: %v", name, err)
	}
	got := ""
	if it.Stanza != nil {
		got = it.Stanza.Kind.String()
	} else if got = it.Elem.Local; got == "error" && len(it.Elem.Children()) > 0 {
		got = it.Elem.Children()[0].Local
	}
	if got != name {
		p.t.Fatalf("got %s, want %s", got, name)
	}
	return it
}

// TestHandshake: who knows the secret is let in, and replaces who was there; nobody else, under no other name (XEP-0114 §3).
func TestHandshake(t *testing.T) {
	addr, _, _ := rig(t)
	dial(t, addr, "a.x.test").handshake("wrong").wants("not-authorized")
	dial(t, addr, "a.x.test").handshake("secret-b").wants("not-authorized")
	dial(t, addr, "x.test").wants("host-unknown")
	first := dial(t, addr, "a.x.test").handshake("secret-a")
	first.wants("handshake")
	second := dial(t, addr, "a.x.test").handshake("secret-a")
	second.wants("handshake")
	first.wants("conflict")
	fmt.Fprint(second.conn, "<message from='b.x.test' to='b.x.test'/>")
	second.wants("invalid-from")
}

// TestBetween: stanzas go from component to component; without a connection they come back.
func TestBetween(t *testing.T) {
	addr, _, _ := rig(t)
	a := dial(t, addr, "a.x.test").handshake("secret-a")
	a.wants("handshake")
	fmt.Fprint(a.conn, "<message id='1' from='u@a.x.test' to='v@b.x.test'><body>x</body></message>")
	if st := a.wants("message").Stanza; st.Type != "error" || st.ID != "1" {
		t.Errorf("got %v, want an error", st)
	}
	b := dial(t, addr, "b.x.test").handshake("secret-b")
	b.wants("handshake")
	fmt.Fprint(a.conn, "<message id='2' from='u@a.x.test' to='v@b.x.test'><body>x</body></message>")
	if st := b.wants("message").Stanza; st.ID != "2" || st.From.String() != "u@a.x.test" {
		t.Errorf("got %v", st)
	}
	fmt.Fprint(a.conn, "<message id='3' from='u@a.x.test' to='@bad@'/>")
	if st := a.wants("message").Stanza; st.Type != "error" || st.ID != "3" {
		t.Errorf("got %v, want an error", st)
	}
	// Programs that were written as clients name no sender, or nobody that they write to.
	fmt.Fprint(a.conn, "<message id='4' to='v@b.x.test'><body>x</body></message>")
	if st := b.wants("message").Stanza; st.ID != "4" || st.From.String() != "a.x.test" {
		t.Errorf("got %v, want it from the component", st)
	}
	fmt.Fprint(a.conn, "<presence id='5'/><message id='6' type='error'/><iq id='7' type='get'><ping xmlns='urn:xmpp:ping'/></iq>")
	for _, want := range []struct{ kind, id string }{{"presence", "5"}, {"iq", "7"}} {
		if st := a.wants(want.kind).Stanza; st.Type != "error" || st.ID != want.id {
			t.Errorf("got %v, want an error", st)
		}
	}
	fmt.Fprint(a.conn, "<!DOCTYPE x>")
	a.wants("restricted-xml")
}
