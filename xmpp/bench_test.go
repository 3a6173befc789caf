package xmpp

import (
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"time"

	"konzil/xmpp/stanza"
)

// BenchmarkMessages is the way of a chat message from one TLS client to another; the clients' TLS is in the time too.
func BenchmarkMessages(b *testing.B) {
	r := newRig(b, fast)
	alice, bob := r.user("alice", "a"), r.user("bob", "b")
	msg := "<message to='alice@x.test/a' type='chat' id='12345678'><body>" + strings.Repeat("x", 80) + "</body><active xmlns='http://jabber.org/protocol/chatstates'/></message>"
	const window = 100
	burst := strings.Repeat(msg, window)
	_ = alice.conn.SetReadDeadline(time.Time{})
	buf := make([]byte, 1<<16)
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; done += window {
		if _, err := io.WriteString(bob.conn, burst); err != nil {
			b.Fatal(err)
		}
		for left := window; left > 0; {
			n, err := alice.conn.Read(buf)
			if err != nil {
				b.Fatal(err)
			}
			left -= strings.Count(string(buf[:n]), "</message>")
		}
	}
}

// BenchmarkIdle tells what an idle session with TLS costs: heap and stack per session, without the client's half where it can be told apart.
func BenchmarkIdle(b *testing.B) {
	r := newRig(b, func(c *Config) { fast(c); c.Limits.SessionsPerAccount = 0 })
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	var clients []net.Conn
	for range b.N {
		p := r.dial("alice", r.tls).auth("x.test", "alice").bind("").available("")
		clients = append(clients, p.conn)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapInuse-before.HeapInuse)/float64(b.N), "heap-B/session")
	b.ReportMetric(float64(after.StackInuse-before.StackInuse)/float64(b.N), "stack-B/session")
	runtime.KeepAlive(clients)
}

// sinkFeature is a mounted service that takes everything and does nothing.
type sinkFeature struct{ n int }

func (f *sinkFeature) HandleStanza(*stanza.Stanza) { f.n++ }

// BenchmarkRoute is the router alone: a parsed stanza finds its owner, a service and nobody.
func BenchmarkRoute(b *testing.B) {
	sink := &sinkFeature{}
	r := newRigWith(b, fast, func(s *Server) { s.Mount("sink.x.test", sink) })
	from := stanza.MustJID("alice@x.test/a")
	for name, to := range map[string]string{"service": "room@sink.x.test", "domain": "x.test"} {
		st, err := stanza.Parse([]byte("<message to='" + to + "' type='chat' id='1'><body>hello</body></message>"))
		if err != nil {
			b.Fatal(err)
		}
		st = st.WithFrom(from)
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.s.Route(st)
			}
		})
	}
	if sink.n == 0 {
		b.Fatal("nothing was routed")
	}
}
