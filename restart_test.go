package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"konzil/internal/archive"
	"konzil/internal/ledger"
	"konzil/internal/store"
	"konzil/xmpp/ext"
	"konzil/xmpp/muc"
	"konzil/xmpp/stanza"
)

// remains is the data of a program that was killed, as a test makes it.
type remains struct {
	t       *testing.T
	dir     string
	owner   stanza.JID // an account
	ledger  *ledger.Ledger
	archive *archive.Archive
	offline ext.SQLStore
	log     []byte // of sessions, right after the next start
}

// afterKill starts the program on what a kill has left.
func afterKill(t *testing.T, leave func(r *remains)) *remains {
	t.Helper()
	file := settings(t, "domain: house.example\n") // one that may have links
	cfg, err := loadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	r := &remains{t: t, dir: cfg.Data, owner: stanza.MustJID("romeo@" + cfg.Domain)}
	h := &house{t: t, cfg: cfg, file: file}
	if out, code := h.does("pencil-and-paper\n", "user", "add", "romeo"); code != 0 {
		t.Fatal(out)
	}
	ctx, log := context.Background(), slog.New(slog.DiscardHandler)
	db, err := store.Open(ctx, r.dir, log)
	if err != nil {
		t.Fatal(err)
	}
	r.offline = ext.SQLStore{DB: db}
	if r.archive, err = archive.Open(ctx, db, log); err != nil {
		t.Fatal(err)
	}
	if r.ledger, err = ledger.Open(r.dir, log); err != nil {
		t.Fatal(err)
	}
	leave(r)
	if err := r.ledger.Close(); err != nil {
		t.Error(err)
	}
	if err := r.archive.Close(ctx); err != nil {
		t.Error(err)
	}
	db.Close()
	t.Run("start", func(t *testing.T) { // and stop: the database is for one program
		startHouse(t, file)
		if r.log, err = os.ReadFile(filepath.Join(r.dir, "sessions.log")); err != nil {
			t.Fatal(err)
		}
	})
	if db, err = store.Open(ctx, r.dir, log); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	r.offline = ext.SQLStore{DB: db}
	return r
}

// session is one that can be resumed and is available.
func (r *remains) session() *ledger.Channel { return r.sessionAt("here") }

func (r *remains) sessionAt(resource string) *ledger.Channel {
	full := r.owner.String() + "/" + resource
	ch := r.ledger.New("session " + full)
	ch.Set("sm", []byte(resource+" 600 en"))
	ch.Set("presence", []byte("<presence xmlns='jabber:client' from='"+full+"'/>"))
	return ch
}

// archived puts a message into the archive of the owner, and gives its number there.
func (r *remains) archived(xml string, also ...string) uint64 {
	r.t.Helper()
	id, ticket, err := r.archive.Append(func(id archive.ID) []byte {
		r.ledger.Begin(uint64(id), r.owner.String(), ledger.Origin{}, also...)
		return []byte(xml)
	}, archive.Copy{Owner: r.owner.String(), Peer: "juliet@elsewhere.test"})
	if err != nil {
		r.t.Fatal(err)
	}
	if err := r.archive.Wait(r.t.Context(), ticket); err != nil {
		r.t.Fatal(err)
	}
	return uint64(id)
}

func (r *remains) message(id string) string {
	return fmt.Sprintf("<message xmlns='jabber:client' from='juliet@elsewhere.test/b' to='%s' type='chat' id='%s'><body>x</body></message>", r.owner, id)
}

// store keeps a message for the time when its owner comes, and gives its number.
func (r *remains) store(id, archived string) uint64 {
	r.t.Helper()
	if err := r.offline.AddOffline(r.t.Context(), r.owner, time.Now(), archived, []byte(r.message(id)), 100, 1<<20); err != nil {
		r.t.Fatal(err)
	}
	all := r.stored()
	return uint64(all[len(all)-1].ID)
}

func (r *remains) stored() []ext.OfflineMessage {
	r.t.Helper()
	all, err := r.offline.Offline(r.t.Context(), r.owner)
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

// give puts a message that is stored into the queue of a session.
func (r *remains) give(ch *ledger.Channel, id string, number uint64) {
	ch.Push(ledger.Item{Counted: true, Kept: true, Ref: number, At: time.Now()}, ledger.Key{}, func(b []byte) []byte { return append(b, r.message(id)...) })
}

// queue has the ids of the messages in the queues of a kind right after the next start.
func (r *remains) queue(kind string) (ids []string) {
	r.t.Helper()
	dir := r.t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "sessions.log"), r.log, 0o600); err != nil {
		r.t.Fatal(err)
	}
	l, err := ledger.Open(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		r.t.Fatal(err)
	}
	for _, k := range l.Kept() {
		for _, it := range k.Items {
			if st, err := stanza.Parse(it.Body); strings.HasPrefix(k.Name, kind) && err == nil && st.Kind == stanza.Message {
				ids = append(ids, st.ID)
			}
		}
	}
	if err := l.Close(); err != nil {
		r.t.Error(err)
	}
	return ids
}

func (r *remains) wantQueue(kind string, want ...string) {
	r.t.Helper()
	if got := r.queue(kind); !slices.Equal(got, want) {
		r.t.Errorf("queue of the %s: %q, want %q", kind, got, want)
	}
}

// TestKilledHandingOver: the program was killed while messages that had waited were handed over. The session, which finds them when it is resumed, gets each
// once: it says nothing by which the rest would be asked for.
func TestKilledHandingOver(t *testing.T) {
	r := afterKill(t, func(r *remains) {
		ch := r.session()
		first := r.store("1", "")
		r.store("2", "")
		r.give(ch, "1", first)
	})
	r.wantQueue("session", "1", "2")
}

// TestKilledBeforeRemoval: a client had messages that had waited, and the program was killed before they were removed: they do not come again.
func TestKilledBeforeRemoval(t *testing.T) {
	r := afterKill(t, func(r *remains) {
		ch := r.session()
		first, second := r.store("1", ""), r.store("2", "")
		r.give(ch, "1", first)
		r.give(ch, "2", second)
		ch.Ack(1, 1)
	})
	r.wantQueue("session", "2")
	if all := r.stored(); len(all) != 1 {
		t.Errorf("%d are stored", len(all))
	}
}

// TestKilledStoring: a message was stored for a client that came at that moment, and the program was killed before it had said so anywhere else. It comes once.
func TestKilledStoring(t *testing.T) {
	r := afterKill(t, func(r *remains) {
		r.session()
		r.store("1", archive.ID(r.archived(r.message("1"))).String())
	})
	r.wantQueue("session", "1")
}

// TestKilledBetweenTwo: a message is for two clients, and the program was killed when the first had it. The second one gets it, the first one not again.
func TestKilledBetweenTwo(t *testing.T) {
	r := afterKill(t, func(r *remains) {
		first := r.session()
		r.sessionAt("there")
		first.Push(ledger.Item{Counted: true, Shared: true, Ref: r.archived(r.message("1")), At: time.Now(), Origin: ledger.Origin{Part: true}}, ledger.Key{},
			func(b []byte) []byte { return append(b, r.message("1")...) })
	})
	for _, resource := range []string{"here", "there"} {
		r.wantQueue("session "+r.owner.String()+"/"+resource, "1")
	}
}

// TestKilledInRoom: a private message in a room is for one nick with two sessions, and the program was killed when the first one had it: the archive's copy tells
// whom it is for.
func TestKilledInRoom(t *testing.T) {
	r := afterKill(t, func(r *remains) {
		first := r.session()
		r.sessionAt("there")
		r.sessionAt("outside")
		m := fmt.Sprintf("<message xmlns='jabber:client' from='room@conference.%s/juliet' to='%s/here' type='chat' id='1'><body>x</body></message>", r.owner.Domain(), r.owner)
		first.Push(ledger.Item{Counted: true, Shared: true, Ref: r.archived(m, r.owner.String()+"/there"), At: time.Now(), Origin: ledger.Origin{Part: true}}, ledger.Key{},
			func(b []byte) []byte { return append(b, m...) })
	})
	for _, resource := range []string{"here", "there"} {
		r.wantQueue("session "+r.owner.String()+"/"+resource, "1")
	}
	r.wantQueue("session " + r.owner.String() + "/outside")
}

// TestKilledEnding: the program was killed while a session was ending, whose first message was with somebody else by then. Nobody resumes it, and the rest goes
// where it belongs.
func TestKilledEnding(t *testing.T) {
	r := afterKill(t, func(r *remains) {
		ch := r.session()
		for _, id := range []string{"1", "2", "3"} {
			ch.Push(ledger.Item{Counted: true, Shared: true, At: time.Now()}, ledger.Key{}, func(b []byte) []byte { return append(b, r.message(id)...) })
		}
		ch.Set("over", []byte{})
		ch.Ack(1, 0)
	})
	r.wantQueue("session")
	all := r.stored()
	if len(all) != 2 {
		t.Fatalf("%d are stored", len(all))
	}
	for i, want := range []string{"2", "3"} {
		if st, err := stanza.Parse(all[i].XML); err != nil || st.ID != want {
			t.Errorf("stored: %v %v, want %s", st, err, want)
		}
	}
}

// TestKilledWithLink: what waits for another server is not forgotten because somebody who was in a room with people of that server is not found again.
func TestKilledWithLink(t *testing.T) {
	r := afterKill(t, func(r *remains) {
		room := "room@conference." + r.owner.Domain()
		if err := (muc.SQLStore{DB: r.offline.DB}).SaveRoom(t.Context(), muc.RoomRecord{Room: room, Config: []byte(`{"Persistent":true}`), Key: []byte("key"), Created: time.Now()}); err != nil {
			t.Fatal(err)
		}
		link := r.ledger.New("link " + "conference." + r.owner.Domain() + " elsewhere.test")
		link.Push(ledger.Item{Counted: true, At: time.Now()}, ledger.Key{}, func(b []byte) []byte { return append(b, r.message("1")...) })
		ch := r.ledger.New("room " + room)
		for _, who := range []string{r.owner.String() + "/gone", "juliet@elsewhere.test/b"} {
			nick, _, _ := strings.Cut(who, "@")
			ch.Set(who, fmt.Appendf(nil, "2 <presence xmlns='jabber:client' from='%s' to='%s/%s'/>", who, room, nick))
		}
	})
	r.wantQueue("link", "1")
}
