package component

import (
	"io"
	"testing"

	"konzil/xmpp/internal/hostile"
)

// TestCorpus: what ends a client's stream ends a component's, before its handshake and after.
func TestCorpus(t *testing.T) {
	addr, _, _ := rig(t)
	for where, enter := range map[string]func(t *testing.T) *peer{
		"before": func(t *testing.T) *peer { return dial(t, addr, "a.x.test") },
		"after": func(t *testing.T) *peer {
			p := dial(t, addr, "a.x.test").handshake("secret-a")
			p.wants("handshake")
			return p
		},
	} {
		for name, c := range hostile.Corpus("jabber:component:accept") {
			t.Run(name+" "+where, func(t *testing.T) {
				p := enter(t)
				p.t = t
				_, _ = io.WriteString(p.conn, c.In) // it may be gone before all is written
				p.wants(c.Condition)
				if _, err := p.rd.Next(); err == nil {
					t.Error("the stream goes on")
				}
				p.conn.Close()
			})
		}
	}
}
