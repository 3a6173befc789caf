package brewery

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"konzil/internal/certs/certtest"
	"konzil/signaling/colibri"
	"konzil/signaling/jingle"
	"konzil/xmpp/stanza"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what has to happen anyway.
const patience = 10 * time.Second

const room = "jvbbrewery@internal.meet.example"

// house is an XMPP server with one room: what bridges log in to.
type house struct {
	t     *testing.T
	ln    net.Listener
	cert  tls.Certificate
	guest chan *guest // who has logged in
}

// guest is a bridge in the house.
type guest struct {
	t    *testing.T
	conn *tls.Conn
	got  chan *stanza.Stanza
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, cert: certtest.New().Issue("meet.example"), guest: make(chan *guest, 4)}
	var err error
	if h.ln, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := h.ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { h.serve(c) })
		}
	})
	t.Cleanup(func() { h.ln.Close(); wg.Wait() })
	return h
}

// serve lets jvb with the password "secret" in, by PLAIN.
func (h *house) serve(c net.Conn) {
	defer c.Close()
	open := func(w net.Conn, rd *stanza.Reader, features string) bool {
		if _, err := rd.Header(); err != nil {
			return false
		}
		_, err := w.Write([]byte("<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' id='1' from='meet.example' version='1.0'><stream:features>" + features + "</stream:features>"))
		return err == nil
	}
	rd := stanza.NewReader(c, limits)
	if !open(c, rd, "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>") {
		return
	}
	if it, err := rd.Next(); err != nil || it.Elem == nil || it.Elem.Local != "starttls" {
		return
	}
	_, _ = c.Write([]byte("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"))
	t := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{h.cert}})
	rd.Reset(t, false)
	if !open(t, rd, "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN</mechanism></mechanisms>") {
		return
	}
	it, err := rd.Next()
	if err != nil || it.Elem == nil {
		return
	}
	if it.Elem.Text() != base64.StdEncoding.EncodeToString([]byte("\x00jvb\x00secret")) {
		_, _ = t.Write([]byte("<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>"))
		return
	}
	_, _ = t.Write([]byte("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"))
	rd.Reset(t, false)
	if !open(t, rd, "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/>") {
		return
	}
	bind, err := rd.Next()
	if err != nil {
		return
	}
	g := &guest{t: h.t, conn: t, got: make(chan *stanza.Stanza, 100)}
	g.send(bind.Stanza.Result(stanza.NewElement(nsBind, "bind").Add(stanza.TextElement(nsBind, "jid", "jvb@meet.example/r"))))
	h.guest <- g
	for {
		it, err := rd.Next()
		if err != nil || it.Stanza == nil {
			close(g.got)
			return
		}
		if it.Stanza.Kind == stanza.Presence { // the room gives it back
			back := it.Stanza.WithFromTo(it.Stanza.To, stanza.MustJID("jvb@meet.example/r"))
			if back.Has(nsMUC, "x") { // and has been made for it
				back = back.WithAdded(stanza.NewElement(nsUser, "x").Add(stanza.NewElement(nsUser, "status", "code", "201"), stanza.NewElement(nsUser, "status", "code", "110")))
			}
			g.send(back)
		}
		g.got <- it.Stanza
	}
}

func (g *guest) send(st *stanza.Stanza) {
	_, _ = g.conn.Write(st.AppendXML(nil, stanza.NSClient, false)) // who has gone hears nothing
}

// next waits for a stanza that fits.
func (g *guest) next(fits func(*stanza.Stanza) bool) *stanza.Stanza {
	g.t.Helper()
	late := time.After(patience)
	for {
		select {
		case st, ok := <-g.got:
			if !ok {
				g.t.Fatal("the bridge has gone")
			}
			if fits(st) {
				return st
			}
		case <-late:
			g.t.Fatal("nothing came")
		}
	}
}

// ask lets an occupant ask the bridge.
func (g *guest) ask(from, typ string, payload *stanza.Element) *stanza.Stanza {
	g.t.Helper()
	g.send(stanza.NewIQ(typ, "q1", stanza.MustJID(from), stanza.MustJID("jvb@meet.example/r"), payload))
	return g.next(func(st *stanza.Stanza) bool { return st.Kind == stanza.IQ && st.ID == "q1" })
}

// fakeBridge answers with what it was asked for.
type fakeBridge struct {
	order chan string
	hold  chan struct{} // nil: answers at once
}

func (b *fakeBridge) Modify(_ context.Context, m *colibri.ConferenceModify) (*colibri.ConferenceModified, error) {
	if b.hold != nil && m.MeetingID == "slow" {
		<-b.hold
	}
	if b.order != nil {
		b.order <- m.MeetingID + " " + m.Name
	}
	if m.MeetingID == "none" {
		return nil, &colibri.Error{Reason: colibri.ReasonConferenceNotFound}
	}
	done := &colibri.ConferenceModified{}
	for _, e := range m.Endpoints {
		done.Endpoints = append(done.Endpoints, colibri.EndpointModified{ID: e.ID, Transport: &jingle.Transport{Ufrag: "u", Pwd: "p", SCTPPort: 5000}})
	}
	return done, nil
}

// start runs a member until the test ends.
func start(t *testing.T, h *house, b colibri.Bridge, stats func() Stats, change func(*Config)) *Member {
	t.Helper()
	c := Config{Account: Account{Server: h.ln.Addr().String(), JID: "jvb@meet.example", Password: "secret", Room: room, Nick: "one", AnyCertificate: true},
		Stats: stats, Version: "2.3", Region: "eu", Interval: 20 * time.Millisecond}
	if change != nil {
		change(&c)
	}
	m, err := New(b, c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); m.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return m
}

func healthy() Stats { return Stats{Stress: 0.25, Healthy: true, Conferences: 2, Endpoints: 5} }

func isPresence(st *stanza.Stanza) bool { return st.Kind == stanza.Presence }

func TestPresence(t *testing.T) {
	h := newHouse(t)
	var drain atomic.Bool
	start(t, h, &fakeBridge{}, func() Stats { s := healthy(); s.Drain = drain.Load(); return s }, nil)
	g := <-h.guest
	first := g.next(isPresence)
	if first.To.String() != room+"/one" || !first.Has(nsMUC, "x") {
		t.Errorf("first: %s", first)
	}
	open := g.next(func(st *stanza.Stanza) bool { return st.Kind == stanza.IQ })
	if open.To.String() != room || open.Type != "set" || open.Child(nsOwner, "query").Child("jabber:x:data", "x").Attr("type") != "submit" {
		t.Errorf("the room is not opened: %s", open)
	}
	got := ParseStats(first)
	for name, want := range map[string]string{"stress_level": "0.250", "version": "2.3", "region": "eu", "drain": "false", "healthy": "true",
		"graceful_shutdown": "false", "shutting_down": "false", "colibri2": "true", "conferences": "2", "endpoints": "5", "relay_id": ""} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	g.next(func(st *stanza.Stanza) bool { return isPresence(st) && !st.Has(nsMUC, "x") }) // it knows that it is in
	drain.Store(true)
	g.next(func(st *stanza.Stanza) bool { return isPresence(st) && ParseStats(st)["drain"] == "true" })
}

func TestQuestions(t *testing.T) {
	h := newHouse(t)
	var sick, ending atomic.Bool
	start(t, h, &fakeBridge{}, func() Stats {
		return Stats{Healthy: !sick.Load(), GracefulShutdown: ending.Load()}
	}, nil)
	g := <-h.guest
	focus := room + "/focus"
	info := g.ask(focus, "get", stanza.NewElement(nsDisco, "query"))
	for _, f := range []string{nsHealth, "urn:xmpp:jingle:apps:dtls:0", "urn:xmpp:jingle:transports:ice-udp:1", nsVersion} {
		if !strings.Contains(info.String(), `var="`+f+`"`) && !strings.Contains(info.String(), "var='"+f+"'") {
			t.Errorf("disco lacks %s: %s", f, info)
		}
	}
	if v := g.ask(focus, "get", stanza.NewElement(nsVersion, "query")); v.Child(nsVersion, "query").Child(nsVersion, "version").Text() != "2.3" {
		t.Errorf("version: %s", v)
	}
	create := &colibri.ConferenceModify{MeetingID: "m", Create: true, Endpoints: []colibri.Endpoint{{ID: "a", Create: true}}}
	for _, typ := range []string{"get", "set"} {
		r := g.ask(focus, typ, create.Element())
		done, err := colibri.ParseModified(r.Child(colibri.NS, "conference-modified"))
		if err != nil || len(done.Endpoints) != 1 || done.Endpoints[0].Transport.SCTPPort != 5000 {
			t.Errorf("%s: %s %v", typ, r, err)
		}
	}
	if r := g.ask(focus, "get", (&colibri.ConferenceModify{MeetingID: "none"}).Element()); colibri.ParseError(r).Reason != colibri.ReasonConferenceNotFound {
		t.Errorf("refused: %s", r)
	}
	if r := g.ask(focus, "get", stanza.NewElement(colibri.NS, "conference-modify")); colibri.ParseError(r).Reason != colibri.ReasonBadRequest {
		t.Errorf("no meeting id: %s", r)
	}
	if r := g.ask("mallory@meet.example/x", "get", create.Element()); r.Type != "error" {
		t.Errorf("a stranger: %s", r)
	}
	if r := g.ask(focus, "get", stanza.NewElement("urn:x", "query")); r.Type != "error" {
		t.Errorf("unknown: %s", r)
	}
	if r := g.ask(focus, "get", stanza.NewElement(nsHealth, "healthcheck")); r.Type != "result" {
		t.Errorf("health: %s", r)
	}
	sick.Store(true)
	if r := g.ask(focus, "get", stanza.NewElement(nsHealth, "healthcheck")); r.Type != "error" {
		t.Errorf("sick: %s", r)
	}
	ending.Store(true)
	if r := g.ask(focus, "get", create.Element()); colibri.ParseError(r).Reason != colibri.ReasonGracefulShutdown {
		t.Errorf("while it ends: %s", r)
	}
}

// TestOrder: requests about one conference stay in order, and do not wait for those about another.
func TestOrder(t *testing.T) {
	h := newHouse(t)
	b := &fakeBridge{order: make(chan string, 10), hold: make(chan struct{})}
	start(t, h, b, healthy, nil)
	g := <-h.guest
	for _, m := range []colibri.ConferenceModify{{MeetingID: "slow", Name: "1"}, {MeetingID: "slow", Name: "2"}, {MeetingID: "quick", Name: "3"}} {
		g.send(stanza.NewIQ("get", m.Name, stanza.MustJID(room+"/focus"), stanza.MustJID("jvb@meet.example/r"), m.Element()))
	}
	for i, want := range []string{"quick 3", "slow 1", "slow 2"} {
		if got := <-b.order; got != want {
			t.Errorf("%d: %q, want %q", i, got, want)
		}
		if i == 0 {
			close(b.hold)
		}
	}
}

// TestAgain: after the connection is lost the bridge comes again.
func TestAgain(t *testing.T) {
	h := newHouse(t)
	m := start(t, h, &fakeBridge{}, healthy, nil)
	g := <-h.guest
	g.next(func(st *stanza.Stanza) bool { return isPresence(st) && !st.Has(nsMUC, "x") })
	if !m.joined.Load() {
		t.Error("not joined")
	}
	g.conn.Close()
	select {
	case g = <-h.guest:
	case <-time.After(patience):
		t.Fatal("it did not come again")
	}
	if p := g.next(isPresence); !p.Has(nsMUC, "x") {
		t.Errorf("it does not join anew: %s", p)
	}
}

// TestRefusedLogin tells the reason, in one try.
func TestRefusedLogin(t *testing.T) {
	h := newHouse(t)
	a := Account{Server: h.ln.Addr().String(), JID: "jvb@meet.example", Password: "wrong", AnyCertificate: true}
	if _, err := dial(context.Background(), a); err == nil || !strings.Contains(err.Error(), "password") {
		t.Errorf("wrong password: %v", err)
	}
	a.Password, a.AnyCertificate = "secret", false
	if _, err := dial(context.Background(), a); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate that nobody signed: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := dial(ctx, a); err == nil {
		t.Error("a cancelled dial")
	}
	for _, bad := range []string{"", "meet.example", "@"} {
		if _, err := New(&fakeBridge{}, Config{Account: Account{JID: "jvb@meet.example", Room: bad}, Stats: healthy}, slog.Default()); err == nil {
			t.Errorf("room %q was taken", bad)
		}
	}
}
