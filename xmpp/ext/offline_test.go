package ext

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"konzil/internal/store/storetest"
	"konzil/xmpp"
	"konzil/xmpp/play"
	"konzil/xmpp/stanza"
)

// TestOfflineBadRecord: a stored message that cannot be read any more keeps nobody from the others, and does not stay for ever.
func TestOfflineBadRecord(t *testing.T) {
	ctx, owner := context.Background(), stanza.MustJID("romeo@example.org")
	db := storetest.Open(t)
	store := SQLStore{DB: db}
	add := func(xml string) {
		t.Helper()
		if err := store.AddOffline(ctx, owner, time.Now(), "", []byte(xml), maxOffline, maxOfflineBytes); err != nil {
			t.Fatal(err)
		}
	}
	var o *Offline
	live := play.NewLive(t, func(s *xmpp.Server) { o = AttachOffline(s, store, slog.New(slog.DiscardHandler)) }, nil)
	come := func(want ...string) {
		t.Helper()
		if err := live.Enter("romeo", "romeo@example.org/orchard"); err != nil {
			t.Fatal(err)
		}
		if err := live.Send("romeo", stanza.NewPresence("", stanza.JID{}, stanza.JID{})); err != nil {
			t.Fatal(err)
		}
		got := live.Pending("romeo")
		for i, st := range got {
			if i >= len(want) || st.ID != want[i] {
				t.Errorf("got %v, want %v", got, want)
				break
			}
		}
		if len(got) < len(want) {
			t.Errorf("got %v, want %v", got, want)
		}
		if err := live.Command([]string{"romeo", "leaves"}); err != nil {
			t.Fatal(err)
		}
		o.Wait()
		if left, err := store.Offline(ctx, owner); err != nil || len(left) > 0 {
			t.Errorf("left %v, %v", left, err)
		}
	}
	add("<message xmlns='jabber:client' id='1'><body>a</body></message>")
	add("<message")
	come("1")
	add("<message")
	come()
	come()
}
