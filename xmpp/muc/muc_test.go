package muc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"konzil/internal/archive"
	"konzil/internal/store/storetest"
	"konzil/xmpp"
	"konzil/xmpp/mam"
	"konzil/xmpp/play"
	"konzil/xmpp/stanza"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a MUC service with clients around it. Its router delivers at once, and bounces like a server.
type world struct {
	t     *testing.T
	cfg   Config
	store Store
	svc   *Service

	archive *archive.Archive // nil without one

	mu    sync.Mutex // guards what follows
	who   map[string]stanza.JID
	inbox map[stanza.JID][]*stanza.Stanza
	seen  []string // what the observer was told
}

func testConfig() Config {
	return Config{
		Domain: "rooms.example.org", Admins: []stanza.JID{stanza.MustJID("focus@auth.example.org")},
		LocalDomains: []string{"example.org"}, HideRooms: true, MaxOccupants: 20, MaxSubject: 100,
	}
}

func newWorld(t *testing.T, store Store) *world {
	w := &world{t: t, cfg: testConfig(), store: store, who: map[string]stanza.JID{}, inbox: map[stanza.JID][]*stanza.Stanza{}}
	w.open()
	t.Cleanup(w.close)
	return w
}

// newArchivedWorld is a world with a database and the archive that the program has.
func newArchivedWorld(t *testing.T) *world {
	db := openStore(t)
	quiet := slog.New(slog.DiscardHandler)
	a, err := archive.Open(context.Background(), db.DB, quiet)
	if err != nil {
		t.Fatal(err)
	}
	cfg := xmpp.DefaultConfig()
	cfg.Domain = "example.org"
	srv, err := xmpp.New(cfg, struct{ xmpp.Accounts }{}, quiet) // nobody logs in: the rooms' router is the world
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, cfg: testConfig(), store: db, archive: a, who: map[string]stanza.JID{}, inbox: map[stanza.JID][]*stanza.Stanza{}}
	w.cfg.Archive = mam.Attach(srv, a, mam.SQLStore{DB: db.DB}, mam.Options{}, quiet).Rooms()
	w.open()
	t.Cleanup(func() {
		w.close()
		if err := errors.Join(a.Close(context.Background()), srv.Shutdown(context.Background())); err != nil {
			t.Error(err)
		}
	})
	return w
}

// settle returns when all that was kept is on disk and has gone on.
func (w *world) settle() {
	if w.archive == nil {
		return
	}
	done := make(chan struct{})
	if _, err := w.archive.AppendThen(func(archive.ID) []byte { return nil }, func(error) { close(done) }, archive.Copy{Owner: "nobody"}); err == nil {
		<-done
	}
	if err := w.svc.tasks.wait(context.Background()); err != nil {
		w.t.Error(err)
	}
}

func (w *world) open() {
	svc, err := New(w.cfg, w, w.store, slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	svc.Observe(w)
	w.svc = svc
}

func (w *world) close() {
	if err := w.svc.Shutdown(context.Background()); err != nil {
		w.t.Error(err)
	}
}

// Route implements xmpp.Router.
func (w *world) Route(st *stanza.Stanza) {
	for _, j := range st.Also() {
		w.Route(st.WithTo(j))
	}
	if st.To.Domain() == w.cfg.Domain {
		w.svc.HandleStanza(st)
		return
	}
	w.mu.Lock()
	for _, exact := range []bool{true, false} {
		for _, jid := range w.who {
			if jid == st.To || !exact && st.To.IsBare() && jid.Bare() == st.To {
				w.inbox[jid] = append(w.inbox[jid], st)
				w.mu.Unlock()
				return
			}
		}
	}
	w.mu.Unlock()
	if st.Kind != stanza.Presence {
		if bounce := st.ErrorReply(stanza.ErrServiceUnavailable); bounce != nil {
			w.Route(bounce)
		}
	}
}

func (w *world) Enter(name, jid string) error {
	j, err := stanza.ParseJID(jid)
	w.who[name] = j
	return err
}

func (w *world) Send(name string, st *stanza.Stanza) error {
	from, ok := w.who[name]
	if !ok {
		return errors.New("nobody of that name")
	}
	w.Route(st.WithFrom(from))
	return nil
}

func (w *world) Receive(name string) *stanza.Stanza {
	w.settle()
	w.mu.Lock()
	defer w.mu.Unlock()
	jid := w.who[name]
	if len(w.inbox[jid]) == 0 {
		return nil
	}
	st := w.inbox[jid][0]
	w.inbox[jid] = w.inbox[jid][1:]
	return st
}

func (w *world) Pending(name string) []*stanza.Stanza {
	w.settle()
	w.mu.Lock()
	defer w.mu.Unlock()
	jid := w.who[name]
	out := w.inbox[jid]
	delete(w.inbox, jid)
	return out
}

// Command: "restart" stops the service and starts it again on the same store; "gone NAME" makes a client unreachable without a word;
// "bare NAME" sends as the account's server; "seen EVENT" checks the next thing the observer was told; "seen nothing".
func (w *world) Command(words []string) error {
	switch {
	case words[0] == "restart":
		w.close()
		w.open()
		return nil
	case words[0] == "gone" && len(words) == 2:
		delete(w.who, words[1])
		return nil
	case words[0] == "seen":
		if len(w.seen) == 0 {
			return errors.New("the observer was told nothing more")
		}
		if got, want := w.seen[0], fmt.Sprint(words[1:]); got != want {
			return fmt.Errorf("the observer was told %s, want %s", got, want)
		}
		w.seen = w.seen[1:]
		return nil
	}
	return errors.New("no such command")
}

func (w *world) Joining(room, real stanza.JID, nick string, send func(*stanza.Stanza)) {
	w.seen = append(w.seen, fmt.Sprint([]string{"joining", room.String(), real.String(), nick}))
	if nick == "observed" {
		send(stanza.NewMessage("", stanza.MustJID("metadata.example.org"), stanza.JID{}, stanza.TextElement(stanza.NSClient, "body", "first")))
	}
}
func (w *world) Joined(room, real stanza.JID, nick string) {
	w.seen = append(w.seen, fmt.Sprint([]string{"joined", room.String(), real.String(), nick}))
}
func (w *world) Left(room, real stanza.JID, nick string) {
	w.seen = append(w.seen, fmt.Sprint([]string{"left", room.String(), real.String(), nick}))
}
func (w *world) Destroyed(room stanza.JID) {
	w.seen = append(w.seen, fmt.Sprint([]string{"destroyed", room.String()}))
}

// TestPlays performs the plays of testdata.
func TestPlays(t *testing.T) {
	play.Run(t, "testdata/*.play", func(t *testing.T) play.World { return newWorld(t, nil) })
}

// TestPersistentPlays performs the plays of testdata/persistent, on a database.
func TestPersistentPlays(t *testing.T) {
	play.Run(t, "testdata/persistent/*.play", func(t *testing.T) play.World { return newArchivedWorld(t) })
}

// TestLivePlays performs the plays of testdata/live on a real server, with sessions that end and come back.
func TestLivePlays(t *testing.T) {
	play.Run(t, "testdata/live/*.play", func(t *testing.T) play.World {
		var svc *Service
		t.Cleanup(func() { // after the server's own end: sessions that end leave their rooms
			if n := svc.Counters(); n["occupants"] != 0 || n["rooms"] != 0 {
				t.Errorf("%d occupants in %d rooms are left", n["occupants"], n["rooms"])
			}
		})
		return play.NewLive(t, func(s *xmpp.Server) {
			var err error
			if svc, err = New(testConfig(), s, nil, slog.New(slog.DiscardHandler)); err != nil {
				t.Fatal(err)
			}
			s.Mount("rooms.example.org", svc)
		}, nil)
	})
}

func openStore(t *testing.T) SQLStore {
	return SQLStore{DB: storetest.Open(t)}
}

// brokenStore fails to save.
type brokenStore struct{ SQLStore }

func (brokenStore) SaveRoom(context.Context, RoomRecord) error { return errors.New("disk full") }

// TestStoreFails: what could not be stored is not acknowledged.
func TestStoreFails(t *testing.T) {
	w := newWorld(t, brokenStore{openStore(t)})
	c := w.client("crone", "crone1@example.org/desktop")
	c.send(`<presence to='cave@rooms.example.org/crone'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
	w.Pending("crone")
	c.send(`<iq to='cave@rooms.example.org' type='set' id='c'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>
		<field var='muc#roomconfig_persistentroom'><value>1</value></field></x></query></iq>`)
	if st := w.Receive("crone"); st == nil || st.Type != "error" || condition(st) != "internal-server-error" {
		t.Fatalf("got %v, want an error", st)
	}
	if n := w.svc.Counters()["store_errors_total"]; n != 1 {
		t.Errorf("store_errors_total is %d", n)
	}
}

// TestHistoryBounds: no more stanzas and bytes than set are kept, in memory and on disk.
func TestHistoryBounds(t *testing.T) {
	w := newArchivedWorld(t)
	w.close()
	w.cfg.History, w.cfg.HistoryBytes = 3, 2000
	w.open()
	c := w.client("crone", "crone1@example.org/desktop")
	c.send(`<presence to='cave@rooms.example.org/crone'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
	c.send(`<iq to='cave@rooms.example.org' type='set' id='c'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>
		<field var='muc#roomconfig_persistentroom'><value>1</value></field></x></query></iq>`)
	for i := range 10 {
		c.send(fmt.Sprintf(`<message to='cave@rooms.example.org' type='groupchat' id='m%d'><body>hello</body></message>`, i))
	}
	bodies := func() (ids string) {
		w.Pending("crone")
		c.send(`<presence to='cave@rooms.example.org/crone'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
		for _, st := range w.Pending("crone") {
			if st.Has(stanza.NSClient, "body") {
				ids += st.ID
			}
		}
		return ids
	}
	if got := bodies(); got != "m7m8m9" {
		t.Errorf("kept %s, want the last three", got)
	}
	w.close()
	w.open()
	if got := bodies(); got != "m7m8m9" {
		t.Errorf("after a restart %s, want the last three", got)
	}
	big := strings.Repeat("x", 900)
	for i := range 3 {
		c.send(fmt.Sprintf(`<message to='cave@rooms.example.org' type='groupchat' id='b%d'><body>%s</body></message>`, i, big))
	}
	if got := bodies(); got != "b2" {
		t.Errorf("kept %s, want only what fits in 2000 bytes", got)
	}
}

// TestView: what other parts of the server are told, and an operator's end of a room.
func TestView(t *testing.T) {
	w := newWorld(t, nil)
	room := stanza.MustJID("standup@rooms.example.org")
	f, a := w.client("focus", "focus@auth.example.org/focus"), w.client("a", "ab12cd34-0@guest.example.org/r1")
	f.send(`<presence to='standup@rooms.example.org/focus'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
	a.send(`<presence to='standup@rooms.example.org/ab12cd34'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
	rooms := w.svc.Rooms()
	if len(rooms) != 1 || rooms[0].Room != room || !rooms[0].Meeting || rooms[0].Occupants != 2 || rooms[0].MeetingID == "" {
		t.Errorf("rooms: %+v", rooms)
	}
	if id, ok := w.svc.MeetingID(room); !ok || id != rooms[0].MeetingID {
		t.Errorf("meeting id %q, want %q", id, rooms[0].MeetingID)
	}
	people := w.svc.Occupants(room)
	if len(people) != 2 || people[0].Nick != "focus" || !people[0].Admin || !people[0].Moderator || people[1].Moderator ||
		people[1].Affiliation != "none" || people[1].Role != "participant" || people[1].Real != w.who["a"] || people[1].Address.String() != "standup@rooms.example.org/ab12cd34" {
		t.Errorf("occupants: %+v", people)
	}
	if in, mod := w.svc.Standing(room, w.who["focus"]); !in || !mod {
		t.Errorf("focus: inside %v, moderator %v", in, mod)
	}
	if in, mod := w.svc.Standing(room, w.who["a"]); !in || mod {
		t.Errorf("guest: inside %v, moderator %v", in, mod)
	}
	if in, _ := w.svc.Standing(room, stanza.MustJID("x@example.org/y")); in {
		t.Error("a stranger is inside")
	}
	if got := w.svc.Recipients(room); len(got) != 2 || got[1] != w.who["a"] {
		t.Errorf("recipients: %v", got)
	}
	if !w.svc.Meeting(room) || w.svc.Meeting(stanza.MustJID("other@rooms.example.org")) {
		t.Error("Meeting is wrong")
	}
	w.Pending("a")
	if !w.svc.Close(room, stanza.JID{}, "The meeting has been terminated") || w.svc.Close(room, stanza.JID{}, "") {
		t.Error("Destroy is wrong")
	}
	got := w.Pending("a")
	if len(got) != 1 || got[0].Child(nsUser, "x").Child(nsUser, "destroy").Child(nsUser, "reason").Text() != "The meeting has been terminated" {
		t.Errorf("the guest got %v", got)
	}
	if w.svc.Occupants(room) != nil || len(w.svc.Rooms()) != 0 {
		t.Error("the room is still there")
	}
}

// TestBigPresence: a presence beyond the limit is refused and changes nothing.
func TestBigPresence(t *testing.T) {
	w := newWorld(t, nil)
	c := w.client("crone", "crone1@example.org/desktop")
	big := strings.Repeat("x", w.svc.cfg.MaxPresence)
	c.send(`<presence to='cave@rooms.example.org/crone'><x xmlns='http://jabber.org/protocol/muc'/><a>` + big + `</a></presence>`)
	if got := w.Pending("crone"); len(got) != 1 || condition(got[0]) != "policy-violation" {
		t.Errorf("got %.200v", got)
	}
	c.send(`<presence to='cave@rooms.example.org/crone'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
	w.Pending("crone")
	c.send(`<presence to='cave@rooms.example.org/crone'><a>` + big + `</a></presence>`)
	if got := w.Pending("crone"); len(got) != 1 || condition(got[0]) != "policy-violation" {
		t.Errorf("got %.200v", got)
	}
}

// TestBusy: when the outgoing queue is full, what would add to it is refused; leaving always works.
func TestBusy(t *testing.T) {
	w := newWorld(t, nil)
	c := w.client("crone", "crone1@example.org/desktop")
	c.send(`<presence to='cave@rooms.example.org/crone'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
	w.Pending("crone")
	r := w.svc.room(stanza.MustJID("cave@rooms.example.org"))
	r.mu.Lock()
	r.flushing = true // as if another goroutine were at it
	r.queue = make([]out, maxQueued, maxQueued+8)
	for i := range r.queue {
		r.queue[i].do = func() {}
	}
	r.mu.Unlock()
	c.send(`<message to='cave@rooms.example.org' type='groupchat' id='m'><body>x</body></message>`)
	c.send(`<presence to='cave@rooms.example.org/crone' type='unavailable'/>`)
	r.mu.Lock()
	r.flushing = false
	r.flush()
	got := w.Pending("crone")
	if len(got) != 2 || got[0].Type != "error" || condition(got[0]) != "resource-constraint" || got[1].Type != "unavailable" {
		t.Errorf("got %v", got)
	}
	if n := w.svc.Counters()["overflows_total"]; n != 1 {
		t.Errorf("overflows_total is %d", n)
	}
}
