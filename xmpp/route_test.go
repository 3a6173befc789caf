package xmpp

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"konzil/internal/await"
	"konzil/xmpp/stanza"
)

// Messages to the bare address by type and priority (RFC 6121 §8.5.2.1.1).
func TestMessageToBare(t *testing.T) {
	r := newRig(t, nil)
	low := r.dial("low", r.tls).auth("x.test", "alice").bind("low").available("<priority>1</priority>")
	high := r.dial("high", r.tls).auth("x.test", "alice").bind("high").available("<priority>5</priority>")
	same := r.dial("same", r.tls).auth("x.test", "alice").bind("same").available("<priority>5</priority>")
	minus := r.dial("minus", r.tls).auth("x.test", "alice").bind("minus").available("<priority>-1</priority>")
	away := r.dial("away", r.tls).auth("x.test", "alice").bind("away")
	bob := r.user("bob", "b")
	bob.send("<message to='alice@x.test' type='chat' id='1'/>")
	high.expect("id='1'", "to='alice@x.test'")
	same.expect("id='1'")
	bob.send("<message to='alice@x.test' type='headline' id='2'/>")
	for _, p := range []*play{low, high, same} {
		p.expect("id='2'")
	}
	bob.send("<message to='alice@x.test' type='groupchat' id='3'/>")
	bob.expect("id='3'", "type='error'", "<service-unavailable")
	bob.send("<message to='alice@x.test' type='error' id='4'/>")
	bob.send("<message to='alice@x.test/gone' type='chat' id='5'/>") // as to the bare one
	high.expect("id='5'", "to='alice@x.test/gone'")
	same.expect("id='5'")
	bob.send("<message to='alice@x.test/gone' type='groupchat' id='6'/>")
	bob.expect("id='6'", "<service-unavailable")
	bob.send("<message to='alice@x.test/minus' id='7'/>") // the full address reaches all
	minus.expect("id='7'")
	bob.send("<message to='alice@x.test/away' id='8'/>")
	away.expect("id='8'")
	for _, p := range []*play{low, high, same, minus, away, bob} {
		p.sync() // and nothing else came
	}
}

func TestNobodyThere(t *testing.T) {
	r := newRig(t, nil)
	minus := r.dial("minus", r.tls).auth("x.test", "alice").bind("minus").available("<priority>-1</priority>")
	bob := r.user("bob", "b")
	bob.send("<message to='alice@x.test' type='chat' id='1'/>")
	bob.send("<message to='carol@x.test' id='2'/>")
	for _, id := range []string{"1", "2"} {
		if st := <-r.offline; st.ID != id {
			t.Errorf("offline got %v", st)
		}
	}
	for _, to := range []string{"nobody@x.test", "nobody@guest.x.test", "x.test", "x.test/res"} {
		bob.send("<message to='%s' id='3'/>", to)
		bob.expect("id='3'", "from='"+to+"'", "type='error'", "<service-unavailable")
		bob.send("<iq to='%s' id='4' type='get'><q xmlns='urn:q'/></iq>", to)
		bob.expect("id='4'", "from='"+to+"'", "type='error'", "<service-unavailable")
		bob.send("<presence to='%s' id='5' type='unavailable'/>", to)
	}
	bob.send("<message to='a@elsewhere.test' id='6'/>")
	bob.expect("id='6'", "type='error'", "<remote-server-not-found")
	bob.send("<message to='a@elsewhere.test' type='error' id='7'/>")
	bob.send("<iq to='a@elsewhere.test' type='result' id='8'/>")
	bob.sync()
	minus.sync()
	if len(r.offline) != 0 {
		t.Errorf("stored for nobody: %v", <-r.offline)
	}
}

func TestIQ(t *testing.T) {
	var mu sync.Mutex // guards got
	var got []string
	r := newRigWith(t, nil, func(s *Server) {
		note := func(name string) IQHandler {
			return func(x *Session, iq *stanza.Stanza) *stanza.Stanza {
				mu.Lock()
				defer mu.Unlock()
				got = append(got, fmt.Sprintf("%s %v %s", name, x != nil, iq.To))
				return iq.Result(stanza.NewElement("urn:q", "answer"))
			}
		}
		s.Hooks().IQ(ToServer, "urn:q", "q", note("server"))
		s.Hooks().IQ(ToAccount, "urn:q", "q", note("account"))
	})
	p, bob := r.user("alice", "a"), r.user("bob", "b")
	for _, to := range []string{"", "to='alice@x.test'", "to='x.test'", "to='bob@x.test'", "to='guest.x.test'"} {
		p.send("<iq type='get' id='1' %s><q xmlns='urn:q'/></iq>", to)
		from := strings.Replace(to, "to=", "from=", 1)
		if to == "" {
			from = "from='alice@x.test'"
		}
		p.expect("<iq to='alice@x.test/a'", from, "type='result'", "<answer xmlns='urn:q'/>")
	}
	mu.Lock()
	want := "[account true alice@x.test account true alice@x.test server true x.test account true bob@x.test server true guest.x.test]"
	if fmt.Sprint(got) != want {
		t.Errorf("got %v", got)
	}
	mu.Unlock()
	p.send("<iq type='get' id='2' to='bob@x.test/b'><q xmlns='urn:q'/></iq>")
	bob.expect("<iq to='bob@x.test/b' from='alice@x.test/a' id='2' type='get'>")
	bob.send("<iq type='result' id='2' to='alice@x.test/a'/>")
	p.expect("<iq to='alice@x.test/a' from='bob@x.test/b' id='2' type='result'/>")
	p.send("<iq type='set' id='3'><session xmlns='%s'/></iq>", nsSession)
	p.expect("id='3'", "type='result'")
	p.send("<iq type='result' id='4' to='x.test'/>") // no answer
	p.sync()
}

// A mounted domain gets everything that is for it, whatever the localpart.
func TestMount(t *testing.T) {
	got := make(chan *stanza.Stanza, 10)
	r := newRigWith(t, nil, func(s *Server) {
		s.Mount("rooms.x.test", HandlerFunc(func(st *stanza.Stanza) { got <- st }))
	})
	p := r.user("alice", "a")
	for _, to := range []string{"rooms.x.test", "a@rooms.x.test", "a@rooms.x.test/n"} {
		p.send("<presence to='%s'/>", to)
		if st := <-got; st.To.String() != to || st.From != p.jid {
			t.Errorf("got %v", st)
		}
	}
	p.send("<message to='a@sub.rooms.x.test' id='1'/>")
	p.expect("<remote-server-not-found")
	// the end of the session tells all three
	p.send("</stream:stream>")
	p.expectEnd("")
	seen := map[string]bool{}
	for range 3 {
		st := <-got
		if st.Type != "unavailable" || st.From != p.jid {
			t.Errorf("got %v", st)
		}
		seen[st.To.String()] = true
	}
	if len(seen) != 3 {
		t.Errorf("told %v", seen)
	}
}

// Directed presence is taken back at unavailable, once (RFC 6121 §4.6).
func TestDirectedPresence(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.DirectedPresences = 2 })
	p, bob := r.user("alice", "a"), r.user("bob", "b")
	p.send("<presence to='bob@x.test/b'/>")
	bob.expect("<presence to='bob@x.test/b' from='alice@x.test/a'/>")
	p.send("<presence to='carol@x.test/c'/><presence to='carol@x.test/d' id='d'/>")
	p.expect("id='d'", "type='error'", "<policy-violation")
	p.send("<presence type='unavailable'/>")
	bob.expect("<presence to='bob@x.test/b' from='alice@x.test/a' type='unavailable'/>")
	if x := r.s.Session(p.jid); x == nil || x.Presence() != nil {
		t.Error("presence kept")
	}
	p.send("<presence to='bob@x.test/b'/><presence to='bob@x.test/b' type='unavailable'/></stream:stream>")
	bob.expect("<presence to='bob@x.test/b' from='alice@x.test/a'/>")
	bob.expect("type='unavailable'")
	p.expectEnd("")
	bob.sync()
}

func TestHooksInOrder(t *testing.T) {
	events := make(chan string, 100)
	type key struct{}
	r := newRigWith(t, nil, func(s *Server) {
		h := s.Hooks()
		h.StreamFeature(stanza.NewElement("urn:xmpp:features:rosterver", "ver"))
		h.Bound(func(x *Session) { x.Set(key{}, "v"); events <- "bound " + x.JID().String() })
		h.Outbound(func(x *Session, st *stanza.Stanza) bool {
			events <- fmt.Sprintf("out %v %v %d", st.Kind, x.Presence() != nil, x.Priority())
			return st.ID == "stop"
		})
		h.Inbound(func(st *stanza.Stanza) bool { events <- "in " + st.ID; return st.ID == "mine" })
		h.Resumed(func(x *Session) { events <- fmt.Sprint("resumed ", x.Get(key{})) })
		h.Closed(func(x *Session) { events <- fmt.Sprint("closed ", x.Presence() != nil) })
	})
	expect := func(want ...string) {
		t.Helper()
		for _, w := range want {
			if got := <-events; got != w {
				t.Fatalf("got %q, want %q", got, w)
			}
		}
	}
	p := r.dial("alice", r.tls)
	p.auth("x.test", "alice").bind("a").enable()
	expect("bound alice@x.test/a")
	p.available("<priority>3</priority>")
	expect("out presence true 3")
	p.send("<message id='m' to='alice@x.test'/><message id='stop' to='alice@x.test'/><message id='mine' to='alice@x.test'/>")
	p.expect("id='m'")
	expect("out message true 3", "in m", "out message true 3", "out message true 3", "in mine")
	p.cut()
	p, _ = r.resume(p)
	expect("resumed v")
	p.send("</stream:stream>")
	expect("closed true")
}

func TestResourceConflict(t *testing.T) {
	r := newRig(t, nil)
	old := r.user("alice", "a")
	p := r.dial("new", r.tls).auth("x.test", "alice").bind("a")
	old.expectEnd("conflict")
	if len(r.s.Sessions(p.jid)) != 1 {
		t.Error("both are there")
	}
	p.sync()
	// an address of our making never collides
	q := r.dial("third", r.tls).auth("x.test", "alice").bind("")
	if q.jid == p.jid || q.jid.IsBare() {
		t.Errorf("bound %s", q.jid)
	}
	q = r.dial("bad", r.tls).auth("x.test", "alice")
	q.send("<iq type='set' id='b'><bind xmlns='%s'><resource>%s</resource></bind></iq>", nsBind, strings.Repeat("x", 1100))
	q.expect("type='error'", "<bad-request")
	q.bind("good")
}

// TestEndsFirst: who takes the address of a session whose end is under way waits for that, so that what it had not got does not come to a client that has said
// nothing yet, and may ignore it.
func TestEndsFirst(t *testing.T) {
	ending, goOn := make(chan struct{}), make(chan struct{})
	var once sync.Once
	r := newRigWith(t, nil, func(s *Server) {
		s.Hooks().Closed(func(*Session) {
			once.Do(func() {
				close(ending)
				<-goOn
			})
		})
	})
	stored := func(id string) {
		t.Helper()
		select {
		case st := <-r.offline:
			if st.ID != id {
				t.Errorf("got %v, want %s", st, id)
			}
		case <-time.After(patience):
			t.Errorf("%s was not stored", id)
		}
	}
	p, bob := r.dial("alice", r.tls).auth("x.test", "alice").bind("m").enable().available(""), r.user("bob", "b")
	bob.send("<message to='%s' type='chat' id='1'/>", p.jid)
	p.expect("id='1'")
	p.cut()
	await.True(t, "hibernation", func() bool { return r.s.Counters()["sessions_hibernating"] == 1 })
	r.s.Session(p.jid).Kill("reset", "")
	<-ending
	q := r.dial("alice again", r.tls).auth("x.test", "alice")
	q.send("<iq type='set' id='b'><bind xmlns='%s'><resource>m</resource></bind></iq>", nsBind)
	if await.Within(50*time.Millisecond, time.Millisecond, func() bool { return r.s.Session(p.jid) != nil }) {
		t.Error("two sessions have the address")
	}
	bob.send("<message to='%s' type='chat' id='2'/>", p.jid)
	stored("2")
	close(goOn)
	stored("1")
	q.expect("id='b'", "<bind")
}

func TestSessionsPerAccount(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.SessionsPerAccount = 2 })
	r.user("alice", "a")
	p := r.dial("alice", r.tls).auth("x.test", "alice").bind("b").enable()
	q := r.dial("alice", r.tls).auth("x.test", "alice")
	q.send("<iq type='set' id='b'><bind xmlns='%s'/></iq>", nsBind)
	q.expect("type='error'", "<resource-constraint")
	if n := r.s.Counters()["sessions_refused"]; n != 1 {
		t.Errorf("%d refused", n)
	}
	p.cut() // one that waits for its client makes room
	await.True(t, "hibernation", func() bool { return r.s.Counters()["sessions_hibernating"] == 1 })
	q.bind("c")
	if r.s.Session(p.jid) != nil || len(r.s.Sessions(p.jid)) != 2 {
		t.Error("wrong session ended")
	}
}

func TestKill(t *testing.T) {
	r := newRig(t, nil)
	p := r.resumable("tcp")
	r.s.Session(p.jid).Kill("reset", "bye")
	p.expectEnd("reset")
	await.True(t, "the session ends", func() bool { return r.s.Session(p.jid) == nil })
	q := r.resumable("ws")
	q.cut()
	await.True(t, "hibernation", func() bool { return r.s.Counters()["sessions_hibernating"] == 1 })
	r.s.Session(q.jid).Kill("reset", "bye")
	await.True(t, "the sleeping session ends", func() bool { return r.s.Session(q.jid) == nil })
}

// Shutdown writes what waits, says why, and hands over the messages of those who are away.
func TestShutdown(t *testing.T) {
	r := newRig(t, fast)
	p, away, ws := r.user("bob", "b"), r.resumable("tcp"), r.guest("g")
	early := r.dial("early", r.tls)
	early.header("x.test")
	away.cut()
	await.True(t, "hibernation", func() bool { return r.s.Counters()["sessions_hibernating"] == 1 })
	const n = 500
	for k := range n {
		for _, to := range []*play{p, away, ws} {
			r.s.Route(stanza.NewMessage("chat", mustBare("x.test"), to.jid).WithID(fmt.Sprint(k)))
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	done := make(chan error)
	go func() { done <- r.s.Shutdown(ctx) }()
	for k := range n {
		p.expect(fmt.Sprintf("id='%d'", k))
		ws.expect(fmt.Sprintf("id='%d'", k))
	}
	p.expectEnd("system-shutdown")
	ws.expectEnd("system-shutdown")
	early.expectEnd("system-shutdown")
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	for k := range n {
		if st := <-r.offline; st.ID != fmt.Sprint(k) {
			t.Fatalf("offline got %v, want %d", st, k)
		}
	}
}

// The end of a session while others send to it: each message is delivered, stored or sent back, once.
func TestEndsUnderLoad(t *testing.T) {
	r := newRig(t, fast)
	bob := r.user("bob", "b")
	const rounds, each = 20, 100
	const messages = rounds * each
	var wg sync.WaitGroup
	defer wg.Wait()
	got := map[string]int{}
	for round := range rounds {
		p := r.dial("alice", r.tls).auth("x.test", "alice").bind("a").enable().available("")
		wg.Go(func() {
			for n := range each {
				_ = bob.trySend(fmt.Sprintf("<message to='alice@x.test' type='chat' id='%d'/>", round*each+n))
			}
		})
		for range 30 {
			st, err := p.receive()
			if err != nil {
				t.Fatal(err)
			}
			got[st.ID]++
		}
		p.send("<a xmlns='%s' h='%d'/>", nsSM, p.h)
		if round%2 == 0 {
			p.send("</stream:stream>")
		} else {
			p.sync0()
			p.cut()
			r2 := r.again(p).bind("a") // conflict: the waiting one ends at once
			r2.send("</stream:stream>")
		}
		await.True(t, "the session ends", func() bool { return r.s.Session(p.jid) == nil })
		wg.Wait()
	}
	for len(got) < messages {
		select {
		case st := <-r.offline:
			got[st.ID]++
		case <-time.After(patience):
			t.Fatalf("%d of %d messages accounted for", len(got), messages)
		}
	}
	for len(r.offline) > 0 {
		got[(<-r.offline).ID]++
	}
	for id, n := range got {
		if n != 1 {
			t.Errorf("message %s came %d times", id, n)
		}
	}
}

// sync0 waits until the server has handled what was sent, whatever comes meanwhile.
func (p *play) sync0() {
	p.t.Helper()
	p.send("<r xmlns='%s'/>", nsSM)
	for {
		it, err := p.next()
		if err != nil {
			p.t.Fatal(err)
		}
		if it.Elem != nil && it.Elem.Local == "a" {
			return
		}
	}
}

func TestConfig(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no domain":    func(c *Config) { c.Domain = "" },
		"case":         func(c *Config) { c.Domain = "X.test" },
		"account":      func(c *Config) { c.Domain = "a@x.test" },
		"same":         func(c *Config) { c.GuestDomain = c.Domain },
		"no bound":     func(c *Config) { c.Limits.OutboxBytes = 0 },
		"no rate":      func(c *Config) { c.Limits.RateBytes = 0 },
		"no patience":  func(c *Config) { c.Limits.WriteTimeout = 0 },
		"guest domain": func(c *Config) { c.GuestDomain = "a b" },
	} {
		c := DefaultConfig()
		c.Domain = "x.test"
		if _, err := New(c, testAccounts{}, nil); err != nil {
			t.Fatal(err)
		}
		change(&c)
		if _, err := New(c, testAccounts{}, nil); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
