package xmpp

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"testing"
	"time"

	"konzil/xmpp/stanza"
)

// pipeWire is a tcpWire over a pipe that counts as secure.
type pipeWire struct{ *tcpWire }

func (pipeWire) secure() bool { return true }

// FuzzServer sends foreign bytes to a stream in each of its states: it must end or go on, never panic or hang, and everything it says must be well-formed.
func FuzzServer(f *testing.F) {
	const header = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='x.test' version='1.0'>"
	login := header + "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>" + plain("alice", "secret-a") + "</auth>"
	bound := login + header + "<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>r</resource></bind></iq>"
	states := []string{"", header, login, login + header, bound, bound + "<enable xmlns='urn:xmpp:sm:3' resume='true'/><presence/>"}
	for i := range states {
		for _, s := range []string{header, "</stream:stream>", "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='SCRAM-SHA-1'>biwsbj11LHI9YQ==</auth>",
			"<iq type='get' id='1'><q xmlns='u'/></iq>", "<message to='alice@x.test'><body>x</body></message>", "<presence to='bob@x.test/r'/><presence type='unavailable'/>",
			"<a xmlns='urn:xmpp:sm:3' h='1'/><r xmlns='urn:xmpp:sm:3'/>", "<resume xmlns='urn:xmpp:sm:3' previd='x' h='0'/>", "<!DOCTYPE", "\x00", "<a><b></a>"} {
			f.Add(uint8(i), []byte(s))
		}
	}
	f.Fuzz(func(t *testing.T, state uint8, in []byte) {
		cfg := DefaultConfig()
		cfg.Domain, cfg.GuestDomain = "x.test", "guest.x.test"
		cfg.Limits.NegotiationTimeout = 5 * time.Second
		s, err := New(cfg, testAccounts{"alice": "secret-a"}, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		a, b := loopbackPair(t)
		w := s.newTCPWire(s.meter(b))
		st := &stream{srv: s, wire: pipeWire{w}, tcp: nil}
		if !s.admit(st) {
			t.Fatal("refused")
		}
		done := make(chan struct{})
		go func() { defer close(done); defer s.untrack(st); st.serve() }()
		said := make(chan []byte)
		go func() { out, _ := io.ReadAll(a); said <- out }()
		_ = a.SetWriteDeadline(time.Now().Add(5 * time.Second))
		_, _ = a.Write(append([]byte(states[int(state)%len(states)]), in...)) // the server may hang up in the midst
		_ = a.CloseWrite()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatal("stream hangs")
		}
		b.Close()
		checkOutput(t, <-said)
		a.Close()
		if err := s.Shutdown(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := s.Counters(); n["sessions"] != 0 || n["streams_pending"] != 0 {
			t.Errorf("left over: %v", n)
		}
	})
}

func loopbackPair(t *testing.T) (a *net.TCPConn, b net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if b, err = ln.Accept(); err != nil {
		t.Fatal(err)
	}
	return c.(*net.TCPConn), b
}

// checkOutput reads what the server said as streams one after the other.
func checkOutput(t *testing.T, out []byte) {
	src := bytes.NewReader(out)
	r := stanza.NewReader(src, stanza.Limits{})
	for {
		if _, err := r.Header(); err == io.EOF {
			return
		} else if err != nil {
			t.Fatalf("header in %q: %v", out, err)
		}
		for {
			it, err := r.Next()
			if err == stanza.ErrStreamEnd || err == io.EOF || err == io.ErrUnexpectedEOF { // a reset may cut the last words
				break
			}
			if err != nil {
				t.Fatalf("in %q: %v", out, err)
			}
			if it.Elem != nil && it.Elem.Local == "success" { // a new header follows
				r.Reset(src, true)
				break
			}
		}
	}
}
