package xmpp

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"konzil/internal/await"
	"konzil/internal/ledger"
	"konzil/xmpp/stanza"
)

// waitingRoom takes messages and hands them on when the test says so.
type waitingRoom struct {
	srv *Server

	mu   sync.Mutex // guards held
	held []func()
}

// HandleStanza implements Handler.
func (w *waitingRoom) HandleStanza(st *stanza.Stanza) {
	release := w.srv.Hold(st.Origin())
	w.mu.Lock()
	defer w.mu.Unlock()
	w.held = append(w.held, func() {
		w.srv.Route(st.WithFromTo(st.To, stanza.MustJID("bob@x.test/b")))
		release()
	})
}

func (w *waitingRoom) has() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.held)
}

// TestHeldInRoom: what waits in a room is not handled, for the client and after a kill, and what the client has sent after it waits behind it.
func TestHeldInRoom(t *testing.T) {
	dir := t.TempDir()
	l, err := ledger.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	disk := &slowDisk{l: l, fast: true, own: "private", sent: make(chan string, 1)}
	room := &waitingRoom{}
	r := newRigWith(t, func(cfg *Config) { cfg.Ledger = l }, func(s *Server) {
		room.srv = s
		s.Hooks().Keeper(disk)
		s.Mount("rooms.x.test", room)
	})
	bob, alice := r.user("bob", "b"), r.user("alice", "a")
	alice.send("<enable xmlns='%s'/>", nsSM)
	alice.expect("<enabled")
	channel := r.s.Session(alice.jid).ch.ID()
	alice.send("<message%s to='r@rooms.x.test/bob' id='held'><body>x</body></message><r xmlns='%s'/>", clientNS, nsSM)
	await.True(t, "in the room", func() bool { return room.has() == 1 })
	alice.send("<message%s to='bob@x.test/b' id='later'><body>y</body></message>", clientNS)
	bob.send("<message%s to='alice@x.test/a' id='sign'><body>z</body></message>", clientNS)
	if st, err := alice.receive(); err != nil || st.ID != "sign" {
		t.Fatalf("alice got %v %v, and her message is held", st, err)
	}
	if k := afterKill(t, dir, channel); k.Handled != 0 {
		t.Errorf("%d are handled", k.Handled)
	}
	room.held[0]()
	alice.expect("<a xmlns='urn:xmpp:sm:3' h='1'")
	for _, id := range []string{"held", "later"} {
		if st, err := bob.receive(); err != nil || st.ID != id {
			t.Errorf("bob got %v %v, not %s", st, err, id)
		}
	}
	await.True(t, "all handled", func() bool { return afterKill(t, dir, channel).Handled == 2 })

	// One that its sender's archive has is not done before it has left the room: until then a restart hands it on.
	alice.send("<message%s to='r@rooms.x.test/bob' id='private'><body>x</body></message>", clientNS)
	await.True(t, "in the room", func() bool { return room.has() == 2 })
	bob.send("<message%s to='alice@x.test/a' id='sign'><body>z</body></message>", clientNS)
	if st, err := alice.receive(); err != nil || st.ID != "sign" || len(disk.sent) != 0 {
		t.Errorf("alice got %v %v, %d are done", st, err, len(disk.sent))
	}
	room.held[1]()
	if id := <-disk.sent; id != "private" {
		t.Errorf("%s is done", id)
	}
}

// TestNeverSettled: what a room still holds when the server ends is not counted, however long that took: a program that stood still for a minute once told of
// messages that were in no archive yet.
func TestNeverSettled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := DefaultConfig()
		cfg.Domain = "x.test"
		s, err := New(cfg, testAccounts{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		l, err := ledger.Open(t.TempDir(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		s.Hooks().Keeper(&slowDisk{l: l, fast: true})
		room := &waitingRoom{srv: s}
		s.Mount("rooms.x.test", room)
		in, ch := s.NewInbound(func(h uint32) { t.Errorf("%d are told of", h) }), l.New("in")
		in.Number(ch, 0)
		in.Take(stanza.NewMessage("groupchat", stanza.MustJID("a@elsewhere.test/x"), stanza.MustJID("r@rooms.x.test"), stanza.TextElement(stanza.NSClient, "body", "x")))
		in.Ask()
		time.Sleep(time.Hour)
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		in.Drain()
		for _, k := range l.Kept() {
			if k.Handled != 0 {
				t.Errorf("%d are handled", k.Handled)
			}
		}
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
}
