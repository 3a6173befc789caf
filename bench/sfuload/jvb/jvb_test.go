package jvb

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"konzil/bench/sfuload"
	"konzil/bench/sfuload/sfutest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// answer is what a bridge of version 2.3 said to a new endpoint.
const answer = `{"endpoints":[{"id":"alice","transport":{"transport":{"xmlns":"urn:xmpp:jingle:transports:ice-udp:1","pwd":"32c556uaae52jr2jg9ueerlvv3","ufrag":"upvu1k83amlnm",
"fingerprints":[{"fingerprint":"46:eb:ac","setup":"actpass","hash":"sha-256"}],"candidates":[
{"component":"1","foundation":"1","generation":"0","id":"1","network":"0","priority":"2130706431","protocol":"udp","type":"host","ip":"fd00:0:0:0:0:0:0:2","port":"20000"},
{"component":"1","foundation":"2","generation":"0","id":"2","network":"0","priority":"2130706431","protocol":"udp","type":"host","ip":"192.0.2.2","port":"20000"},
{"component":"1","foundation":"3","generation":"0","id":"3","network":"0","priority":"1","protocol":"tcp","type":"host","ip":"192.0.2.2","port":"443"}],
"web-sockets":[%q],"rtcp-mux":true}}}],"sources":[{"type":"audio","id":"jvb-a0","sources":[{"ssrc":2698042875,"name":"jvb-a0"}]}]}`

// bridge plays the REST API. It notes each request as method, path and body.
type bridge struct {
	*httptest.Server
	mu     sync.Mutex // guards what follows
	calls  []string
	bodies []modify
	fail   int // status of every answer when not 0
}

func newBridge(t *testing.T, channel string) *bridge {
	b := &bridge{}
	b.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, _ := io.ReadAll(r.Body)
		var m modify
		if err := json.Unmarshal(text, &m); err != nil || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%v %s", err, text)
		}
		b.mu.Lock()
		defer b.mu.Unlock()
		b.calls, b.bodies = append(b.calls, r.Method+" "+r.URL.Path), append(b.bodies, m)
		switch {
		case b.fail != 0:
			http.Error(w, "no", b.fail)
		case len(m.Endpoints) == 1 && m.Endpoints[0].Create:
			fmt.Fprintf(w, answer, channel)
		}
	}))
	t.Cleanup(b.Close)
	return b
}

// Two endpoints: the first makes the conference, the last ends it; the bridge is told sources, our transport and what we want.
func TestSession(t *testing.T) {
	said := make(chan []string, 2) // by endpoint, in no order: each has a channel of its own
	channel := sfutest.Serve(t, "", func(p *sfutest.Peer) {
		p.Write(false, []byte(`{"colibriClass":"ServerHello"}`))
		var all []string
		for b := p.Read(); b != nil; b = p.Read() {
			var m map[string]any
			if err := json.Unmarshal(b, &m); err != nil {
				t.Error(err)
			}
			all = append(all, fmt.Sprint(m))
		}
		said <- all
	})
	b := newBridge(t, channel+"/colibri-ws/b/1/alice?pwd=x")
	a, err := New(b.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	c := sfutest.NewConnector()
	s, err := a.Join(t.Context(), &sfuload.Participant{Name: "alice", Room: "r", Publish: sfutest.Tracks(), Want: sfuload.Want{MaxHeight: 360}}, c)
	if err != nil {
		t.Fatal(err)
	}
	c.Wait(t, "the transport", func(ts []*sfutest.Transport) bool {
		if len(ts) != 1 || len(ts[0].Started) != 1 || len(ts[0].Sending) != 2 || len(ts[0].Receiving) != 2 {
			return false
		}
		r := ts[0].Started[0]
		return r.Ufrag == "upvu1k83amlnm" && r.Print == "46:EB:AC" && !r.Controlling && fmt.Sprint(r.Candidates) == "[[fd00::2]:20000 192.0.2.2:20000]"
	})
	second, err := a.Join(t.Context(), &sfuload.Participant{Name: "bob", Room: "r", Want: sfuload.Want{NoVideo: true, NoAudio: true}}, c)
	if err != nil {
		t.Fatal(err)
	}
	e := b.bodies[0].Endpoints[0]
	if b.bodies[0].Meeting != "r" || e.ID != "alice" || !e.Transport.Controlling || len(e.Medias) != 2 || len(e.Sources) != 2 {
		t.Errorf("%+v", b.bodies[0])
	}
	if v := e.Sources[1]; v.ID != "alice-v0" || len(v.Sources) != 6 || !reflect.DeepEqual(v.Groups[3], group{"SIM", []uint32{1, 2, 3}}) || !reflect.DeepEqual(v.Groups[2], group{"FID", []uint32{3, 13}}) {
		t.Errorf("%+v", v)
	}
	if p := e.Medias[1].Payloads; len(p) != 4 || p[1].Params["apt"] != "96" || !slices.Contains(p[0].Feedbacks, feedback{"ccm", "fir"}) || len(e.Medias[1].Exts) != 2 {
		t.Errorf("%+v", e.Medias[1])
	}
	if tr := b.bodies[1].Endpoints[0].Transport.Inner; tr.Fingerprints[0].Setup != "active" || tr.Ufrag != "uf00" || tr.Candidates[0].Port != "4000" {
		t.Errorf("%+v", tr)
	}
	if err := s.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	if err := second.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	if s.Err() != nil || !c.Closed() {
		t.Error(s.Err())
	}
	got := []string{strings.Join(<-said, "\n"), strings.Join(<-said, "\n")}
	slices.Sort(got)
	if want := []string{
		"map[colibriClass:ClientHello]\n" +
			"map[colibriClass:ReceiverVideoConstraints defaultConstraints:map[maxHeight:0] lastN:0]\n" +
			"map[all:false colibriClass:ReceiverAudioSubscription exclude:[] include:[]]",
		"map[colibriClass:ClientHello]\n" +
			"map[colibriClass:ReceiverVideoConstraints defaultConstraints:map[maxHeight:360] lastN:-1]\n" +
			"map[all:true colibriClass:ReceiverAudioSubscription exclude:[] include:[]]",
	}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	const one = "PATCH /colibri/v2/conferences/r"
	if want := []string{"POST /colibri/v2/conferences", one, one, one, one, one}; !slices.Equal(b.calls, want) {
		t.Error(b.calls)
	}
	if x := b.bodies[4].Endpoints; len(x) != 1 || x[0].ID != "alice" || !x[0].Expire || !b.bodies[5].Expire {
		t.Errorf("%+v", b.bodies[4:])
	}
}

func TestOnly(t *testing.T) {
	m, _ := json.Marshal(videoConstraints(sfuload.Want{Only: "bob"}))
	if want := `{"colibriClass":"ReceiverVideoConstraints","constraints":{"bob-v0":{"maxHeight":2160},"bob-v1":{"maxHeight":2160}},"defaultConstraints":{"maxHeight":0},"lastN":-1,"onStageSources":["bob-v0","bob-v1"]}`; string(m) != want {
		t.Errorf("%s", m)
	}
}

func TestJoinFails(t *testing.T) {
	closing := sfutest.Serve(t, "", func(p *sfutest.Peer) { p.Close() })
	p := &sfuload.Participant{Name: "alice", Room: "r"}
	for name, b := range map[string]*bridge{"status": newBridge(t, ""), "no channel": newBridge(t, "ws://"+sfutest.Refused(t))} {
		if name == "status" {
			b.fail = http.StatusBadRequest
		}
		c := sfutest.NewConnector()
		a, _ := New(b.URL)
		if _, err := a.Join(t.Context(), p, c); err == nil || !c.Closed() {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A channel that the bridge closes ends the session.
	c := sfutest.NewConnector()
	a, _ := New(newBridge(t, closing).URL)
	s, err := a.Join(t.Context(), p, c)
	if err == nil { // else the close came before the first message
		if <-s.Done(); s.Err() == nil {
			t.Error("no error")
		}
		if err := s.Leave(t.Context()); err != nil {
			t.Error(err)
		}
	}
	a, _ = New("http://" + sfutest.Refused(t))
	if _, err := a.Join(t.Context(), p, c); err == nil {
		t.Error("joined nobody")
	}
	if _, err := New(""); err == nil {
		t.Error("no URL")
	}
	if _, err := theirs(&outer{}); err == nil {
		t.Error("no transport")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add(fmt.Appendf(nil, answer, "ws://x"))
	f.Add([]byte(strings.Repeat("[", 100)))
	f.Fuzz(func(_ *testing.T, b []byte) {
		m, err := decode(b)
		if err != nil {
			return
		}
		for _, e := range m.Endpoints {
			_, _ = theirs(e.Transport)
		}
	})
}
