package pubsub

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// nobody are no accounts.
type nobody struct{ xmpp.Accounts }

func (nobody) Exists(context.Context, string) (bool, error) { return false, nil }
func (nobody) Mechanisms() []string                         { return nil }

// TestDigest: several notifications go out as one message (XEP-0060 §6.3), at the latest when there are many.
func TestDigest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := xmpp.DefaultConfig()
		cfg.Domain = "example.org"
		srv, err := xmpp.New(cfg, nobody{}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		defer srv.Shutdown(context.Background())
		got := make(chan *stanza.Stanza, 10)
		srv.Mount("reader.example.org", xmpp.HandlerFunc(func(st *stanza.Stanza) { got <- st }))
		e := &Engine{srv: srv, digests: map[digestKey]*digest{}}
		n := &node{}
		st := stanza.NewMessage("headline", stanza.MustJID("pubsub.example.org"), stanza.MustJID("reader.example.org"))
		put := func(count int, after time.Duration) {
			for i := range count {
				if !e.collect(n, st, stanza.NewElement(nsEvent, "items", "node", fmt.Sprint(i)), after) {
					t.Fatal("not collected")
				}
			}
		}
		want := func(count int, after time.Duration) {
			t.Helper()
			began := time.Now()
			select {
			case st := <-got:
				events := st.Child(nsEvent, "event").Children()
				if len(events) != count || events[count-1].Attr("node") != fmt.Sprint(count-1) {
					t.Fatalf("%d events, want %d", len(events), count)
				}
				if took := time.Since(began); took != after {
					t.Errorf("%d events after %v, want %v", count, took, after)
				}
			case <-time.After(2 * time.Hour):
				t.Fatal("nothing came")
			}
		}
		put(3, time.Minute)
		want(3, time.Minute)
		put(maxDigest, time.Hour)
		want(maxDigest, 0)
		time.Sleep(time.Hour) // the timer of what has gone already
		synctest.Wait()
		if len(e.digests) > 0 || len(got) > 0 {
			t.Error(len(e.digests), len(got))
		}
	})
}

// TestOptions reads forms that are no options.
func TestOptions(t *testing.T) {
	for name, values := range map[string][]string{
		"deliver": {"maybe"}, "expire": {"presence"}, "show-values": {"chat", "gone"}, "digest_frequency": {"-1"}, "include_body": {}, "digest": {"2"},
	} {
		var o subOptions
		if o.apply(form{"pubsub#" + name: values}) {
			t.Errorf("%s %q was taken", name, values)
		}
	}
	var o subOptions
	if !o.apply(form{"pubsub#digest": {"1"}, "pubsub#digest_frequency": {"1"}, "pubsub#show-values": shows}) || o.Digest != minDigest.Milliseconds() || o.Show != nil {
		t.Errorf("%+v", o)
	}
}
