package lab

import (
	"context"
	"fmt"
	"sync"
	"syscall"
	"testing"
	"time"

	"konzil/xmpp/stanza"
)

// TestStop: an orderly stop keeps sessions and rooms: clients resume at the next start, get what came meanwhile, and are still inside (XEP-0198 §5).
func TestStop(t *testing.T) {
	needLab(t)
	k := newKonzil(t, zoneK, []string{"alice", "bob"}, "")
	var mu sync.Mutex // guards got
	got := map[string]int{}
	take := func(c *client, st *stanza.Stanza) {
		mu.Lock()
		defer mu.Unlock()
		if st.Kind == stanza.Presence {
			got[c.user+" sees "+st.From.String()+st.Type]++
		} else if st.Type != "error" {
			got[c.user+" gets "+st.ID]++
		}
	}
	wants := func(what string) {
		t.Helper()
		if !eventually(t, patience, what, func() bool { mu.Lock(); defer mu.Unlock(); return got[what] == 1 }) {
			mu.Lock()
			defer mu.Unlock()
			t.Fatalf("%v\n%s", got, k.Log.String())
		}
	}
	alice, bob := &client{user: "alice", resource: "lab", zone: zoneK, take: take}, &client{user: "bob", resource: "lab", zone: zoneK, take: take}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()
	for _, c := range []*client{alice, bob} {
		wg.Go(func() { c.run(ctx) })
	}
	const room = "r@conference.k.zone"
	join := "<presence to='" + room + "/%s'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
	alice.send("", fmt.Sprintf(join, "alice"))
	wants("alice sees " + room + "/alice")
	alice.send("", "<iq to='"+room+"' type='set' id='conf'><query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'>"+
		"<field var='muc#roomconfig_persistentroom'><value>1</value></field></x></query></iq>")
	wants("alice gets conf")
	bob.send("", fmt.Sprintf(join, "bob"))
	wants("bob sees " + room + "/bob")

	begun := time.Now()
	if err := k.End(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if d := time.Since(begun); d > 5*time.Second {
		t.Errorf("the stop took %v", d)
	}
	alice.send("m1", "<message to='bob@k.zone' type='chat' id='m1'><body>while it was away</body></message>")
	alice.send("m2", "<message to='"+room+"' type='groupchat' id='m2'><body>to the room</body></message>")
	if err := k.run(); err != nil {
		t.Fatal(err)
	}
	wants("bob gets m1")
	wants("bob gets m2")
	wants("alice gets m2")
	for _, c := range []*client{alice, bob} {
		c.mu.Lock()
		if c.sessions != 1 || c.resumed != 1 {
			t.Errorf("%s: %d sessions, resumed %d times", c.user, c.sessions, c.resumed)
		}
		c.mu.Unlock()
	}
	mu.Lock()
	defer mu.Unlock()
	for _, who := range []string{"alice", "bob"} {
		if got[who+" sees "+room+"/alice"+"unavailable"]+got[who+" sees "+room+"/bob"+"unavailable"] > 0 {
			t.Errorf("%s saw somebody leave: %v", who, got)
		}
	}
}
