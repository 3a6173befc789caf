package xmpp

import (
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"konzil/internal/await"
	"konzil/internal/ledger"
	"konzil/xmpp/stanza"
)

// slowDisk is a keeper, and a room that keeps each groupchat message, on a disk that waits for the test.
type slowDisk struct {
	l     *ledger.Ledger
	asked chan struct{} // somebody waits for the disk
	own   string        // the id of a message with a ticket
	sent  chan string   // ids of those that were handed on; nil: nobody wants to know

	mu      sync.Mutex // guards all below
	written *sync.Cond
	begun   []stanza.Origin // refs are places in it, from 1
	fast    bool
}

func (d *slowDisk) Keep(_ *Session, st *stanza.Stanza) (*stanza.Stanza, uint64, *stanza.Error) {
	if d.own != "" && st.ID == d.own {
		return st, 1, nil
	}
	return st, 0, nil
}

func (d *slowDisk) Settle(uint64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for !d.fast {
		select {
		case d.asked <- struct{}{}:
		default:
		}
		d.written.Wait()
	}
	return nil
}

func (d *slowDisk) Keeping(channel uint32) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, o := range d.begun {
		if o.Channel == channel && !d.fast {
			return true
		}
	}
	return false
}

func (d *slowDisk) Sent(st *stanza.Stanza) {
	if d.sent != nil {
		d.sent <- st.ID
	}
}

// HandleStanza is the room.
func (d *slowDisk) HandleStanza(st *stanza.Stanza) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.begun = append(d.begun, st.Origin())
	d.l.Begin(uint64(len(d.begun)), "room", ledger.Origin(st.Origin()))
}

func (d *slowDisk) has() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.begun)
}

// write lets the disk write at once from now on.
func (d *slowDisk) write() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fast = true
	d.written.Broadcast()
	for i := range d.begun {
		d.l.Done(uint64(i + 1))
	}
}

// afterKill is what a ledger in dir says of a channel after a kill now, which loses what was on its way to the disk.
func afterKill(t *testing.T, dir string, channel uint32) ledger.Kept {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "sessions.log"))
	if err != nil {
		t.Fatal(err)
	}
	other := t.TempDir()
	if err := os.WriteFile(filepath.Join(other, "sessions.log"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := ledger.Open(other, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, u := range l.Undone() {
		l.Forget(u.Ref)
	}
	for _, k := range l.Kept() {
		if k.ID() == channel {
			return k
		}
	}
	t.Fatalf("channel %d is gone", channel)
	return ledger.Kept{}
}

// TestHandledIsKept: while a message that a room keeps is on its way to the disk, a later one that nobody keeps goes nowhere where it would count as
// handled over a kill, and the one before with it (XEP-0198 §4).
func TestHandledIsKept(t *testing.T) {
	const said, plain = "<message%s to='%s' type='groupchat'><body>x</body></message>", "<message%s to='%s' type='chat'><body>y</body></message>"
	for _, c := range []struct {
		name, to string
		server   bool // it is another server that sends
	}{{"to a session", "bob@x.test/b", false}, {"to another server", "bob@elsewhere.test", false}, {"from another server", "bob@x.test/b", true}} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			l, err := ledger.Open(dir, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { // after the server
				if err := l.Close(); err != nil {
					t.Error(err)
				}
			})
			d := &slowDisk{l: l, asked: make(chan struct{}, 1)}
			d.written = sync.NewCond(&d.mu)
			link, gone := l.New("link"), make(chan struct{})
			r := newRigWith(t, func(cfg *Config) { cfg.Ledger = l }, func(s *Server) {
				s.Hooks().Keeper(d)
				s.Mount("rooms.x.test", d)
				s.Remote(HandlerFunc(func(st *stanza.Stanza) {
					link.Push(ledger.Item{Origin: ledger.Origin(st.Origin())}, ledger.Key{}, func(b []byte) []byte { return append(b, 'y') })
					close(gone)
				}))
			})
			bob := r.user("bob", "b")
			if c.to == "bob@x.test/b" {
				go func() {
					if st, err := bob.receive(); err == nil && st.Type == "chat" {
						close(gone)
					}
				}()
			}
			var send func(format, to string)
			var channel uint32
			var in *Inbound
			if c.server {
				ch := l.New("inbound")
				in, channel = r.s.NewInbound(nil), ch.ID()
				in.Number(ch, 0)
				todo := make(chan *stanza.Stanza, 3)
				var wg sync.WaitGroup
				defer wg.Wait()
				defer close(todo)
				wg.Go(func() {
					for st := range todo {
						in.Take(st)
					}
				})
				send = func(format, to string) {
					st, err := stanza.Parse(fmt.Appendf(nil, format, clientNS, to))
					if err != nil {
						t.Fatal(err)
					}
					todo <- st.WithFrom(stanza.MustJID("alice@elsewhere.test/a"))
				}
			} else {
				alice := r.user("alice", "a")
				alice.send("<enable xmlns='%s'/>", nsSM) // not to be resumed, so that the shutdown ends the session
				alice.expect("<enabled")
				channel = r.s.Session(alice.jid).ch.ID()
				send = func(format, to string) { alice.send(format, clientNS, to) }
			}
			send(said, "r@rooms.x.test")
			send(said, "r@rooms.x.test") // what the room keeps itself is not held up
			await.True(t, "both in the room", func() bool { return d.has() == 2 })
			send(plain, c.to)
			select {
			case <-d.asked:
			case <-gone:
				t.Error("the later message did not wait")
			}
			if k := afterKill(t, dir, channel); k.Handled != 0 {
				t.Errorf("%d are handled, none is on disk", k.Handled)
			}
			d.write()
			<-gone
			await.True(t, "all handled", func() bool { return afterKill(t, dir, channel).Handled == 3 })
		})
	}
}
