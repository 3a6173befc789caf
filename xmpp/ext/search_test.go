package ext

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	"konzil/internal/await"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// TestSearchLimit: nobody has the directory asked without end.
func TestSearchLimit(t *testing.T) {
	cfg := xmpp.DefaultConfig()
	cfg.Domain = "example.org"
	srv, err := xmpp.New(cfg, noAccounts{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	wait := make(chan struct{})
	var asked sync.WaitGroup
	s := NewSearch(srv, func(context.Context, Wanted) ([]Found, error) { asked.Done(); <-wait; return nil, nil }, slog.New(slog.DiscardHandler))
	search := func(who string) {
		st := stanza.NewIQ("set", "1", stanza.MustJID(who), stanza.MustJID("search.example.org"),
			stanza.NewElement(nsSearch, "query").Add(stanza.TextElement(nsSearch, "nick", "mon")))
		s.HandleStanza(st)
	}
	asked.Add(maxSearchesEach)
	for range maxSearchesEach + 3 {
		search("romeo@example.org/orchard")
	}
	asked.Wait() // the others were not
	if n := s.Counters(); n["refused_total"] != 3 || n["searches_total"] != maxSearchesEach {
		t.Errorf("%v", n)
	}
	asked.Add(maxSearches - maxSearchesEach)
	for i := range maxSearches - maxSearchesEach {
		search("p" + string(rune('a'+i)) + "@example.org/x")
	}
	asked.Wait()
	search("juliet@example.org/balcony")
	if n := s.Counters()["refused_total"]; n != 4 {
		t.Errorf("%d refused", n)
	}
	close(wait)
	await.True(t, "places are given back", func() bool { return s.underWay.Take(stanza.MustJID("juliet@example.org")) })
}
