package main

import (
	"log/slog"
	"testing"
	"time"

	"konzil/internal/archive"
)

// TestRetention: people, rooms and exceptions have their own times.
func TestRetention(t *testing.T) {
	c := DefaultConfig()
	c.Domain, c.Data = "campus.example", t.TempDir()
	c.Proxy.Port = 0
	c.Retention = RetentionConfig{Messages: 30 * 24 * time.Hour, Rooms: 24 * time.Hour, Exceptions: []string{"keeper@campus.example=0", "helpdesk@conference.campus.example = 7d"}}
	s := &server{cfg: c, log: slog.New(slog.DiscardHandler)}
	defer s.stop()
	for _, step := range []func() error{func() error { return s.openData(t.Context()) }, func() error { return s.openXMPP(t.Context()) }} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
	now := time.Now()
	for _, owner := range []string{"alice@campus.example", "keeper@campus.example", "algebra@conference.campus.example", "helpdesk@conference.campus.example"} {
		var past []archive.Past
		for _, days := range []int{60, 5, 0} {
			past = append(past, archive.Past{At: now.Add(-time.Duration(days)*24*time.Hour - time.Hour), Peer: "bob@campus.example", XML: []byte("<message xmlns='jabber:client'/>")})
		}
		if n, err := s.archive.Import(t.Context(), owner, past); n != 3 || err != nil {
			t.Fatal(n, err)
		}
	}
	rules, err := c.Retention.rules()
	if err != nil {
		t.Fatal(err)
	}
	if n, err := s.expireNow(t.Context(), rules, now); n != 1+0+2+1 || err != nil {
		t.Errorf("%d removed, %v", n, err)
	}
	for owner, want := range map[string]int{"alice@campus.example": 2, "keeper@campus.example": 3, "algebra@conference.campus.example": 1, "helpdesk@conference.campus.example": 2} {
		page, err := s.archive.Find(t.Context(), archive.Query{Owner: owner, Max: 10})
		if err != nil || len(page.Messages) != want {
			t.Errorf("%s: %d left, want %d (%v)", owner, len(page.Messages), want, err)
		}
	}
	for _, bad := range []string{"", "alice", "alice@x", "alice@x=-1d", "alice@x=d", "@x=1d", "x=1d", "alice@x=1dd"} {
		if _, err := (RetentionConfig{Exceptions: []string{bad}}).rules(); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}
