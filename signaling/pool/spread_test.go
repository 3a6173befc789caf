package pool

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"konzil/signaling/colibri"
	"konzil/signaling/jingle"
	"konzil/xmpp/stanza"
)

// told is what a bridge was asked, a line for each relay of a request.
func (w *world) told(b *fakeBridge) (out []string) {
	w.set(func() {
		for _, m := range b.got {
			for _, r := range m.Relays {
				s := fmt.Sprintf("relay %s create=%v expire=%v", r.ID, r.Create, r.Expire)
				if t := r.Transport; t != nil {
					s += fmt.Sprintf(" controlling=%v %s", t.ICEControlling, t.SCTPRole)
					if !t.Remote.Empty() {
						s += " to " + t.Remote.Ufrag + " " + t.Remote.Fingerprints[0].Setup
					}
				}
				for _, e := range r.Endpoints {
					s += fmt.Sprintf(" %s create=%v expire=%v", e.ID, e.Create, e.Expire)
				}
				out = append(out, s)
			}
			if m.Expire {
				out = append(out, "expire")
			}
		}
		b.got = nil
	})
	return out
}

func (w *world) heard(b *fakeBridge, want ...string) {
	w.t.Helper()
	if got := w.told(b); !slices.Equal(got, want) {
		w.t.Errorf("told\n%s, not\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// change asks about an endpoint that is there.
func (w *world) change(e colibri.Endpoint) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, err := w.p.Modify(ctx, &colibri.ConferenceModify{MeetingID: "m", Endpoints: []colibri.Endpoint{e}})
	return err
}

// TestSpread: a conference that has filled its bridge goes on on another, with a relay between them, and each bridge is told who is on the
// other. Who leaves is taken out there, a bridge without anybody too.
func TestSpread(t *testing.T) {
	inWorld(t, Config{MaxPerBridge: 2}, func(t *testing.T, w *world) {
		one := w.bridge("one", "drain", "false", "relay_id", "r1", "version", "v")
		two := w.bridge("two", "drain", "false", "relay_id", "r2", "version", "v", "stress_level", "0.5")
		w.bridge("old", "drain", "false", "relay_id", "r3", "version", "u", "stress_level", "0.1")
		w.bridge("alone", "drain", "false", "version", "v", "stress_level", "0.1")
		w.want("m", "a", true, "one")
		w.want("m", "b", false, "one")
		w.want("m", "c", false, "two") // the others cannot have it together with one
		w.heard(two, "relay r1 create=true expire=false controlling=true client a create=true expire=false b create=true expire=false",
			"relay r1 create=false expire=false controlling=false  to one active")
		w.heard(one, "relay r2 create=true expire=false controlling=false server to two passive c create=true expire=false")
		w.want("m", "d", false, "two")
		w.heard(one, "relay r2 create=false expire=false d create=true expire=false")
		if err := w.change(colibri.Endpoint{ID: "a", Sources: &jingle.SourceSet{Sources: []jingle.Source{{SSRC: 5, Media: jingle.Audio, Name: "a-a0"}}}}); err != nil {
			t.Error(err)
		}
		w.heard(two, "relay r1 create=false expire=false a create=false expire=false")
		for _, id := range []string{"c", "d"} {
			if err := w.change(colibri.Endpoint{ID: id, Expire: true}); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		w.heard(one, "relay r2 create=false expire=false c create=false expire=true", "relay r2 create=false expire=true")
		w.heard(two, "expire")
		if err := w.change(colibri.Endpoint{ID: "nobody", Sources: &jingle.SourceSet{}}); reason(err) != colibri.ReasonUnknownEndpoint {
			t.Errorf("somebody who is nowhere: %v", err)
		}
	})
}

// TestSpreadByRegion: who is in a region gets a bridge there, and the conference is on both.
func TestSpreadByRegion(t *testing.T) {
	inWorld(t, Config{}, func(t *testing.T, w *world) {
		w.bridge("east", "drain", "false", "relay_id", "r1", "region", "east")
		w.bridge("west", "drain", "false", "relay_id", "r2", "region", "west", "stress_level", "0.3")
		in := func(id, region string, first bool, want string) {
			t.Helper()
			r, err := w.p.Modify(t.Context(), &colibri.ConferenceModify{MeetingID: "m", Create: first, Endpoints: []colibri.Endpoint{{ID: id, Create: true, Region: region}}})
			if err != nil || r.Endpoints[0].Transport.Ufrag != want {
				t.Errorf("%s: %+v %v, not %s", id, r, err, want)
			}
		}
		in("a", "east", true, "east")
		in("b", "west", false, "west")
		in("c", "", false, "east")
		in("d", "mars", false, "east") // no bridge is there: it stays with the others
	})
}

// TestSpreadLoss: of a bridge that is gone only those on it are lost, and come back on the other.
func TestSpreadLoss(t *testing.T) {
	inWorld(t, Config{MaxPerBridge: 1}, func(t *testing.T, w *world) {
		w.bridge("one", "drain", "false", "relay_id", "r1")
		two := w.bridge("two", "drain", "false", "relay_id", "r2", "stress_level", "0.5")
		w.want("m", "a", true, "one")
		w.want("m", "b", false, "two")
		w.told(two)
		w.leave("one")
		synctest.Wait()
		w.set(func() {
			if got := strings.Join(w.lost, " "); got != "m/a" {
				t.Errorf("lost %q", got)
			}
		})
		w.heard(two, "relay r1 create=false expire=true")
		if err := w.change(colibri.Endpoint{ID: "a", Expire: true}); err != nil {
			t.Errorf("to end what is gone: %v", err)
		}
		w.want("m", "a", false, "two")
	})
}

// TestRelayRefused: a relay that a bridge refuses is tried again, a while; those who came meanwhile are in it.
func TestRelayRefused(t *testing.T) {
	inWorld(t, Config{MaxPerBridge: 2}, func(t *testing.T, w *world) {
		one := w.bridge("one", "drain", "false", "relay_id", "r1")
		two := w.bridge("two", "drain", "false", "relay_id", "r2", "stress_level", "0.5")
		w.want("m", "a", true, "one")
		w.want("m", "b", false, "one")
		w.set(func() { two.noRelays = 2 })
		w.want("m", "c", false, "two")
		w.told(one)
		w.told(two)
		time.Sleep(relinkPause + time.Millisecond)
		synctest.Wait()
		w.told(one)
		w.heard(two, "relay r1 create=false expire=true", "relay r1 create=true expire=false controlling=true client a create=true expire=false b create=true expire=false")
		w.want("m", "d", false, "two")
		time.Sleep(2*relinkPause + time.Millisecond)
		synctest.Wait()
		w.heard(one, "relay r2 create=false expire=true",
			"relay r2 create=true expire=false controlling=false server to two passive c create=true expire=false d create=true expire=false")
		if n := w.p.Counters(); n["relinks_total"] != 2 {
			t.Errorf("%v", n)
		}
		w.told(two)
		time.Sleep(time.Hour)
		synctest.Wait()
		w.heard(two)
	})
}

// TestRelayLost: a relay of the bridge in this process that died is made anew, unless the conference is over meanwhile.
func TestRelayLost(t *testing.T) {
	local := &relayingBridge{}
	inWorld(t, Config{Local: local, LocalRelayID: "us", MaxPerBridge: 1}, func(t *testing.T, w *world) {
		one := w.bridge("one", "drain", "false", "relay_id", "r1", "stress_level", "0.5")
		w.want("m", "a", true, "local")
		w.want("m", "b", false, "one")
		w.told(one)
		if local.listener == nil {
			t.Fatal("the bridge cannot tell")
		}
		local.listener.RelayLost("m", "r1")
		local.listener.RelayLost("m", "nobody")
		local.listener.RelayLost("no such", "r1")
		time.Sleep(relinkPause + time.Millisecond)
		synctest.Wait()
		if got := w.told(one); len(got) < 2 || got[0] != "relay us create=false expire=true" || !strings.HasPrefix(got[1], "relay us create=true") {
			t.Errorf("told %q", got)
		}
		local.listener.RelayLost("m", "r1")
		for _, id := range []string{"a", "b"} {
			if err := w.change(colibri.Endpoint{ID: id, Expire: true}); err != nil {
				t.Error(err)
			}
		}
		synctest.Wait()
		w.told(one)
		time.Sleep(time.Minute)
		synctest.Wait()
		w.heard(one)
	})
}

// TestRelayLostElsewhere: what two bridges elsewhere say of the relay between them is heard, of one that both have and of nothing else.
func TestRelayLostElsewhere(t *testing.T) {
	inWorld(t, Config{MaxPerBridge: 1}, func(t *testing.T, w *world) {
		one := w.bridge("one", "drain", "false", "relay_id", "r1")
		two := w.bridge("two", "drain", "false", "relay_id", "r2", "stress_level", "0.5")
		w.bridge("three", "drain", "false", "relay_id", "r3", "stress_level", "0.9")
		w.want("m", "a", true, "one")
		w.want("m", "b", false, "two")
		w.told(one)
		w.told(two)
		says := func(nick, meeting, relay string) {
			from, err := stanza.MustJID(room).WithResource(nick)
			if err != nil {
				t.Fatal(err)
			}
			w.p.HandleStanza(stanza.NewMessage("", from, w.p.cfg.Self, colibri.RelayLostElement(meeting, relay)))
		}
		says("three", "m", "r1") // has no part in it
		says("nobody", "m", "r1")
		says("one", "m", "r3")
		says("one", "no such", "r2")
		time.Sleep(relinkPause + time.Millisecond)
		synctest.Wait()
		w.heard(one)
		says("two", "m", "r1")
		says("one", "m", "r2")
		time.Sleep(relinkPause + time.Millisecond)
		synctest.Wait()
		if got := w.told(one); len(got) < 2 || got[0] != "relay r2 create=false expire=true" || !strings.HasPrefix(got[1], "relay r2 create=true") {
			t.Errorf("told %q", got)
		}
		if n := w.p.Counters()["relinks_total"]; n != 1 {
			t.Errorf("%d relinks", n)
		}
	})
}

// relayingBridge is one in this process that takes relays.
type relayingBridge struct{ listener colibri.RelayListener }

func (b *relayingBridge) AddListener(l colibri.Listener) { b.listener, _ = l.(colibri.RelayListener) }

func (*relayingBridge) Modify(_ context.Context, m *colibri.ConferenceModify) (*colibri.ConferenceModified, error) {
	out := &colibri.ConferenceModified{}
	for _, e := range m.Endpoints {
		out.Endpoints = append(out.Endpoints, colibri.EndpointModified{ID: e.ID, Transport: &jingle.Transport{Ufrag: "local"}})
	}
	for _, r := range m.Relays {
		out.Relays = append(out.Relays, colibri.RelayModified{ID: r.ID, Transport: &jingle.Transport{Ufrag: "local", Fingerprints: []jingle.Fingerprint{{Hash: "sha-256", Value: "AA"}}}})
	}
	return out, nil
}
