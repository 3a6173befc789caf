package muc

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"konzil/xmpp/stanza"
)

// client is a client of a world, for tests in Go.
type client struct {
	w    *world
	name string
}

func (w *world) client(name, jid string) client {
	w.t.Helper()
	if err := w.Enter(name, jid); err != nil {
		w.t.Fatal(err)
	}
	return client{w, name}
}

func (c client) send(xml string) {
	c.w.t.Helper()
	st, err := stanza.Parse([]byte(xml))
	if err != nil {
		c.w.t.Fatal(err)
	}
	if err := c.w.Send(c.name, st); err != nil {
		c.w.t.Fatal(err)
	}
}

// crowd is a router that notes, for each recipient, the order of what it got.
type crowd struct {
	svc *Service
	mu  sync.Mutex // guards got
	got map[stanza.JID][]string
}

func (c *crowd) Route(st *stanza.Stanza) {
	if st.To.Domain() == "rooms.example.org" {
		c.svc.HandleStanza(st)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if st.Kind == stanza.Message && st.ID != "" && st.Type == "groupchat" {
		c.got[st.To] = append(c.got[st.To], st.ID)
	}
}

// TestOneOrder: many speak at once; all who are inside the whole time get every message, in the same order.
func TestOneOrder(t *testing.T) {
	const speakers, words = 8, 50
	c := &crowd{got: map[stanza.JID][]string{}}
	cfg := testConfig()
	cfg.Burst = speakers * words
	svc, err := New(cfg, c, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = svc.Shutdown(context.Background()) }()
	c.svc = svc
	room := "cave@rooms.example.org"
	join := func(jid stanza.JID, nick string) {
		svc.HandleStanza(stanza.NewPresence("", jid, stanza.MustJID(room+"/"+nick), stanza.NewElement(nsMUC, "x")))
	}
	jids := make([]stanza.JID, speakers)
	for i := range jids {
		jids[i] = stanza.MustJID(fmt.Sprintf("user%d@example.org/x", i))
		join(jids[i], "n"+strconv.Itoa(i))
		if i == 0 {
			svc.HandleStanza(stanza.NewIQ("set", "c", jids[0], stanza.MustJID(room),
				stanza.NewElement(nsOwner, "query").Add(stanza.NewElement(nsData, "x", "type", "submit"))))
		}
	}
	var wg sync.WaitGroup
	for i, jid := range jids {
		wg.Go(func() {
			for k := range words {
				svc.HandleStanza(stanza.NewMessage("groupchat", jid, stanza.MustJID(room), stanza.TextElement(stanza.NSClient, "body", "x")).
					WithID(fmt.Sprintf("%d-%d", i, k)))
			}
		})
	}
	wg.Wait()
	first := c.got[jids[0]]
	if len(first) != speakers*words {
		t.Fatalf("%d messages arrived, want %d", len(first), speakers*words)
	}
	for _, j := range jids[1:] {
		if fmt.Sprint(c.got[j]) != fmt.Sprint(first) {
			t.Fatalf("%s saw another order than %s", j, jids[0])
		}
	}
	next := map[string]int{}
	for _, id := range first { // and each speaker's own order is kept
		var i, k int
		_, _ = fmt.Sscanf(id, "%d-%d", &i, &k)
		if key := strconv.Itoa(i); next[key] != k {
			t.Fatalf("message %s came before %d-%d", id, i, next[key])
		} else {
			next[key]++
		}
	}
}

// TestChurn: people come, speak, rename, kick and go at once; afterwards nobody is left, and no room.
func TestChurn(t *testing.T) {
	c := &crowd{got: map[stanza.JID][]string{}}
	cfg := testConfig()
	cfg.JoinBurst = 1_000_000
	svc, err := New(cfg, c, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c.svc = svc
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(i)))
			jid := stanza.MustJID(fmt.Sprintf("user%d@example.org/x", i))
			rooms := []string{"a@rooms.example.org", "b@rooms.example.org"}
			x := stanza.NewElement(nsMUC, "x")
			for range 200 {
				room := rooms[rnd.IntN(2)]
				nick := stanza.MustJID(room + "/n" + strconv.Itoa(rnd.IntN(10)))
				switch rnd.IntN(6) {
				case 0, 1:
					svc.HandleStanza(stanza.NewPresence("", jid, nick, x))
				case 2:
					svc.HandleStanza(stanza.NewPresence("unavailable", jid, nick))
				case 3:
					svc.HandleStanza(stanza.NewMessage("groupchat", jid, nick.Bare(), stanza.TextElement(stanza.NSClient, "body", "x")))
				case 4:
					svc.HandleStanza(stanza.NewIQ("set", "k", jid, nick.Bare(), stanza.NewElement(nsAdmin, "query").Add(
						stanza.NewElement(nsAdmin, "item", "nick", nick.Resource(), "role", "none"))))
				case 5:
					svc.HandleStanza(stanza.NewIQ("set", "c", jid, nick.Bare(),
						stanza.NewElement(nsOwner, "query").Add(stanza.NewElement(nsData, "x", "type", "submit"))))
				}
			}
			for _, room := range rooms {
				svc.HandleStanza(stanza.NewPresence("unavailable", jid, stanza.MustJID(room)))
			}
		})
	}
	wg.Wait()
	if n := svc.Counters(); n["rooms"] != 0 || n["occupants"] != 0 {
		t.Errorf("%d rooms and %d occupants are left", n["rooms"], n["occupants"])
	}
	if err := svc.Shutdown(context.Background()); err != nil {
		t.Error(err)
	}
}

// TestRate: who sends too much is told so, and others do not get it; admins are not limited.
func TestRate(t *testing.T) {
	w := newWorld(t, nil)
	now := time.Unix(1000, 0)
	w.svc.now = func() time.Time { return now }
	w.svc.cfg.Burst, w.svc.cfg.Rate = 5, 1
	c := w.client("crone", "crone1@example.org/desktop")
	c.send(`<presence to='cave@rooms.example.org/crone'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
	w.Pending("crone")
	say := func(n int) (sent, refused int) {
		for range n {
			c.send(`<message to='cave@rooms.example.org' type='groupchat' id='m'><body>x</body></message>`)
		}
		for _, st := range w.Pending("crone") {
			if st.Type == "error" {
				refused++
			} else {
				sent++
			}
		}
		return sent, refused
	}
	if sent, refused := say(8); sent != 5 || refused != 3 {
		t.Errorf("%d sent, %d refused, want 5 and 3", sent, refused)
	}
	now = now.Add(2 * time.Second)
	if sent, refused := say(3); sent != 2 || refused != 1 {
		t.Errorf("two seconds later %d sent, %d refused, want 2 and 1", sent, refused)
	}
}

// TestJoinRate: who comes and goes all the time is stopped, others are not.
func TestJoinRate(t *testing.T) {
	w := newWorld(t, nil)
	w.svc.joining.rate, w.svc.joining.burst = 2*joinCost, 50*joinCost
	now := time.Unix(1000, 0)
	w.svc.now = func() time.Time { return now }
	c, h := w.client("crone", "crone1@example.org/desktop"), w.client("hag", "hag66@example.org/pda")
	joins := func(c client, n int) (ok int) {
		for range n {
			c.send(`<presence to='` + c.name + `@rooms.example.org/n'><x xmlns='http://jabber.org/protocol/muc'/></presence>`)
			for _, st := range w.Pending(c.name) {
				if st.Kind == stanza.Presence && st.Type == "" {
					ok++
				}
			}
			c.send(`<presence to='` + c.name + `@rooms.example.org/n' type='unavailable'/>`)
			w.Pending(c.name)
		}
		return ok
	}
	if n := joins(c, 60); n != 50 {
		t.Errorf("%d of 60 joins, want 50", n)
	}
	if n := joins(h, 1); n != 1 {
		t.Error("another could not enter")
	}
	now = now.Add(time.Second)
	if n := joins(c, 5); n != 2 {
		t.Errorf("%d joins a second later, want 2", n)
	}
}

// BenchmarkGroupchat is one message to 200 occupants, without the outboxes behind the router.
func BenchmarkGroupchat(b *testing.B) {
	c := nowhere{}
	cfg := testConfig()
	cfg.MaxOccupants, cfg.Rate, cfg.Burst = 1000, 1e9, 1<<30
	svc, err := New(cfg, c, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	room := stanza.MustJID("a@rooms.example.org")
	for i := range 200 {
		nick := stanza.MustJID("a@rooms.example.org/n" + strconv.Itoa(i))
		svc.HandleStanza(stanza.NewPresence("", stanza.MustJID(fmt.Sprintf("user%d@example.org/x", i)), nick, stanza.NewElement(nsMUC, "x")))
		if i == 0 {
			svc.HandleStanza(stanza.NewIQ("set", "c", stanza.MustJID("user0@example.org/x"), room,
				stanza.NewElement(nsOwner, "query").Add(stanza.NewElement(nsData, "x", "type", "submit"))))
		}
	}
	if n := svc.Counters()["occupants"]; n != 200 {
		b.Fatalf("%d occupants", n)
	}
	xml := []byte(`<message to='a@rooms.example.org' type='groupchat' id='m'><body>hello world, this is a message</body></message>`)
	b.ReportAllocs()
	for b.Loop() {
		st, _ := stanza.Parse(xml)
		svc.HandleStanza(st.WithFrom(stanza.MustJID("user7@example.org/x")))
	}
}

type nowhere struct{}

func (nowhere) Route(*stanza.Stanza) {}
