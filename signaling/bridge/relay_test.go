package bridge

import (
	"context"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"konzil/sfu"
	"konzil/signaling/colibri"
	"konzil/signaling/jingle"
)

// relay asks about a relay to the bridge "other".
func (x *bench) relay(r colibri.Relay) (colibri.RelayModified, error) {
	r.ID = "other"
	m, err := x.b.Modify(context.Background(), &colibri.ConferenceModify{MeetingID: "meeting", Relays: []colibri.Relay{r}})
	if err != nil {
		return colibri.RelayModified{}, err
	}
	return m.Relays[0], nil
}

// linked makes a relay with b at the other end, who sends a camera.
func (x *bench) linked() {
	x.t.Helper()
	b := colibri.Endpoint{ID: "b", Create: true, Sources: &jingle.SourceSet{Sources: []jingle.Source{{SSRC: 7, Media: jingle.Video, Name: "b-v0"}}}}
	r, err := x.relay(colibri.Relay{Create: true, MeshID: "0", Media: []jingle.Description{jingle.VideoDescription(jingle.Can{RTX: true})},
		Transport: &colibri.Transport{ICEControlling: true, SCTP: true, SCTPRole: colibri.SCTPClient}, Endpoints: []colibri.Endpoint{b}})
	if err != nil || r.Transport == nil || r.Transport.Ufrag != "u" || r.Transport.SCTPPort != 5000 || r.SCTPRole != colibri.SCTPClient {
		x.t.Fatalf("made %+v, %v", r, err)
	}
	x.f.ev.ChannelOpen(relayPrefix + "other")
}

// TestRelays: a relay is an endpoint of the sfu that brings the sources of those at the other end.
func TestRelays(t *testing.T) {
	inBench(t, Config{RelayID: "us"}, func(t *testing.T, x *bench) {
		x.create("a", true)
		x.linked()
		if _, err := x.relay(colibri.Relay{Transport: &colibri.Transport{Remote: &jingle.Transport{Ufrag: "ru", Pwd: "rp"}}}); err != nil {
			t.Error(err)
		}
		x.get(relayPrefix+"other", func(e *fakeEndpoint) {
			if !e.cfg.Relay || !e.cfg.ChannelClient || !e.cfg.DataChannel || !e.cfg.Controlling || e.remote.Ufrag != "ru" {
				t.Errorf("made with %+v", e)
			}
			if len(e.sources) != 1 || e.sources[0].Owner != "b" || e.sources[0].Name != "b-v0" || e.want.Default.MaxHeight != 0 {
				t.Errorf("sources %+v, wanted %+v", e.sources, e.want)
			}
		})
		for what, r := range map[string]colibri.Relay{
			"bad_request":      {Create: true, Transport: &colibri.Transport{SCTP: true}},
			"unknown_endpoint": {Endpoints: []colibri.Endpoint{{ID: "nobody"}}},
			"bad_request ":     {Endpoints: []colibri.Endpoint{{ID: "a", Create: true}}}, // it is on this bridge
		} {
			if _, err := x.relay(r); reasonOf(err) != colibri.Reason(strings.TrimSpace(what)) {
				t.Errorf("%+v: %v, want %s", r, err, what)
			}
		}
		if _, err := x.relay(colibri.Relay{Endpoints: []colibri.Endpoint{{ID: "b", Expire: true}}}); err != nil {
			t.Error(err)
		}
		x.get(relayPrefix+"other", func(e *fakeEndpoint) {
			if len(e.sources) != 0 {
				t.Errorf("sources of a leaver: %+v", e.sources)
			}
		})
		for range 2 { // twice does no harm
			if _, err := x.relay(colibri.Relay{Expire: true}); err != nil {
				t.Error(err)
			}
		}
		x.get(relayPrefix+"other", func(e *fakeEndpoint) {
			if !e.closed {
				t.Error("not closed")
			}
		})
	})
	inBench(t, Config{}, func(t *testing.T, x *bench) {
		x.create("a", true)
		if _, err := x.relay(colibri.Relay{Create: true}); reasonOf(err) != colibri.ReasonFeatureNotSupported {
			t.Errorf("a bridge that works alone: %v", err)
		}
	})
}

func reasonOf(err error) colibri.Reason {
	if e, ok := err.(*colibri.Error); ok {
		return e.Reason
	}
	return ""
}

// TestRelayMessages: what passes between bridges, both ways, and what another bridge may not say.
func TestRelayMessages(t *testing.T) {
	inBench(t, Config{RelayID: "us"}, func(t *testing.T, x *bench) {
		x.create("a", true)
		x.f.ev.ChannelOpen("a")
		x.linked()
		link := relayPrefix + "other"
		x.f.ev.SenderConstraint(link, "b-v0", 360)
		x.f.ev.SenderConstraint(link, "b-v0", 0)
		x.say("a", `{"colibriClass":"EndpointMessage","to":"","msgPayload":{"x":1}}`)
		x.say("a", `{"colibriClass":"EndpointMessage","to":"b","msgPayload":{}}`)
		x.say("a", `{"colibriClass":"EndpointStats","bitrate":5}`)
		x.say("a", `{"colibriClass":"SourceVideoTypeMessage","sourceName":"a-v0","videoType":"desktop"}`)
		x.f.ev.Active("a", false)
		want := []string{
			`{"colibriClass":"AddReceiver","bridgeId":"us","sourceName":"b-v0","videoConstraints":{"maxHeight":360,"maxFrameRate":-1}}`,
			`{"colibriClass":"RemoveReceiver","bridgeId":"us","sourceName":"b-v0"}`,
			`{"colibriClass":"EndpointMessage","from":"a","to":"","msgPayload":{"x":1}}`,
			`{"colibriClass":"EndpointMessage","from":"a","to":"b","msgPayload":{}}`,
			`{"bitrate":5,"colibriClass":"EndpointStats","from":"a"}`,
			`{"colibriClass":"SourceVideoTypeMessage","sourceName":"a-v0","videoType":"desktop","endpointId":"a"}`,
			`{"colibriClass":"EndpointConnectivityStatusChangeEvent","endpoint":"a","active":"false"}`,
		}
		if got := x.heard(link); !slices.Equal(got, want) {
			t.Errorf("the other bridge heard\n%s, not\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
		x.heard("a")
		x.say(link, `{"colibriClass":"AddReceiver","bridgeId":"other","sourceName":"a-v0","videoConstraints":{"maxHeight":720}}`)
		x.say(link, `{"colibriClass":"EndpointMessage","from":"b","to":"a","msgPayload":{}}`)
		x.say(link, `{"colibriClass":"EndpointMessage","from":"a","to":"","msgPayload":{"forged":1}}`)
		x.say(link, `{"colibriClass":"EndpointConnectivityStatusChangeEvent","endpoint":"b","active":"false"}`)
		x.say(link, `{"colibriClass":"EndpointConnectivityStatusChangeEvent","endpoint":"a","active":"false"}`)
		x.say(link, `{"colibriClass":"SourceVideoTypeMessage","sourceName":"b-v0","videoType":"desktop","endpointId":"b"}`)
		synctest.Wait()
		want = []string{
			`{"colibriClass":"EndpointMessage","from":"b","to":"a","msgPayload":{}}`,
			`{"colibriClass":"EndpointConnectivityStatusChangeEvent","endpoint":"b","active":"false"}`,
		}
		if got := x.heard("a"); !slices.Equal(got, want) {
			t.Errorf("a heard\n%s", strings.Join(got, "\n"))
		}
		x.get(link, func(e *fakeEndpoint) {
			if e.want.Sources["a-v0"].MaxHeight != 720 || e.want.Default.MaxHeight != 0 || e.types["b-v0"] != sfu.Desktop {
				t.Errorf("wanted %+v, types %v", e.want, e.types)
			}
		})
		x.say(link, `{"colibriClass":"RemoveReceiver","bridgeId":"other","sourceName":"a-v0"}`)
		x.get(link, func(e *fakeEndpoint) {
			if len(e.want.Sources) != 0 {
				t.Errorf("still wanted %+v", e.want)
			}
		})
	})
}

// relayLosses is a listener that hears of relays.
type relayLosses chan string

func (r relayLosses) EndpointLost(meeting, endpoint string) {
	r <- "endpoint " + meeting + "/" + endpoint
}
func (r relayLosses) RelayLost(meeting, relay string) { r <- "relay " + meeting + "/" + relay }

// TestRelayFailureIsReported: the focus hears of a relay whose transport is dead, by the name that it knows, and not of one that it has ended.
func TestRelayFailureIsReported(t *testing.T) {
	inBench(t, Config{RelayID: "us"}, func(t *testing.T, x *bench) {
		losses := make(relayLosses, 10)
		x.b.AddListener(losses)
		x.create("a", true)
		x.linked()
		x.f.ev.Transport(relayPrefix+"other", sfu.TransportConnected)
		x.f.ev.Transport(relayPrefix+"other", sfu.TransportFailed)
		if got := <-losses; got != "relay meeting/other" {
			t.Errorf("told of %s", got)
		}
		if _, err := x.relay(colibri.Relay{Expire: true}); err != nil {
			t.Error(err)
		}
		x.f.ev.Transport(relayPrefix+"other", sfu.TransportFailed)
		synctest.Wait()
		if len(losses) != 0 {
			t.Errorf("told of %s", <-losses)
		}
	})
}
