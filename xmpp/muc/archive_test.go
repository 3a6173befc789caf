package muc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"testing"

	"konzil/xmpp/stanza"
)

// heldArchive keeps nothing and calls then when the test says so.
type heldArchive struct {
	Archive
	mu   sync.Mutex // guards all below
	n    int
	full bool
	then []func(error)
}

func (a *heldArchive) Said(string)        {}
func (a *heldArchive) Features() []string { return nil }
func (a *heldArchive) Keep(_, _ stanza.JID, make func(string) *stanza.Stanza, then func(*stanza.Stanza, error)) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.full {
		return errors.New("full")
	}
	a.n++
	m := make(strconv.Itoa(a.n))
	a.then = append(a.then, func(err error) { then(m, err) })
	return nil
}

func (a *heldArchive) settle(err error) (n int) {
	a.mu.Lock()
	then := a.then
	a.then = nil
	a.mu.Unlock()
	for _, f := range then {
		f(err)
	}
	return len(then)
}

// noStore has rooms on no disk.
type noStore struct{ Store }

func (noStore) Rooms(context.Context, string) ([]RoomRecord, error)                { return nil, nil }
func (noStore) SaveRoom(context.Context, RoomRecord) error                         { return nil }
func (noStore) DeleteRoom(context.Context, string) error                           { return nil }
func (noStore) SetAffiliations(context.Context, string, []AffiliationRecord) error { return nil }

const keepIt = `<iq to='cave@rooms.example.org' type='set' id='c'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>
	<field var='muc#roomconfig_persistentroom'><value>1</value></field></x></query></iq>`

func heldWorld(t *testing.T) (*world, *heldArchive) {
	a := &heldArchive{}
	w := newWorld(t, noStore{})
	w.close()
	w.cfg.Archive, w.cfg.History = a, -1
	w.open()
	return w, a
}

// TestOnDiskFirst: a message goes to nobody before it is on disk, and what happens after it in the room waits for it.
func TestOnDiskFirst(t *testing.T) {
	w, a := heldWorld(t)
	c, h := w.client("crone", "crone1@example.org/desktop"), w.client("hag", "hag66@example.org/pda")
	c.send(`<presence to='cave@rooms.example.org/crone'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
	c.send(keepIt)
	h.send(`<presence to='cave@rooms.example.org/hag'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
	w.Pending("crone")
	w.Pending("hag")
	h.send(`<message to='cave@rooms.example.org' type='groupchat' id='m1'><body>x</body></message>`)
	h.send(`<presence to='cave@rooms.example.org/hag' type='unavailable'/>`)
	if got := append(w.Pending("crone"), w.Pending("hag")...); len(got) != 0 {
		t.Fatalf("said before it was on disk: %v", got)
	}
	a.settle(nil)
	if err := w.svc.tasks.wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.Pending("crone"); len(got) != 2 || got[0].ID != "m1" || got[1].Type != "unavailable" {
		t.Errorf("crone got %v", got)
	}
	if got := w.Pending("hag"); len(got) != 2 || got[0].ID != "m1" || got[1].Type != "unavailable" {
		t.Errorf("hag got %v", got)
	}
	// What could not be stored goes to nobody, and its author learns it.
	c.send(`<message to='cave@rooms.example.org' type='groupchat' id='m2'><body>x</body></message>`)
	a.settle(errors.New("disk full"))
	if err := w.svc.tasks.wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := w.Pending("crone"); len(got) != 1 || condition(got[0]) != "internal-server-error" {
		t.Errorf("crone got %v", got)
	}
	a.full = true
	c.send(`<message to='cave@rooms.example.org' type='groupchat' id='m3'><body>x</body></message>`)
	if got := w.Pending("crone"); len(got) != 1 || condition(got[0]) != "resource-constraint" {
		t.Errorf("crone got %v", got)
	}
}

// TestHold: a message behind one that waits for the disk is held until it is out; one that goes into the archive itself is not, nor is one that waits for nothing.
func TestHold(t *testing.T) {
	w, a := heldWorld(t)
	w.close()
	held := map[uint32]int{}
	w.cfg.Hold = func(o stanza.Origin) func() {
		held[o.Number]++
		return func() { held[o.Number]-- }
	}
	w.open()
	c, h := w.client("crone", "crone1@example.org/desktop"), w.client("hag", "hag66@example.org/pda")
	c.send(`<presence to='cave@rooms.example.org/crone'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
	c.send(keepIt)
	h.send(`<presence to='cave@rooms.example.org/hag'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
	w.Pending("crone")
	say := func(number uint32, xml string) {
		t.Helper()
		st, err := stanza.Parse([]byte(xml))
		if err != nil {
			t.Fatal(err)
		}
		w.svc.HandleStanza(st.WithFrom(stanza.MustJID("hag66@example.org/pda")).WithOrigin(stanza.Origin{Channel: 3, Number: number}))
	}
	say(1, `<message to='cave@rooms.example.org/crone' type='chat' id='m1'><body>x</body></message>`)
	say(2, `<message to='cave@rooms.example.org' type='groupchat' id='m2'><body>x</body></message>`)
	say(3, `<message to='cave@rooms.example.org/crone' type='chat' id='m3'><body>x</body></message>`)
	say(4, `<message to='cave@rooms.example.org' type='groupchat' id='m4'><body>x</body><no-store xmlns='urn:xmpp:hints'/></message>`)
	if _, kept := held[2]; kept || held[1] != 0 || held[3] != 1 || held[4] != 1 {
		t.Errorf("held: %v", held)
	}
	a.settle(nil)
	if err := w.svc.tasks.wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	if held[3] != 0 || held[4] != 0 {
		t.Errorf("held: %v", held)
	}
	got := w.Pending("crone")
	if len(got) != 4 {
		t.Fatalf("crone got %v", got)
	}
	for i, part := range []bool{false, false, false, true} { // she is the first of the two in the room
		if o := got[i].Origin(); o.Part != part {
			t.Errorf("%s is from %+v", got[i].ID, o)
		}
	}
}

// TestOneArchivedOrder: many speak at once while the disk works: all get every message once, in one order, that of the archive's ids.
func TestOneArchivedOrder(t *testing.T) {
	const speakers, words = 8, 100
	a := &heldArchive{}
	c := &crowd{got: map[stanza.JID][]string{}}
	cfg := testConfig()
	cfg.Burst, cfg.Archive, cfg.History = speakers*words, a, -1
	svc, err := New(cfg, c, noStore{}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c.svc = svc
	room := stanza.MustJID("cave@rooms.example.org")
	jids := make([]stanza.JID, speakers)
	for i := range jids {
		jids[i] = stanza.MustJID(fmt.Sprintf("user%d@example.org/x", i))
		svc.HandleStanza(stanza.NewPresence("", jids[i], stanza.MustJID(room.String()+"/n"+strconv.Itoa(i)), stanza.NewElement(nsMUC, "x")))
		if i == 0 {
			st, _ := stanza.Parse([]byte(keepIt))
			svc.HandleStanza(st.WithFrom(jids[0]))
		}
	}
	clear(c.got) // the notice of the configuration
	quit, disk := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(disk)
		for {
			select {
			case <-quit:
				a.settle(nil)
				return
			default:
				a.settle(nil)
			}
		}
	}()
	var wg sync.WaitGroup
	for i, jid := range jids {
		wg.Go(func() {
			for k := range words {
				svc.HandleStanza(stanza.NewMessage("groupchat", jid, room, stanza.TextElement(stanza.NSClient, "body", "x")).WithID(fmt.Sprintf("%d-%d", i, k)))
			}
		})
	}
	wg.Wait()
	close(quit)
	<-disk
	if err := svc.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := c.got[jids[0]]
	if len(first) != speakers*words {
		t.Fatalf("%d messages arrived, want %d", len(first), speakers*words)
	}
	for _, j := range jids[1:] {
		if fmt.Sprint(c.got[j]) != fmt.Sprint(first) {
			t.Fatalf("%s saw another order than %s", j, jids[0])
		}
	}
	if n := svc.Counters()["archived_total"]; n != speakers*words {
		t.Errorf("%d archived", n)
	}
}
