package rest

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"konzil/signaling/colibri"
	"konzil/signaling/jingle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeBridge has one meeting, m, with one endpoint in it.
type fakeBridge struct{ got []*colibri.ConferenceModify }

func (b *fakeBridge) Modify(_ context.Context, m *colibri.ConferenceModify) (*colibri.ConferenceModified, error) {
	b.got = append(b.got, m)
	switch {
	case m.MeetingID != "m":
		return nil, &colibri.Error{Reason: colibri.ReasonConferenceNotFound}
	case len(m.Endpoints) == 1 && m.Endpoints[0].ID == "nobody":
		return nil, &colibri.Error{Reason: colibri.ReasonUnknownEndpoint, Endpoint: "nobody"}
	}
	out := &colibri.ConferenceModified{}
	for _, e := range m.Endpoints {
		out.Endpoints = append(out.Endpoints, colibri.EndpointModified{ID: e.ID, Transport: &jingle.Transport{Ufrag: "u", Pwd: "p", SCTPPort: 5000,
			Fingerprints: []jingle.Fingerprint{{Hash: "sha-256", Setup: "actpass", Value: "AA"}}, WebSockets: []string{"wss://x"},
			Candidates: []jingle.Candidate{{Foundation: "1", Component: 1, Protocol: "udp", Priority: 5, Addr: netip.MustParseAddrPort("192.0.2.1:10000"), Type: "host"}}}})
	}
	for _, r := range m.Relays {
		out.Relays = append(out.Relays, colibri.RelayModified{ID: r.ID, SCTPRole: colibri.SCTPClient, Transport: &jingle.Transport{Ufrag: "ru", SCTPPort: 5000}})
	}
	out.Sources = jingle.SourceSet{Sources: []jingle.Source{{SSRC: 3191927963, Media: jingle.Audio, Name: "jvb-a0"}}}
	return out, nil
}

type world struct {
	*testing.T
	b   *fakeBridge
	api *API
	url string
}

func newWorld(t *testing.T, cfg Config) *world {
	cfg.Speakers = func(id string) ([]string, bool) { return []string{"b", "a"}, id == "m" }
	w := &world{T: t, b: &fakeBridge{}}
	w.api = New(w.b, cfg, slog.New(slog.DiscardHandler))
	s := httptest.NewServer(w.api)
	t.Cleanup(s.Close)
	w.url = s.URL
	return w
}

// ask gives status and body.
func (w *world) ask(method, path, body string, header ...string) (int, object) {
	w.Helper()
	r, err := http.NewRequest(method, w.url+Path+path, strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		w.Fatal(err)
	}
	defer res.Body.Close()
	var o object
	if err := json.NewDecoder(res.Body).Decode(&o); err != nil && res.StatusCode != http.StatusMethodNotAllowed {
		w.Fatalf("%s %s: %v", method, path, err)
	}
	return res.StatusCode, o
}

const create = `{"meeting-id":"m","name":"room@conference.example","create":true,"rtcstats-enabled":false,"endpoints":[{"create":true,"id":"79f0273d","stats-id":"Garett-w1o",
"muc-role":"moderator","medias":[{"type":"audio","payload-types":[{"name":"opus","id":"111","channels":"2","clockrate":"48000","parameters":{"useinbandfec":"1"},
"rtcp-fbs":[{"type":"transport-cc"}]}],"rtp-hdrexts":[{"uri":"urn:ietf:params:rtp-hdrext:ssrc-audio-level","id":1}],"extmap-allow-mixed":true},
{"type":"video","payload-types":[{"name":"VP8","id":"100","clockrate":"90000","rtcp-fbs":[{"type":"nack","subtype":"pli"}]}]}],
"transport":{"ice-controlling":true,"sctp":{}},"capabilities":["source-names","ssrc-rewriting"],"force-mute":{"audio":true}}]}`

// TestCreate sends what JVB's documentation has.
func TestCreate(t *testing.T) {
	w := newWorld(t, Config{})
	code, o := w.ask("POST", "", create)
	if code != 200 {
		t.Fatalf("%d %v", code, o)
	}
	e := w.b.got[0].Endpoints[0]
	if m := w.b.got[0]; !m.Create || m.Name != "room@conference.example" || e.ID != "79f0273d" || e.StatsID != "Garett-w1o" || !e.Create || len(e.Media) != 2 ||
		e.Media[0].Payloads[0].ID != 111 || e.Media[0].Payloads[0].Channels != 2 || e.Media[0].HdrExts[0].ID != 1 || e.Media[1].Payloads[0].Feedback[0].Subtype != "pli" ||
		!e.Transport.ICEControlling || !e.Transport.SCTP || len(e.Capabilities) != 2 || !e.ForceMute.Audio || e.ForceMute.Video {
		t.Errorf("understood %+v", w.b.got[0])
	}
	got, _ := json.Marshal(o)
	const want = `{"endpoints":[{"id":"79f0273d","transport":{"sctp":{"port":5000,"role":"server"},"transport":{"candidates":[{"component":"1","foundation":"1","generation":"0","id":"1","ip":"192.0.2.1","network":"0","port":"10000","priority":"5","protocol":"udp","type":"host"}],"fingerprints":[{"fingerprint":"AA","hash":"sha-256","setup":"actpass"}],"pwd":"p","rtcp-mux":true,"ufrag":"u","web-sockets":["wss://x"],"xmlns":"urn:xmpp:jingle:transports:ice-udp:1"}}}],"sources":[{"id":"jvb-a0","sources":[{"name":"jvb-a0","ssrc":3191927963}],"type":"audio"}]}`
	if string(got) != want {
		t.Errorf("answered\n%s, not\n%s", got, want)
	}
}

// TestPatch changes what is there: transport, sources, relays, expiry.
func TestPatch(t *testing.T) {
	w := newWorld(t, Config{})
	code, o := w.ask("PATCH", "/m", `{"endpoints":[{"id":"a","transport":{"transport":{"ufrag":"cu","pwd":"cp","fingerprints":[{"fingerprint":"BB","hash":"sha-256","setup":"active"}],
"candidates":[{"foundation":"1","component":"1","protocol":"udp","priority":"7","ip":"192.0.2.7","port":"4000","type":"host","generation":"0","id":"x"}]}},
"sources":[{"type":"video","id":"a-v0","sources":[{"ssrc":1,"name":"a-v0"},{"ssrc":2}],"groups":[{"semantics":"FID","sources":[1,{"ssrc":2}]}]}]},{"id":"b","expire":true}],
"relays":[{"id":"r","create":true,"mesh-id":"0","transport":{"ice-controlling":true,"sctp":{"role":"client"}},"endpoints":[{"id":"c","create":true}]}]}`)
	if code != 200 || len(w.b.got) != 1 {
		t.Fatalf("%d %v", code, o)
	}
	m := w.b.got[0]
	a := m.Endpoints[0]
	if m.MeetingID != "m" || a.Transport.Remote.Ufrag != "cu" || a.Transport.Remote.Fingerprints[0].Value != "BB" || a.Transport.Remote.Candidates[0].Addr.Port() != 4000 ||
		len(a.Sources.Sources) != 2 || a.Sources.Groups[0].SSRCs[1] != 2 || !m.Endpoints[1].Expire {
		t.Errorf("understood %+v, %+v", a, m.Endpoints[1])
	}
	if r := m.Relays[0]; r.ID != "r" || r.MeshID != "0" || r.Transport.SCTPRole != colibri.SCTPClient || r.Endpoints[0].ID != "c" || !r.Endpoints[0].Create {
		t.Errorf("relay %+v", r)
	}
	if code, o = w.ask("GET", "/m/dominant-speaker-identification", ""); code != 200 || o["dominantEndpoint"] != "b" {
		t.Errorf("speakers: %d %v", code, o)
	}
}

// TestRefusals: each bad request gets an answer of its kind, and none reaches the bridge that is not sound.
func TestRefusals(t *testing.T) {
	w := newWorld(t, Config{})
	for _, c := range []struct {
		method, path, body string
		want               int
	}{
		{"PATCH", "/none", `{}`, 404},
		{"PATCH", "/m", `{"endpoints":[{"id":"nobody"}]}`, 400},
		{"PATCH", "/m", `{"create":true}`, 400},
		{"GET", "/none", "", 404},
		{"GET", "/m", "", 501},
		{"GET", "", "", 501},
		{"DELETE", "/m", "", 405},
		{"GET", "/none/dominant-speaker-identification", "", 404},
		{"POST", "", `{"meeting-id":"m","meeting-id":"n"}`, 400},
		{"POST", "", `{"meeting-id":"m","endpoints":[{"id":"a","id":"b"}]}`, 400},
		{"POST", "", `{"create":true}`, 400},
		{"POST", "", `[]`, 400},
		{"POST", "", `{"meeting-id":"m"} {}`, 400},
		{"POST", "", `{"meeting-id":`, 400},
		{"POST", "", `{"meeting-id":{"a":1}}`, 400},
		{"POST", "", `{"meeting-id":"m","endpoints":{}}`, 400},
		{"POST", "", `{"meeting-id":"m","endpoints":[1]}`, 400},
		{"POST", "", `{"meeting-id":"m","endpoints":[{"id":"a","medias":[{"type":"smell"}]}]}`, 400},
		{"POST", "", `{"meeting-id":"m","endpoints":[{"id":"a","sources":[{"type":"video","sources":[{"ssrc":"none"}]}]}]}`, 400},
		{"POST", "", `{"meeting-id":"m","endpoints":[{"id":"a","initial-last-n":-2}]}`, 400},
		{"POST", "", `{"meeting-id":"m","connects":[{"url":"wss://x"}]}`, 400},
		{"POST", "", strings.Repeat(`{"a":`, 40) + strings.Repeat("}", 40), 400},
		{"POST", "", `{"name":"` + strings.Repeat("x", maxBody) + `"}`, 413},
	} {
		if code, o := w.ask(c.method, c.path, c.body); code != c.want {
			t.Errorf("%s %s %.60s: %d %v, want %d", c.method, c.path, c.body, code, o, c.want)
		}
	}
	if code, _ := w.ask("POST", "", create, "Content-Type", "text/plain"); code != 415 { // what a page of another origin may send
		t.Errorf("text/plain: %d", code)
	}
	if n := len(w.b.got); n != 2 {
		t.Errorf("%d requests reached the bridge", n)
	}
	if n := w.api.Counters(); n["refused_total"] != 24 || n["requests_total"] != 24 {
		t.Errorf("counted %v", n)
	}
}

func TestToken(t *testing.T) {
	w := newWorld(t, Config{Token: "secret"})
	for header, want := range map[string]int{"": 401, "Bearer wrong": 401, "secret": 401, "Bearer secret": 200} {
		if code, _ := w.ask("POST", "/", create, "Authorization", header); code != want {
			t.Errorf("%q: %d, want %d", header, code, want)
		}
	}
	if n := w.api.Counters(); n["unauthorized_total"] != 3 || n["refused_total"] != 3 || n["requests_total"] != 4 {
		t.Errorf("counted %v", n)
	}
}

// FuzzModify: no body panics, and what is understood is sound COLIBRI2.
func FuzzModify(f *testing.F) {
	f.Add([]byte(create))
	f.Add([]byte(`{"meeting-id":"m","relays":[{"id":"r","transport":{"transport":{"candidates":[{"ip":"::1"}]}},"endpoints":[{"sources":[{"groups":[{"sources":[null]}]}]}]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		o, err := parseObject(b)
		if err != nil {
			return
		}
		if m, err := parseModify(o, ""); err == nil {
			if _, err := colibri.ParseModify(m.Element()); err != nil {
				t.Errorf("what was understood is not sound: %v", err)
			}
		}
	})
}
