package pubsub

import (
	"log/slog"
	"testing"

	"go.uber.org/goleak"

	"konzil/internal/store"
	"konzil/internal/store/storetest"
	"konzil/xmpp"
	"konzil/xmpp/ext"
	"konzil/xmpp/play"
	"konzil/xmpp/roster"
	"konzil/xmpp/stanza"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// attach wires the engine as the program does.
func attach(t testing.TB, s *xmpp.Server, db *store.DB) *Engine {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	r := roster.Attach(s, roster.SQLStore{DB: db}, quiet)
	stored := ext.SQLStore{DB: db}
	vcards := ext.AttachVCard(s, stored, quiet)
	private := ext.AttachPrivate(s, stored, quiet)
	e, err := Attach(s, SQLStore{DB: db}, Options{
		Service: "pubsub.example.org", Subscribed: r.Subscribed, Groups: r.Groups,
		Watchers: func(o stanza.JID) []stanza.JID { return r.Peers(o, roster.From) },
		Watched:  func(o stanza.JID) []stanza.JID { return r.Peers(o, roster.To) },
	}, quiet)
	if err != nil {
		t.Fatal(err)
	}
	r.Granted(e.Granted)
	private.View(stanza.Name{Space: nodeOldBookmarks, Local: "storage"}, e.AttachBookmarks(private))
	a := e.AttachAvatars(vcards)
	v4 := e.AttachVCard4(vcards)
	vcards.Changed = func(owner stanza.JID, card *stanza.Element) { a.CardSet(owner, card); v4.CardSet(owner, card) }
	vcards.View = func(owner, asker stanza.JID, card *stanza.Element) *stanza.Element {
		return v4.Card(owner, asker, a.Card(owner, asker, card))
	}
	ext.AttachDisco(s, ext.DiscoOptions{Name: "Konzil", Visible: r.Subscribed, NodeInfo: e.Info, Nodes: e.List})
	return e
}

// TestPlays performs the plays of testdata on a real server: contacts, vcards and private XML as in the program.
func TestPlays(t *testing.T) {
	play.Run(t, "testdata/*.play", func(t *testing.T) play.World {
		db := storetest.Open(t)
		return play.NewLive(t, func(s *xmpp.Server) { attach(t, s, db) }, nil)
	})
}
