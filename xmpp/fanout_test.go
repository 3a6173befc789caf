package xmpp

import (
	"testing"
	"time"

	"konzil/internal/await"
	"konzil/xmpp/stanza"
)

// TestFanout: who makes the server send to many is read more slowly, and nobody else is.
func TestFanout(t *testing.T) {
	const many = 50
	r := newRigWith(t, func(c *Config) { c.Limits.FanoutRate, c.Limits.FanoutBurst = 200, 100 }, func(s *Server) {
		s.Hooks().Outbound(func(x *Session, st *stanza.Stanza) bool {
			if st.Kind == stanza.Presence && x.jid.Local() == "alice" {
				x.Fanout(many)
			}
			return false
		})
	})
	alice, bob := r.user("alice", "a"), r.user("bob", "b")
	start := time.Now()
	for range 4 { // 200 stanzas, of which 100 are free
		alice.send("<presence/>")
	}
	bob.sync()
	quick := time.Since(start)
	alice.sync()
	if d := time.Since(start); d < 450*time.Millisecond {
		t.Errorf("200 stanzas at 200 a second with 100 at once took %v, a question of somebody else meanwhile %v", d, quick)
	}
	if r.s.Counters()["fanout_waits"] == 0 {
		t.Error("no wait counted")
	}
	for range 40 { // a debt of ten seconds, for which a session that is put out does not wait
		alice.send("<presence/>")
	}
	waits := r.s.Counters()["fanout_waits"]
	await.True(t, "she pays", func() bool { return r.s.Counters()["fanout_waits"] > waits })
	start = time.Now()
	r.s.Session(alice.jid).Kill("policy-violation", "")
	await.True(t, "the session is over", func() bool { return len(r.s.Sessions(alice.jid.Bare())) == 0 })
	if d := time.Since(start); d > 5*time.Second {
		t.Errorf("it took %v", d)
	}
}
