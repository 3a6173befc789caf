package xmpp

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"konzil/internal/await"
	"konzil/internal/ledger"
	"konzil/xmpp/stanza"
)

// life is a run of the program from a start on what a kill has left. Nobody is connected: sessions wait to be resumed.
type life struct {
	t   *testing.T
	dir string
	l   *ledger.Ledger
	s   *Server
}

// newLife starts on a ledger to which leave has written.
func newLife(t *testing.T, leave func(l *ledger.Ledger)) *life {
	t.Helper()
	dir, quiet := t.TempDir(), slog.New(slog.DiscardHandler)
	before, err := ledger.Open(dir, quiet)
	if err != nil {
		t.Fatal(err)
	}
	leave(before)
	if err := before.Close(); err != nil {
		t.Fatal(err)
	}
	return startOn(t, dir)
}

// startOn starts on the ledger of a folder.
func startOn(t *testing.T, dir string) *life {
	t.Helper()
	quiet := slog.New(slog.DiscardHandler)
	f := &life{t: t, dir: dir}
	var err error
	if f.l, err = ledger.Open(dir, quiet); err != nil {
		t.Fatal(err)
	}
	cfg := DefaultConfig()
	cfg.Domain, cfg.Ledger = "x.test", f.l
	if f.s, err = New(cfg, testAccounts{"alice": "", "bob": ""}, quiet); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		if err := f.l.Close(); err != nil {
			t.Error(err)
		}
	})
	f.s.Restore()
	return f
}

// again is the next life, after a kill now.
func (f *life) again() *life {
	f.t.Helper()
	b, err := os.ReadFile(filepath.Join(f.dir, "sessions.log"))
	if err != nil {
		f.t.Fatal(err)
	}
	dir := f.t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "sessions.log"), b, 0o600); err != nil {
		f.t.Fatal(err)
	}
	return startOn(f.t, dir)
}

// sessionOf writes one that is available and can be resumed.
func sessionOf(l *ledger.Ledger, jid string) *ledger.Channel {
	ch := l.New(sessionName + jid)
	ch.Set(keySM, []byte(jid+" 600 en"))
	ch.Set(keyPresence, fmt.Appendf(nil, "<presence xmlns='jabber:client' from='%s'/>", jid))
	return ch
}

// kept is what the ledger has of a session.
func (f *life) kept(jid string) ledger.Kept {
	f.t.Helper()
	for _, k := range f.l.Kept() {
		if k.Name == sessionName+jid {
			return k
		}
	}
	f.t.Fatalf("no session %s", jid)
	return ledger.Kept{}
}

// want compares the ids of the messages that wait for a session.
func (f *life) want(jid string, ids ...string) {
	f.t.Helper()
	var got []string
	for _, it := range f.kept(jid).Items {
		if st, err := stanza.Parse(it.Body); err == nil {
			got = append(got, st.ID)
		}
	}
	if !slices.Equal(got, ids) {
		f.t.Errorf("%s gets %q, want %q", jid, got, ids)
	}
}

func says(st *stanza.Stanza) func([]byte) []byte {
	return func(b []byte) []byte { return st.AppendXML(b, stanza.NSClient, true) }
}

// toBob is a message in bob's archive.
func toBob(to string, ref uint64) *stanza.Stanza {
	st := stanza.NewMessage("chat", stanza.MustJID("alice@x.test/a"), stanza.MustJID(to), stanza.TextElement(stanza.NSClient, "body", "x"))
	return st.WithID("1").WithArchive(archiveID(ref), stanza.MustJID("bob@x.test"))
}

// TestKilledBetweenClients: a kill came between the two pushes of a message for two clients of an account. The start gives it to the second one alone, and it is
// one delivery: while either of them has it, nobody gets it a second time.
func TestKilledBetweenClients(t *testing.T) {
	for _, acked := range []bool{false, true} {
		t.Run(fmt.Sprint("acked ", acked), func(t *testing.T) {
			m := toBob("bob@x.test", 7)
			f := newLife(t, func(l *ledger.Ledger) {
				one := sessionOf(l, "bob@x.test/1")
				sessionOf(l, "bob@x.test/2")
				l.Begin(7, "bob@x.test", ledger.Origin{})
				one.Push(ledger.Item{Counted: true, Shared: true, Ref: 7, At: time.Now(), Origin: ledger.Origin{Part: true}}, ledger.Key{}, says(m))
				if acked {
					one.Ack(1, 1)
				}
			})
			f.s.Resend(m)
			f.l.Done(7)
			f.s.EndLost()
			f.l.Started()
			f.want("bob@x.test/2", "1")
			if acked {
				f.want("bob@x.test/1")
				f.s.Session(stanza.MustJID("bob@x.test/2")).end()
				f.want("bob@x.test/1")
				return
			}
			f.want("bob@x.test/1", "1")
			f.s.Session(stanza.MustJID("bob@x.test/1")).end()
			f.want("bob@x.test/2", "1")
		})
	}
}

// TestKilledAndGone: of the two clients that a private message was for neither is found again, a third one gets it (RFC 6121 §8.5.3.2.1). When that goes too
// without having read it, it waits for the next; before that it waits for nobody else.
func TestKilledAndGone(t *testing.T) {
	f := newLife(t, func(l *ledger.Ledger) { sessionOf(l, "bob@x.test/3") })
	waits := 0
	f.s.Hooks().Offline(func(*stanza.Stanza) bool { waits++; return true })
	f.s.Resend(toBob("bob@x.test", 7).ForAll([]stanza.JID{stanza.MustJID("bob@x.test/1"), stanza.MustJID("bob@x.test/2")}))
	f.s.EndLost()
	f.want("bob@x.test/3", "1")
	if waits != 0 {
		t.Error("it waits for others")
	}
	f.s.Session(stanza.MustJID("bob@x.test/3")).end()
	if waits != 1 {
		t.Errorf("it waits %d times", waits)
	}
}

// TestKilledWhileReplaced: a session that had a message was being replaced by one of the same name when the program was killed. That one gets it.
func TestKilledWhileReplaced(t *testing.T) {
	for _, to := range []string{"bob@x.test", "bob@x.test/1"} {
		m := toBob(to, 7)
		f := newLife(t, func(l *ledger.Ledger) {
			old := sessionOf(l, "bob@x.test/1")
			l.Begin(7, "bob@x.test", ledger.Origin{})
			old.Push(ledger.Item{Counted: true, Shared: to == "bob@x.test", Ref: 7, At: time.Now()}, ledger.Key{}, says(m))
			old.Set(keyOver, []byte{})
			sessionOf(l, "bob@x.test/1")
		})
		u := f.l.Undone()
		if len(u) != 1 || !f.s.Served(&u[0], stanza.MustJID("bob@x.test/1")) {
			t.Errorf("undone: %+v", u)
		}
		if to == "bob@x.test" { // else the old session has it to pass on
			f.s.Resend(m)
		}
		f.l.Done(7)
		f.s.EndLost()
		f.l.Started()
		f.want("bob@x.test/1", "1")
	}
}

// TestKilledWhileRefusing: who has the answer to a message need not send it again, whenever the program is killed.
func TestKilledWhileRefusing(t *testing.T) {
	f := newLife(t, func(l *ledger.Ledger) { sessionOf(l, "alice@x.test/a") })
	o := stanza.Origin{Channel: f.kept("alice@x.test/a").ID(), Number: 1}
	f.s.Route(stanza.NewMessage("chat", stanza.MustJID("alice@x.test/a"), stanza.MustJID("nobody@x.test")).WithID("1").WithOrigin(o))
	f.want("alice@x.test/a", "1")
	if n := f.kept("alice@x.test/a").Handled; n != 1 {
		t.Errorf("%d are handled", n)
	}
	o.Number = 2
	f.s.Session(stanza.MustJID("alice@x.test/a")).refuse(stanza.NewMessage("chat", stanza.MustJID("alice@x.test/a"), stanza.MustJID("x.test")).WithOrigin(o), stanza.ErrBadRequest)
	if n := f.kept("alice@x.test/a").Handled; n != 2 {
		t.Errorf("%d are handled", n)
	}
	in, ch := f.s.NewInbound(nil), f.l.New("in")
	in.Number(ch, 4)
	back := make(chan stanza.Origin, 1)
	f.s.Mount("elsewhere.test", HandlerFunc(func(st *stanza.Stanza) { back <- st.Origin() }))
	in.Refuse(stanza.NewMessage("chat", stanza.MustJID("a@elsewhere.test"), stanza.MustJID("bob@x.test")), stanza.ErrForbidden)
	if o := <-back; o != (stanza.Origin{Channel: ch.ID(), Number: 5}) {
		t.Errorf("the refusal of %+v", o)
	}
}

// TestCopyAgain: a kill came after a client had got the copy of a message (XEP-0280), and before the message itself was handed on. The copy does not come twice, and
// the client that has it still gets the message when that is for it after all.
func TestCopyAgain(t *testing.T) {
	m := toBob("bob@x.test/1", 7)
	carbon := func(o stanza.Origin) *stanza.Stanza {
		st := stanza.NewMessage("chat", stanza.MustJID("bob@x.test"), stanza.MustJID("bob@x.test/2"), stanza.NewElement(nsCarbons, "received"))
		return st.WithID("copy").WithArchive(m.Archive(), stanza.JID{}).WithOrigin(o).Part()
	}
	for _, archived := range []bool{true, false} {
		t.Run(fmt.Sprint("archived ", archived), func(t *testing.T) {
			var o stanza.Origin
			push := func(s *Server) {
				c := carbon(o)
				if !archived {
					c = c.WithArchive("", stanza.JID{})
				}
				s.Session(stanza.MustJID("bob@x.test/2")).Send(c)
			}
			first := newLife(t, func(l *ledger.Ledger) {
				sessionOf(l, "bob@x.test/1")
				sessionOf(l, "bob@x.test/2")
				o = stanza.Origin{Channel: sessionOf(l, "alice@x.test/a").ID(), Number: 1}
				if archived {
					l.Begin(7, "bob@x.test", ledger.Origin(o))
					o = stanza.Origin{} // the archive does not tell it
				}
			})
			push(first.s)
			f := first.again()
			push(f.s)
			f.want("bob@x.test/2", "copy")
			f.s.Route(m.WithTo(stanza.MustJID("bob@x.test/2")))
			f.want("bob@x.test/2", "copy", "1")
		})
	}
}

// TestUncounted: what a client had got before it turned stream management on, while the server did not know that it was written, is not written again when the
// session is resumed: the client would count it.
func TestUncounted(t *testing.T) {
	l, err := ledger.Open(t.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	ch := sessionOf(l, "alice@x.test/a")
	for i, counted := range []bool{false, true} {
		st := stanza.NewMessage("chat", stanza.MustJID("bob@x.test/b"), stanza.MustJID("alice@x.test/a")).WithID(fmt.Sprint(i))
		ch.Push(ledger.Item{Counted: counted, At: time.Now()}, ledger.Key{}, says(st))
	}
	r := newRigWith(t, func(cfg *Config) { cfg.Ledger = l }, func(s *Server) {
		s.Restore()
		s.EndLost()
	})
	p := r.dial("alice", r.tls).auth("x.test", "alice")
	p.jid, p.smid, p.h = stanza.MustJID("alice@x.test/a"), "alice@x.test/a", 0
	p.send("<resume xmlns='%s' h='0' previd='%s'/>", nsSM, p.smid)
	p.expect("<resumed", "h='0'")
	bob := r.user("bob", "b")
	bob.send("<message to='alice@x.test/a' id='2' type='chat'/>")
	for _, id := range []string{"1", "2"} {
		if st, err := p.receive(); err != nil || st.ID != id {
			t.Fatalf("got %v %v, want %s", st, err, id)
		}
	}
	p.send("<a xmlns='%s' h='2'/>", nsSM)
	p.sync() // the server agrees
	for _, k := range l.Kept() {
		if k.Name == sessionName+"alice@x.test/a" && len(k.Items) > 0 && !k.Items[0].Hollow {
			t.Errorf("left: %s", k.Items[0].Body)
		}
	}
	p.send("</stream:stream>")
	await.True(t, "she is gone: who is still there when the server stops is kept for the next start", func() bool { return r.s.Session(p.jid) == nil })
}
