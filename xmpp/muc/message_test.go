package muc

import (
	"context"
	"log/slog"
	"slices"
	"testing"

	"konzil/xmpp/stanza"
)

// outbox is a router that notes the private messages that leave the room.
type outbox []*stanza.Stanza

func (o *outbox) Route(st *stanza.Stanza) {
	if st.ID == "private" {
		*o = append(*o, st)
	}
}

// TestOnePrivate: a private message for two sessions of one nick leaves the room as one, for those of our accounts: their archive has it once. Another server gets
// two.
func TestOnePrivate(t *testing.T) {
	for domain, want := range map[string]int{"example.org": 1, "elsewhere.org": 2} {
		var got outbox
		svc, err := New(testConfig(), &got, nil, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		enter := func(jid, nick string) {
			svc.HandleStanza(stanza.NewPresence("", stanza.MustJID(jid), stanza.MustJID("garden@rooms.example.org/"+nick), stanza.NewElement(nsMUC, "x")))
		}
		enter("focus@auth.example.org/focus", "focus")
		svc.room(stanza.MustJID("garden@rooms.example.org")).meeting = false // who may share a nick
		enter("romeo@"+domain+"/a", "romeo")
		enter("romeo@"+domain+"/b", "romeo")
		svc.HandleStanza(stanza.NewMessage("chat", stanza.MustJID("focus@auth.example.org/focus"), stanza.MustJID("garden@rooms.example.org/romeo"),
			stanza.TextElement(stanza.NSClient, "body", "x")).WithID("private"))
		if err := svc.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		var to []string
		for _, st := range got {
			for _, j := range append([]stanza.JID{st.To}, st.Also()...) {
				to = append(to, j.Resource())
			}
		}
		if len(got) != want || !slices.Equal(to, []string{"a", "b"}) {
			t.Errorf("%s: %d for %v", domain, len(got), to)
		}
	}
}
