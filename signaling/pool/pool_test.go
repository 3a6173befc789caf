package pool

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"konzil/signaling/colibri"
	"konzil/signaling/jingle"
	"konzil/xmpp/stanza"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const room = "jvbbrewery@internal.meet.example"

// world is a brewery with bridges in it.
type world struct {
	t *testing.T
	p *Pool

	mu      sync.Mutex // guards all below
	bridges map[string]*fakeBridge
	joined  bool
	lost    []string
}

type fakeBridge struct {
	silent, sick bool
	noSCTP       bool
	noRelays     int  // so many relays are refused
	stale        bool // it has the conference from before
	refuse       *colibri.Error
	got          []*colibri.ConferenceModify
}

func inWorld(t *testing.T, cfg Config, f func(t *testing.T, w *world)) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, bridges: map[string]*fakeBridge{}}
		cfg.Self, cfg.Room = stanza.MustJID("bridges.meet.example/focus"), stanza.MustJID(room)
		var err error
		if w.p, err = New(cfg, w, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		w.p.AddListener(w)
		w.p.Enter()
		f(t, w)
		w.p.Close()
	})
}

// Route is what the pool sends: bridges answer at once.
func (w *world) Route(st *stanza.Stanza) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if st.Kind == stanza.Presence {
		w.joined = st.To.String() == room+"/focus"
		return
	}
	b := w.bridges[st.To.Resource()]
	switch {
	case b == nil:
		go w.p.HandleStanza(st.ErrorReply(stanza.ErrItemNotFound))
	case b.silent:
	case st.Has(nsHealth, "healthcheck") && b.sick:
		go w.p.HandleStanza(st.ErrorReply(stanza.ErrInternal))
	case st.Has(nsHealth, "healthcheck"):
		go w.p.HandleStanza(st.Result())
	default:
		m, err := colibri.ParseModify(st.Child(colibri.NS, "conference-modify"))
		if err != nil {
			w.t.Error(err)
		}
		if b.refuse != nil {
			go w.p.HandleStanza(st.ErrorReply(b.refuse.Stanza()))
			return
		}
		b.got = append(b.got, m)
		if m.Expire {
			b.stale = false
		}
		if b.stale && m.Create {
			go w.p.HandleStanza(st.ErrorReply((&colibri.Error{Reason: colibri.ReasonConferenceExists}).Stanza()))
			return
		}
		if len(m.Relays) > 0 && m.Relays[0].Create && b.noRelays > 0 {
			b.noRelays--
			go w.p.HandleStanza(st.ErrorReply((&colibri.Error{Reason: colibri.ReasonInternal}).Stanza()))
			return
		}
		if b.noSCTP && len(m.Endpoints) > 0 && m.Endpoints[0].Transport.SCTP {
			go w.p.HandleStanza(st.ErrorReply((&colibri.Error{Reason: colibri.ReasonFeatureNotSupported}).Stanza()))
			return
		}
		done := colibri.ConferenceModified{}
		for _, e := range m.Endpoints {
			done.Endpoints = append(done.Endpoints, colibri.EndpointModified{ID: e.ID, Transport: &jingle.Transport{Ufrag: st.To.Resource(), Pwd: "p"}})
		}
		for _, r := range m.Relays {
			done.Relays = append(done.Relays, colibri.RelayModified{ID: r.ID, Transport: &jingle.Transport{Ufrag: st.To.Resource(), Pwd: "p", SCTPPort: 5000,
				Fingerprints: []jingle.Fingerprint{{Hash: "sha-256", Setup: "actpass", Value: "AA"}}}})
		}
		go w.p.HandleStanza(st.Result(done.Element()))
	}
}

func (w *world) EndpointLost(meetingID, endpoint string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost = append(w.lost, meetingID+"/"+endpoint)
}

// bridge lets a bridge come, or say something new.
func (w *world) bridge(nick string, stats ...string) *fakeBridge {
	w.mu.Lock()
	if w.bridges[nick] == nil {
		w.bridges[nick] = &fakeBridge{}
	}
	b := w.bridges[nick]
	w.mu.Unlock()
	el := stanza.NewElement(jingle.NSColibri, "stats")
	for i := 0; i < len(stats); i += 2 {
		el.Add(stanza.NewElement(jingle.NSColibri, "stat", "name", stats[i], "value", stats[i+1]))
	}
	w.p.HandleStanza(stanza.NewPresence("", stanza.MustJID(room+"/"+nick), w.p.cfg.Self, el))
	return b
}

func (w *world) leave(nick string) {
	w.mu.Lock()
	delete(w.bridges, nick)
	w.mu.Unlock()
	w.p.HandleStanza(stanza.NewPresence("unavailable", stanza.MustJID(room+"/"+nick), w.p.cfg.Self))
}

// modify asks for an endpoint, and gives the bridge that answered.
func (w *world) modify(meeting, endpoint string, first bool) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	r, err := w.p.Modify(ctx, &colibri.ConferenceModify{MeetingID: meeting, Create: first,
		Endpoints: []colibri.Endpoint{{ID: endpoint, Create: true, Capabilities: []string{colibri.CapSourceNames}, Transport: &colibri.Transport{SCTP: true}}}})
	if err != nil {
		return "", err
	}
	return r.Endpoints[0].Transport.Ufrag, nil
}

func (w *world) want(meeting, endpoint string, first bool, bridge string) {
	w.t.Helper()
	if got, err := w.modify(meeting, endpoint, first); err != nil || got != bridge {
		w.t.Errorf("%s/%s: %q %v, want %q", meeting, endpoint, got, err, bridge)
	}
}

func reason(err error) colibri.Reason {
	var ce *colibri.Error
	if errors.As(err, &ce) {
		return ce.Reason
	}
	return ""
}

func TestPlacement(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		if !w.joined {
			t.Error("the pool did not enter the brewery")
		}
		if _, err := w.modify("m1", "a", true); err == nil || reason(err) != "" {
			t.Errorf("without bridges: %v", err)
		}
		w.bridge("busy", "stress_level", "0.5", "drain", "false")
		w.bridge("idle", "stress_level", "0.1", "drain", "false")
		w.bridge("drained", "stress_level", "0", "drain", "true")
		w.bridge("silent about drain", "stress_level", "0")
		w.want("m1", "a", true, "idle")
		w.bridge("idle", "stress_level", "0.9", "drain", "false")
		w.want("m1", "b", false, "idle") // a conference stays
		w.want("m2", "a", true, "busy")
		if _, err := w.modify("m3", "a", false); reason(err) != colibri.ReasonConferenceNotFound {
			t.Errorf("a conference that is nowhere: %v", err)
		}
		if _, err := w.p.Modify(context.Background(), &colibri.ConferenceModify{MeetingID: "m1", Expire: true}); err != nil {
			t.Error(err)
		}
		if _, err := w.modify("m1", "c", false); reason(err) != colibri.ReasonConferenceNotFound {
			t.Errorf("after expire: %v", err)
		}
	})
}

// TestLoss: whoever was on a bridge that is gone is told of, and the next request makes the conference elsewhere.
func TestLoss(t *testing.T) {
	for name, how := range map[string]func(w *world, b *fakeBridge){
		"left":   func(w *world, _ *fakeBridge) { w.leave("one") },
		"silent": func(w *world, b *fakeBridge) { w.set(func() { b.silent = true }); time.Sleep(40 * time.Second) },
		"sick":   func(w *world, b *fakeBridge) { w.set(func() { b.sick = true }); time.Sleep(21 * time.Second) },
		"hung": func(w *world, b *fakeBridge) {
			w.set(func() { b.silent = true })
			if _, err := w.modify("m", "c", false); reason(err) != colibri.ReasonConferenceNotFound {
				w.t.Errorf("a bridge that hangs: %v", err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, Config{}, func(t *testing.T, w *world) {
				one := w.bridge("one", "stress_level", "0.1", "drain", "false")
				w.want("m", "a", true, "one")
				w.want("m", "b", false, "one")
				w.bridge("two", "stress_level", "0.7", "drain", "false")
				how(w, one)
				synctest.Wait()
				w.set(func() { slices.Sort(w.lost) })
				if got := strings.Join(w.lost, " "); got != "m/a m/b" {
					t.Errorf("lost %q", got)
				}
				if _, err := w.modify("m", "a", false); reason(err) != colibri.ReasonConferenceNotFound {
					t.Errorf("before it is made anew: %v", err)
				}
				w.want("m", "a", true, "two") // though it is busier
			})
		})
	}
}

func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

func TestRefusals(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		b := w.bridge("one", "drain", "false")
		w.want("m", "a", true, "one")
		w.set(func() { b.refuse = &colibri.Error{Reason: colibri.ReasonUnknownEndpoint, Endpoint: "x"} })
		if _, err := w.modify("m", "b", false); reason(err) != colibri.ReasonUnknownEndpoint {
			t.Errorf("%v", err)
		}
		w.set(func() { b.refuse = &colibri.Error{Reason: colibri.ReasonGracefulShutdown} })
		if _, err := w.modify("n", "b", true); reason(err) != colibri.ReasonGracefulShutdown {
			t.Errorf("%v", err)
		}
		if _, err := w.modify("o", "b", true); err == nil || reason(err) != "" {
			t.Errorf("a bridge that shuts down was asked again: %v", err)
		}
	})
}

// TestLeftOver: a bridge that was too slow once, and has the conference still, is told to end it before it gets it again.
func TestLeftOver(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		b := w.bridge("one", "drain", "false")
		w.set(func() { b.stale = true })
		w.want("m", "a", true, "one")
		w.want("m", "b", false, "one")
	})
}

// TestNoSCTP: a bridge with WebSockets alone is asked for SCTP once.
func TestNoSCTP(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		b := w.bridge("one", "drain", "false")
		w.set(func() { b.noSCTP = true })
		w.want("m", "a", true, "one")
		w.want("m", "b", false, "one")
		w.set(func() {
			var got []string
			for _, m := range b.got {
				got = append(got, fmt.Sprintf("%s create=%v sctp=%v", m.Endpoints[0].ID, m.Create, m.Endpoints[0].Transport.SCTP))
			}
			want := []string{"a create=true sctp=true", "a create=false sctp=false", "b create=false sctp=false"}
			if !slices.Equal(got, want) {
				t.Errorf("asked %q, want %q", got, want)
			}
		})
	})
}

// localBridge is one in this process.
type localBridge struct{}

func (localBridge) Modify(_ context.Context, m *colibri.ConferenceModify) (*colibri.ConferenceModified, error) {
	return &colibri.ConferenceModified{Endpoints: []colibri.EndpointModified{{ID: m.Endpoints[0].ID, Transport: &jingle.Transport{Ufrag: "local"}}}}, nil
}

func TestLocal(t *testing.T) {
	stress := 0.0
	inWorld(t, Config{Local: localBridge{}, LocalStress: func() float64 { return stress }}, func(t *testing.T, w *world) {
		w.want("m1", "a", true, "local")
		w.bridge("one", "stress_level", "0.3", "drain", "false")
		w.want("m2", "a", true, "local")
		stress = 0.6
		w.want("m3", "a", true, "one")
	})
	inWorld(t, Config{Local: localBridge{}, LocalLast: true}, func(t *testing.T, w *world) {
		w.bridge("one", "stress_level", "0.3", "drain", "false")
		w.want("m1", "a", true, "one")
		w.leave("one")
		w.want("m2", "a", true, "local")
	})
}

func TestForeignStanzas(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		p := stanza.NewPresence("", stanza.MustJID("other@conference.meet.example/x"), w.p.cfg.Self,
			stanza.NewElement(jingle.NSColibri, "stats").Add(stanza.NewElement(jingle.NSColibri, "stat", "name", "drain", "value", "false")))
		w.p.HandleStanza(p)
		if n := w.p.Counters()["bridges"]; n != 0 {
			t.Errorf("%d bridges from elsewhere", n)
		}
	})
}
