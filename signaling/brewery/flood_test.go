package brewery

import (
	"fmt"
	"log/slog"
	"net/netip"
	"testing"

	"konzil/sfu"
	"konzil/signaling/bridge"
	"konzil/signaling/colibri"
	"konzil/xmpp/stanza"
)

// flooded is a member that is asked without a stream.
func flooded(t *testing.T, b colibri.Bridge) (m *Member, ask func(*colibri.ConferenceModify), answers chan *stanza.Stanza) {
	t.Helper()
	m, err := New(b, Config{Account: Account{JID: "jvb@auth.meet.example", Room: room, Nick: "jvb1"}, Stats: func() Stats { return Stats{Healthy: true} }}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	answers = make(chan *stanza.Stanza, 4*maxWaiting)
	return m, func(c *colibri.ConferenceModify) {
		m.answer(stanza.NewIQ("set", c.Name, stanza.MustJID(room+"/focus"), stanza.MustJID(room+"/jvb1"), c.Element()), func(r *stanza.Stanza) { answers <- r })
	}, answers
}

// TestFloodOfConferences: a focus makes and expires conferences and endpoints all the time. Nothing of them is left, and the conference of another
// is as it was.
func TestFloodOfConferences(t *testing.T) {
	c := sfu.DefaultConfig()
	c.Listen, c.Shards, c.MaxConferences = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, 1, 5
	engine, err := sfu.New(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer engine.Close()
	b := bridge.New(engine, bridge.Config{}, slog.New(slog.DiscardHandler))
	defer b.Close()
	_, ask, answers := flooded(t, b)
	endpoint := func(id string) colibri.Endpoint {
		return colibri.Endpoint{ID: id, Create: true, Capabilities: []string{colibri.CapSourceNames}, Transport: &colibri.Transport{ICEControlling: true}}
	}
	expect := func(want string, m *colibri.ConferenceModify) {
		t.Helper()
		ask(m)
		r := <-answers
		got := r.Type
		if e := r.Child(stanza.NSClient, "error"); e != nil {
			got = e.Children()[0].Local
		}
		if got != want {
			t.Fatalf("%s: %s, want %s", m.Name, r, want)
		}
	}
	expect("result", &colibri.ConferenceModify{Name: "first", MeetingID: "first", Create: true, Endpoints: []colibri.Endpoint{endpoint("a")}})
	for i := range 300 {
		id := fmt.Sprint("m", i)
		expect("result", &colibri.ConferenceModify{Name: id, MeetingID: id, Create: true, Endpoints: []colibri.Endpoint{endpoint("x")}})
		expect("conflict", &colibri.ConferenceModify{Name: id, MeetingID: id, Create: true})
		expect("result", &colibri.ConferenceModify{Name: id, MeetingID: id, Endpoints: []colibri.Endpoint{{ID: "x", Expire: true}, endpoint("x")}})
		expect("result", &colibri.ConferenceModify{Name: id, MeetingID: id, Expire: true})
		expect("item-not-found", &colibri.ConferenceModify{Name: id, MeetingID: id, Expire: true})
	}
	for i := range 4 {
		expect("result", &colibri.ConferenceModify{Name: "kept", MeetingID: fmt.Sprint("kept", i), Create: true})
	}
	for range 100 {
		expect("resource-constraint", &colibri.ConferenceModify{Name: "too many", MeetingID: "too many", Create: true, Endpoints: []colibri.Endpoint{endpoint("x")}})
	}
	mute := colibri.Endpoint{ID: "a", ForceMute: &colibri.ForceMute{Audio: true}}
	expect("result", &colibri.ConferenceModify{Name: "first", MeetingID: "first", Endpoints: []colibri.Endpoint{mute}})
	if n := b.Counters(); n["conferences"] != 5 || n["requests_refused"] != 700 {
		t.Errorf("%d conferences, %d refused", n["conferences"], n["requests_refused"])
	}
}

// TestFloodOfRequests: more wait than may; those are refused at once and counted, and all that were taken are answered.
func TestFloodOfRequests(t *testing.T) {
	b := &fakeBridge{order: make(chan string, 4*maxWaiting), hold: make(chan struct{})}
	m, ask, answers := flooded(t, b)
	const more = 500
	for range 1 + maxWaiting + more { // one is under way; it may not have been taken yet
		ask(&colibri.ConferenceModify{Name: "flood", MeetingID: "slow"})
	}
	refused := len(answers)
	if refused < more || refused > more+1 {
		t.Errorf("%d are refused at once, want %d", refused, more)
	}
	close(b.hold)
	m.work.wait()
	if n := m.Counters(); len(answers) != 1+maxWaiting+more || n["queue_overflow_total"] != uint64(refused) || n["refused_total"] != uint64(refused) {
		t.Errorf("%d answers, %v", len(answers), n)
	}
}
