package roster

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"konzil/internal/store/storetest"
	"konzil/xmpp"
	"konzil/xmpp/play"
	"konzil/xmpp/stanza"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestPlays performs the plays of testdata on a real server with a real database.
func TestPlays(t *testing.T) {
	play.Run(t, "testdata/*.play", func(t *testing.T) play.World {
		db := storetest.Open(t)
		return play.NewLive(t, func(s *xmpp.Server) { Attach(s, SQLStore{DB: db}, slog.New(slog.DiscardHandler)) }, nil)
	})
}

// TestReopen: a list comes back from the database as it was.
func TestReopen(t *testing.T) {
	dir := t.TempDir()
	db := storetest.OpenIn(t, dir)
	ctx := context.Background()
	owner := stanza.MustJID("romeo@example.org")
	want := []Item{
		{JID: stanza.MustJID("juliet@example.net"), Name: "J & J", Groups: []string{"Friends", "<Lovers>"}, Subscription: To, Ask: true, Listed: true},
		{JID: stanza.MustJID("nurse@example.org"), PendingIn: true, Request: []byte("<presence/>")},
	}
	if err := (SQLStore{DB: db}).Save(ctx, owner, 7, append(want, Item{JID: stanza.MustJID("gone@example.org"), Listed: true}), nil); err != nil {
		t.Fatal(err)
	}
	if err := (SQLStore{DB: db}).Save(ctx, owner, 8, nil, []stanza.JID{stanza.MustJID("gone@example.org")}); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = storetest.OpenIn(t, dir)
	defer func() { _ = db.Close() }()
	got, version, err := (SQLStore{DB: db}).Load(ctx, owner)
	if err != nil || version != 8 {
		t.Fatalf("version %d, %v", version, err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

// state describes an item in the words of RFC 6121 appendix A.1.
func describe(i Item) string {
	s := map[Subscription]string{None: "None", To: "To", From: "From", Both: "Both"}[i.Subscription]
	if i.Ask {
		s += "+Out"
	}
	if i.PendingIn {
		s += "+In"
	}
	return s
}

func itemOf(words string) Item {
	parts := strings.Split(words, "+")
	i := Item{Subscription: map[string]Subscription{"None": None, "To": To, "From": From, "Both": Both}[parts[0]], Listed: true}
	for _, p := range parts[1:] {
		i.Ask = i.Ask || p == "Out"
		i.PendingIn = i.PendingIn || p == "In"
	}
	return i
}

// TestStates walks the tables of RFC 6121 appendix A: nine states, four stanzas, both directions.
func TestStates(t *testing.T) {
	st := stanza.NewPresence("subscribe", stanza.MustJID("a@b"), stanza.MustJID("c@d"))
	for _, c := range []struct{ dir, typ, table string }{
		{"out", "subscribe", "None:None+Out:1 None+Out:None+Out:1 None+In:None+Out+In:1 None+Out+In:None+Out+In:1 To:To:1 To+In:To+In:1 From:From+Out:1 From+Out:From+Out:1 Both:Both:1"},
		{"out", "unsubscribe", "None:None:1 None+Out:None:1 None+In:None+In:1 None+Out+In:None+In:1 To:None:1 To+In:None+In:1 From:From:1 From+Out:From:1 Both:From:1"},
		{"out", "subscribed", "None:None:0 None+Out:None+Out:0 None+In:From:1 None+Out+In:From+Out:1 To:To:0 To+In:Both:1 From:From:0 From+Out:From+Out:0 Both:Both:0"},
		{"out", "unsubscribed", "None:None:0 None+Out:None+Out:0 None+In:None:1 None+Out+In:None+Out:1 To:To:0 To+In:To:1 From:None:1 From+Out:None+Out:1 Both:To:1"},
		{"in", "subscribe", "None:None+In:1 None+Out:None+Out+In:1 None+In:None+In:0 None+Out+In:None+Out+In:0 To:To+In:1 To+In:To+In:0 From:From:0 From+Out:From+Out:0 Both:Both:0"},
		{"in", "unsubscribe", "None:None:0 None+Out:None+Out:0 None+In:None:1 None+Out+In:None+Out:1 To:To:0 To+In:To:1 From:None:1 From+Out:None+Out:1 Both:To:1"},
		{"in", "subscribed", "None:None:0 None+Out:To:1 None+In:None+In:0 None+Out+In:To+In:1 To:To:0 To+In:To+In:0 From:From:0 From+Out:Both:1 Both:Both:0"},
		{"in", "unsubscribed", "None:None:0 None+Out:None:1 None+In:None+In:0 None+Out+In:None+In:1 To:None:1 To+In:None+In:1 From:From:0 From+Out:From:1 Both:From:1"},
	} {
		rows := strings.Fields(c.table)
		if len(rows) != 9 {
			t.Fatalf("%s %s: %d rows", c.dir, c.typ, len(rows))
		}
		for _, row := range rows {
			f := strings.Split(row, ":")
			i := itemOf(f[0])
			var on bool // routed to the contact, or shown to the owner
			var e effect
			if c.dir == "out" {
				e = outgoing(c.typ, &i)
				on = e.route
			} else {
				e = incoming(c.typ, &i, st)
				on = e.deliver
			}
			if got := describe(i); got != f[1] || on != (f[2] == "1") {
				t.Errorf("%s %s in state %s: got %s and passed on %v, want %s and %s", c.dir, c.typ, f[0], got, on, f[1], f[2])
			}
			if e.changed != (f[0] != f[1]) && !i.Approved {
				t.Errorf("%s %s in state %s: changed is %v", c.dir, c.typ, f[0], e.changed)
			}
		}
	}
}

// broken is a store whose disk is full.
type broken struct{ SQLStore }

func (broken) Save(context.Context, stanza.JID, int64, []Item, []stanza.JID) error {
	return errors.New("disk full")
}

// TestStoreFails: what is not on disk is neither acknowledged nor shown nor sent on.
func TestStoreFails(t *testing.T) {
	db := storetest.Open(t)
	w := play.NewLive(t, func(s *xmpp.Server) { Attach(s, broken{SQLStore{DB: db}}, slog.New(slog.DiscardHandler)) }, nil)
	for name, jid := range map[string]string{"romeo": "romeo@example.org/x", "juliet": "juliet@example.org/y"} {
		if err := w.Enter(name, jid); err != nil {
			t.Fatal(err)
		}
	}
	send := func(name, xml string) {
		st, err := stanza.Parse([]byte(xml))
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Send(name, st); err != nil {
			t.Fatal(err)
		}
	}
	send("romeo", `<iq type='get' id='g'><query xmlns='jabber:iq:roster'/></iq>`)
	send("juliet", `<presence/>`)
	w.Pending("romeo")
	w.Pending("juliet")
	send("romeo", `<iq type='set' id='s'><query xmlns='jabber:iq:roster'><item jid='juliet@example.org'/></query></iq>`)
	send("romeo", `<presence type='subscribe' to='juliet@example.org'/>`)
	got := w.Pending("romeo")
	if len(got) != 2 || got[0].Type != "error" || got[1].Type != "error" {
		t.Errorf("romeo got %v, want two errors", got)
	}
	if got := w.Pending("juliet"); len(got) != 0 {
		t.Errorf("juliet got %v", got)
	}
}

// TestSubscriptionSpam: requests of strangers that wait for an answer fill no list.
func TestSubscriptionSpam(t *testing.T) {
	db := storetest.Open(t)
	w := play.NewLive(t, func(s *xmpp.Server) { Attach(s, SQLStore{DB: db}, slog.New(slog.DiscardHandler)) }, nil)
	for i := range maxPending + 20 {
		from := stanza.MustJID(fmt.Sprintf("spam%d@elsewhere.example", i))
		w.Server.Route(stanza.NewPresence("subscribe", from, stanza.MustJID("romeo@example.org")))
	}
	if err := w.Enter("romeo", "romeo@example.org/x"); err != nil {
		t.Fatal(err)
	}
	if err := w.Send("romeo", stanza.NewPresence("", stanza.JID{}, stanza.JID{})); err != nil {
		t.Fatal(err)
	}
	asked := 0
	for _, st := range w.Pending("romeo") {
		if st.Type == "subscribe" {
			asked++
		}
	}
	if asked != maxPending {
		t.Errorf("%d requests wait", asked)
	}
}
