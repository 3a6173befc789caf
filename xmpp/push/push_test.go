package push

import (
	"log/slog"
	"testing"

	"go.uber.org/goleak"

	"konzil/internal/store/storetest"
	"konzil/xmpp"
	"konzil/xmpp/play"
	"konzil/xmpp/stanza"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestPlays performs the plays of testdata. The app server push.example.org shows romeo what it gets, and knows all nodes but "gone". What it is told in a
// message it tells juliet.
func TestPlays(t *testing.T) {
	play.Run(t, "testdata/*.play", func(t *testing.T) play.World {
		db := storetest.Open(t)
		return play.NewLive(t, func(s *xmpp.Server) {
			if _, err := Attach(s, db, slog.New(slog.DiscardHandler)); err != nil {
				t.Fatal(err)
			}
			s.Hooks().Offline(func(*stanza.Stanza) bool { return true })
			s.Mount("push.example.org", xmpp.HandlerFunc(func(st *stanza.Stanza) {
				if st.Kind == stanza.Message {
					s.Route(st.WithFrom(st.To).WithTo(stanza.MustJID("juliet@example.org")))
					return
				}
				s.Route(stanza.NewMessage("headline", st.To, stanza.MustJID("romeo@example.org/orchard"), st.Payload()...))
				if st.Child(nsPubSub, "pubsub").Child(nsPubSub, "publish").Attr("node") == "gone" {
					s.Route(st.ErrorReply(stanza.ErrItemNotFound))
				} else {
					s.Route(st.Result())
				}
			}))
		}, nil)
	})
}

func TestMatters(t *testing.T) {
	for xml, want := range map[string]bool{
		`<message><body>x</body></message>`:                                                  true,
		`<message type='chat'><encrypted xmlns='eu.siacs.conversations.axolotl'/></message>`: true,
		`<message><propose xmlns='urn:xmpp:jingle-message:0'/></message>`:                    true,
		`<message><active xmlns='http://jabber.org/protocol/chatstates'/></message>`:         false,
		`<message><received xmlns='urn:xmpp:receipts'/></message>`:                           false,
		`<message type='error'><body>x</body></message>`:                                     false,
		`<message type='headline'><body>x</body></message>`:                                  false,
		`<presence/>`: false,
	} {
		st, err := stanza.Parse([]byte(xml))
		if err != nil {
			t.Fatal(err)
		}
		if matters(st) != want {
			t.Error(xml, !want)
		}
	}
}
