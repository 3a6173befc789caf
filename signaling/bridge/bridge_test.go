package bridge

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"konzil/internal/await"
	"konzil/sfu"
	"konzil/signaling/bridgechan"
	"konzil/signaling/colibri"
	"konzil/signaling/jingle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeEngine is an sfu without media: it remembers calls, and the test makes its events.
type fakeEngine struct {
	mu  sync.Mutex // guards all fields of the fakes
	ev  sfu.Events
	eps map[string]*fakeEndpoint
}

func (f *fakeEngine) NewConference(_ string, ev sfu.Events) (Conference, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ev, f.eps = ev, map[string]*fakeEndpoint{}
	return f, nil
}

func (f *fakeEngine) FeedbackSSRCs() (audio, video uint32) { return 901, 902 }

func (f *fakeEngine) AddEndpoint(cfg sfu.EndpointConfig) (Endpoint, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	e := &fakeEndpoint{f: f, cfg: cfg}
	f.eps[cfg.ID] = e
	return e, nil
}

func (f *fakeEngine) Close() {}

type fakeEndpoint struct {
	f       *fakeEngine
	cfg     sfu.EndpointConfig
	remote  sfu.Transport
	sources []sfu.Source
	types   map[string]sfu.VideoType
	want    sfu.VideoConstraints
	audio   sfu.AudioSubscription
	muted   [2]bool
	ready   bool
	acked   []uint32
	sent    []string
	full    bool
	closed  bool
}

func (e *fakeEndpoint) set(f func()) {
	e.f.mu.Lock()
	defer e.f.mu.Unlock()
	f()
}

func (e *fakeEndpoint) LocalTransport(context.Context) (sfu.Transport, error) {
	return sfu.Transport{Ufrag: "u", Pwd: "p", Setup: "actpass", Fingerprints: []sfu.Fingerprint{{Hash: "sha-256", Value: "AA"}}}, nil
}
func (e *fakeEndpoint) SetRemote(t sfu.Transport) error { e.set(func() { e.remote = t }); return nil }
func (e *fakeEndpoint) RestartICE(context.Context) (sfu.Transport, error) {
	return sfu.Transport{}, errors.ErrUnsupported
}
func (e *fakeEndpoint) SetSources(l []sfu.Source) error { e.set(func() { e.sources = l }); return nil }
func (e *fakeEndpoint) SetVideoType(s string, t sfu.VideoType) error {
	e.set(func() {
		if e.types == nil {
			e.types = map[string]sfu.VideoType{}
		}
		e.types[s] = t
	})
	return nil
}
func (e *fakeEndpoint) SetConstraints(c sfu.VideoConstraints)        { e.set(func() { e.want = c }) }
func (e *fakeEndpoint) SetAudioSubscription(s sfu.AudioSubscription) { e.set(func() { e.audio = s }) }
func (e *fakeEndpoint) SetReady()                                    { e.set(func() { e.ready = true }) }
func (e *fakeEndpoint) AckSources(s []uint32)                        { e.set(func() { e.acked = append(e.acked, s...) }) }
func (e *fakeEndpoint) SetForceMute(a, v bool)                       { e.set(func() { e.muted = [2]bool{a, v} }) }
func (e *fakeEndpoint) SendMessage(m []byte) error {
	err := error(nil)
	e.set(func() {
		if e.full {
			err = sfu.ErrChannelFull
		} else {
			e.sent = append(e.sent, string(m))
		}
	})
	return err
}
func (e *fakeEndpoint) Close() { e.set(func() { e.closed = true }) }

// bench is a bridge on a fake engine with some endpoints, in a synctest bubble.
type bench struct {
	t *testing.T
	f *fakeEngine
	b *Bridge
}

func inBench(t *testing.T, cfg Config, f func(t *testing.T, x *bench)) {
	synctest.Test(t, func(t *testing.T) {
		x := &bench{t: t, f: &fakeEngine{}}
		cfg.ServerID, cfg.WebSocketURL = "s1", "wss://meet.example/colibri-ws"
		x.b = newWith(x.f, cfg, slog.New(slog.DiscardHandler))
		f(t, x)
		x.b.Close()
	})
}

func (x *bench) modify(m colibri.ConferenceModify) *colibri.ConferenceModified {
	x.t.Helper()
	m.MeetingID = "meeting"
	r, err := x.b.Modify(context.Background(), &m)
	if err != nil {
		x.t.Fatal(err)
	}
	return r
}

func (x *bench) create(id string, first bool) *colibri.ConferenceModified {
	x.t.Helper()
	return x.modify(colibri.ConferenceModify{Create: first, Endpoints: []colibri.Endpoint{newEndpoint(id)}})
}

func newEndpoint(id string) colibri.Endpoint {
	return colibri.Endpoint{ID: id, Create: true, Capabilities: []string{colibri.CapSourceNames},
		Media:     []jingle.Description{jingle.AudioDescription(jingle.Can{}), jingle.VideoDescription(jingle.Can{RTX: true})},
		Transport: &colibri.Transport{ICEControlling: true, SCTP: true}}
}

func (x *bench) update(ep colibri.Endpoint) {
	x.t.Helper()
	x.modify(colibri.ConferenceModify{Endpoints: []colibri.Endpoint{ep}})
}

func (x *bench) camera(id string, ssrc uint32) {
	x.update(colibri.Endpoint{ID: id, Sources: &jingle.SourceSet{Sources: []jingle.Source{{SSRC: ssrc, Media: jingle.Video, Name: id + "-v0", VideoType: "camera"}}}})
}

// say lets a client send a message over SCTP.
func (x *bench) say(id, msg string) {
	x.f.ev.ChannelMessage(id, []byte(msg))
	synctest.Wait()
}

// heard takes what a client got so far.
func (x *bench) heard(id string) []string {
	synctest.Wait()
	x.f.mu.Lock()
	defer x.f.mu.Unlock()
	out := x.f.eps[id].sent
	x.f.eps[id].sent = nil
	return out
}

func (x *bench) get(id string, f func(e *fakeEndpoint)) {
	synctest.Wait()
	x.f.mu.Lock()
	defer x.f.mu.Unlock()
	f(x.f.eps[id])
}

func TestModify(t *testing.T) {
	inBench(t, Config{}, func(t *testing.T, x *bench) {
		r := x.create("a", true)
		tr := r.Endpoints[0].Transport
		if tr.Ufrag != "u" || tr.Fingerprints[0].Setup != "actpass" || tr.SCTPPort != 5000 || len(tr.WebSockets) != 1 ||
			!strings.HasPrefix(tr.WebSockets[0], "wss://meet.example/colibri-ws/s1/") {
			t.Errorf("transport %+v", tr)
		}
		if len(r.Sources.Sources) != 2 || r.Sources.Sources[0].SSRC != 901 {
			t.Errorf("feedback %+v", r.Sources)
		}
		x.get("a", func(e *fakeEndpoint) {
			if !e.cfg.Controlling || !e.cfg.DataChannel || len(e.cfg.Codecs) != 10 || len(e.cfg.Extensions) != 5 || e.want.Default.MaxHeight != 0 || e.want.LastN != -1 {
				t.Errorf("created with %+v, %+v", e.cfg, e.want)
			}
			for _, c := range e.cfg.Codecs {
				if c.PayloadType == 96 && (c.Name != "rtx" || c.APT != 100 || !c.NACK) || c.PayloadType == 100 && (!c.PLI || !c.FIR || c.TWCC) {
					t.Errorf("codec %+v", c)
				}
			}
		})
		n := 3
		x.update(colibri.Endpoint{ID: "a", LastN: &n, ForceMute: &colibri.ForceMute{Audio: true},
			Transport: &colibri.Transport{Remote: &jingle.Transport{Ufrag: "cu", Pwd: "cp", Fingerprints: []jingle.Fingerprint{{Hash: "sha-256", Setup: "active", Value: "BB"}}}}})
		x.get("a", func(e *fakeEndpoint) {
			if e.want.LastN != 3 || e.muted != [2]bool{true, false} || e.remote.Ufrag != "cu" || e.remote.Setup != "active" {
				t.Errorf("after update %+v", e)
			}
		})
		x.update(colibri.Endpoint{ID: "a", Expire: true})
		x.get("a", func(e *fakeEndpoint) {
			if !e.closed {
				t.Error("not closed")
			}
		})
		x.update(colibri.Endpoint{ID: "a", Expire: true}) // twice does no harm
	})
}

func TestModifyRefusals(t *testing.T) {
	inBench(t, Config{}, func(t *testing.T, x *bench) {
		ask := func(m colibri.ConferenceModify) colibri.Reason {
			m.MeetingID = "meeting"
			_, err := x.b.Modify(context.Background(), &m)
			var e *colibri.Error
			if !errors.As(err, &e) {
				t.Fatalf("got %v", err)
			}
			return e.Reason
		}
		if got := ask(colibri.ConferenceModify{}); got != colibri.ReasonConferenceNotFound {
			t.Errorf("not there: %s", got)
		}
		if got := ask(colibri.ConferenceModify{Create: true, Endpoints: []colibri.Endpoint{{ID: "a", Create: true}}}); got != colibri.ReasonBadRequest {
			t.Errorf("no source-names: %s", got)
		}
		x.create("a", true) // the failed one above has left nothing behind
		if got := ask(colibri.ConferenceModify{Create: true}); got != colibri.ReasonConferenceExists {
			t.Errorf("exists: %s", got)
		}
		if got := ask(colibri.ConferenceModify{Endpoints: []colibri.Endpoint{{ID: "b"}}}); got != colibri.ReasonUnknownEndpoint {
			t.Errorf("unknown endpoint: %s", got)
		}
		if got := ask(colibri.ConferenceModify{Endpoints: []colibri.Endpoint{{ID: "a", Transport: &colibri.Transport{ICERestart: true}}}}); got != colibri.ReasonFeatureNotSupported {
			t.Errorf("ice restart: %s", got)
		}
	})
}

func TestSourcesByName(t *testing.T) {
	set := jingle.SourceSet{Groups: []jingle.Group{{Media: jingle.Video, Semantics: jingle.SIM, SSRCs: []uint32{3, 1, 2}},
		{Media: jingle.Video, Semantics: jingle.FID, SSRCs: []uint32{1, 11}}, {Media: jingle.Video, Semantics: jingle.FID, SSRCs: []uint32{3, 13}},
		{Media: jingle.Video, Semantics: jingle.FECFR, SSRCs: []uint32{3, 23}}}}
	for _, s := range []uint32{23, 1, 2, 3, 11, 13} {
		set.Sources = append(set.Sources, jingle.Source{SSRC: s, Media: jingle.Video, Name: "a-v0", VideoType: "desktop"})
	}
	set.Sources = append(set.Sources, jingle.Source{SSRC: 7, Media: jingle.Audio, Name: "a-a0"})
	got := sources(set)
	if len(got) != 2 || !slices.Equal(got[0].SSRCs, []uint32{3, 1, 2}) || !slices.Equal(got[0].RTX, []uint32{13, 11, 0}) || got[0].Video != sfu.Desktop || got[0].FEC != 23 ||
		got[1].Kind != sfu.Audio || !slices.Equal(got[1].SSRCs, []uint32{7}) {
		t.Errorf("got %+v", got)
	}
}

func TestConstraintsAddUp(t *testing.T) {
	inBench(t, Config{}, func(t *testing.T, x *bench) {
		x.create("a", true)
		x.create("b", false)
		x.camera("b", 5)
		x.say("a", `{"colibriClass":"ReceiverVideoConstraints","lastN":2}`)
		x.get("a", func(e *fakeEndpoint) {
			if e.want.LastN != 2 || e.want.Default.MaxHeight != 180 {
				t.Errorf("first message without default: %+v", e.want)
			}
		})
		x.say("a", `{"colibriClass":"ReceiverVideoConstraints","onStageSources":["b-v0"],"constraints":{"b-v0":{"maxHeight":720}}}`)
		x.say("a", `{"colibriClass":"LastNChangedEvent","lastN":1}`)
		x.get("a", func(e *fakeEndpoint) {
			if e.want.LastN != 1 || e.want.Default.MaxHeight != 180 || !slices.Equal(e.want.OnStage, []string{"b-v0"}) || e.want.Sources["b-v0"].MaxHeight != 720 {
				t.Errorf("got %+v", e.want)
			}
		})
		x.say("a", `{"colibriClass":"ReceiverVideoConstraints","onStageSources":[],"selectedEndpoints":["b"],"onStageEndpoints":null,"constraints":{"b":{"idealHeight":360}}}`)
		x.camera("b", 6) // sources change: endpoints named are looked up anew
		x.get("a", func(e *fakeEndpoint) {
			if len(e.want.OnStage) != 0 || !slices.Equal(e.want.Selected, []string{"b-v0"}) || e.want.Sources["b-v0"].MaxHeight != 360 {
				t.Errorf("by endpoint: %+v", e.want)
			}
		})
		x.say("a", `{"colibriClass":"ReceiverAudioSubscription","all":false,"include":["b-a0"]}`)
		x.get("a", func(e *fakeEndpoint) {
			if !e.audio.None || !slices.Equal(e.audio.Include, []string{"b-a0"}) {
				t.Errorf("audio %+v", e.audio)
			}
		})
	})
}

func TestVideoTypeOutlastsSources(t *testing.T) {
	inBench(t, Config{}, func(t *testing.T, x *bench) {
		x.create("a", true)
		x.say("a", `{"colibriClass":"SourceVideoTypeMessage","sourceName":"a-v0","videoType":"desktop"}`)
		x.camera("a", 5)
		x.get("a", func(e *fakeEndpoint) {
			if e.sources[0].Video != sfu.Desktop {
				t.Errorf("got %+v", e.sources)
			}
		})
		x.say("a", `{"colibriClass":"VideoTypeMessage","videoType":"NONE"}`)
		x.get("a", func(e *fakeEndpoint) {
			if e.types["a-v0"] != sfu.NoVideo {
				t.Errorf("got %+v", e.types)
			}
		})
	})
}

func TestClientWithoutChannel(t *testing.T) {
	inBench(t, Config{}, func(t *testing.T, x *bench) {
		x.create("a", true)
		x.create("b", false)
		x.f.ev.Transport("a", sfu.TransportConnected)
		x.f.ev.Transport("b", sfu.TransportConnected)
		x.f.ev.ChannelOpen("b")
		height := func(id string) (h int) {
			x.get(id, func(e *fakeEndpoint) { h = e.want.Default.MaxHeight })
			return h
		}
		time.Sleep(9 * time.Second)
		if height("a") != 0 {
			t.Error("too early")
		}
		time.Sleep(2 * time.Second)
		if height("a") != 180 || height("b") != 0 {
			t.Errorf("a %d, b %d", height("a"), height("b"))
		}
	})
}

func TestRelay(t *testing.T) {
	inBench(t, Config{}, func(t *testing.T, x *bench) {
		for i, id := range []string{"a", "b", "c"} {
			x.create(id, i == 0)
			x.f.ev.ChannelOpen(id)
		}
		x.update(colibri.Endpoint{ID: "c"})
		x.say("a", `{"colibriClass":"EndpointMessage","from":"c","to":"","msgPayload":{"x":1}}`)
		want := []string{`{"colibriClass":"EndpointMessage","from":"a","to":"","msgPayload":{"x":1}}`}
		if a, b, c := x.heard("a"), x.heard("b"), x.heard("c"); len(a) != 0 || !slices.Equal(b, want) || !slices.Equal(c, want) {
			t.Errorf("a %v, b %v, c %v", a, b, c)
		}
		x.say("a", `{"colibriClass":"EndpointMessage","to":"b","msgPayload":{}}`)
		x.say("a", `{"colibriClass":"EndpointMessage","to":"nobody","msgPayload":{}}`)
		if b, c := x.heard("b"), x.heard("c"); len(b) != 1 || len(c) != 0 {
			t.Errorf("directed: b %v, c %v", b, c)
		}
		x.say("a", `{"colibriClass":"EndpointStats","jvbRTT":5,"from":"b"}`)
		if b := x.heard("b"); !slices.Equal(b, []string{`{"colibriClass":"EndpointStats","from":"a","jvbRTT":5}`}) {
			t.Errorf("stats: %v", b)
		}
		x.say("a", `{"colibriClass":"ClientHello"}`)
		if a := x.heard("a"); !slices.Equal(a, []string{`{"colibriClass":"ServerHello"}`}) {
			t.Errorf("hello: %v", a)
		}
	})
}

func TestStatsInLargeConference(t *testing.T) {
	inBench(t, Config{StatsEndpoints: 3}, func(t *testing.T, x *bench) {
		for i, id := range []string{"a", "b", "c", "d"} {
			x.create(id, i == 0)
			x.camera(id, uint32(i+1))
			x.f.ev.ChannelOpen(id)
			x.say(id, `{"colibriClass":"ReceiverVideoConstraints","defaultConstraints":{"maxHeight":0}}`)
		}
		x.say("b", `{"colibriClass":"ReceiverVideoConstraints","constraints":{"a-v0":{"maxHeight":180}}}`)
		x.say("c", `{"colibriClass":"ReceiverVideoConstraints","onStageSources":["a-v0"]}`)
		const stats = `{"colibriClass":"EndpointStats"}`
		x.say("a", stats)
		if b, c, d := x.heard("b"), x.heard("c"), x.heard("d"); len(b) != 1 || len(c) != 1 || len(d) != 0 {
			t.Errorf("b %v, c %v, d %v", b, c, d)
		}
		x.f.ev.DominantSpeaker("a", nil, false)
		x.heard("d")
		x.say("a", stats)
		if d := x.heard("d"); len(d) != 1 {
			t.Errorf("a speaker's: %v", d)
		}
	})
}

func TestStateOnOpen(t *testing.T) {
	inBench(t, Config{}, func(t *testing.T, x *bench) {
		x.create("a", true)
		x.create("b", false)
		x.camera("a", 5)
		ev := x.f.ev
		ev.SenderConstraint("a", "a-v0", 180)
		ev.SenderConstraint("a", "a-v0", 720)
		ev.ForwardedSources("a", []string{"b-v0"})
		ev.VideoMappings("a", []sfu.SourceMapping{{Source: "b-v0", Owner: "b", SSRC: 7, RTX: 8, Video: sfu.Desktop, MID: "v0"}})
		ev.AudioMappings("a", []sfu.SourceMapping{{Source: "b-a0", Owner: "b", SSRC: 9}})
		ev.Active("b", false)
		ev.DominantSpeaker("b", []string{"a"}, false)
		if got := x.heard("a"); len(got) != 0 {
			t.Fatalf("told without a channel: %v", got)
		}
		ev.ChannelOpen("a")
		want := []string{
			`{"colibriClass":"SenderSourceConstraints","sourceName":"a-v0","maxHeight":720}`,
			`{"colibriClass":"ForwardedSources","forwardedSources":["b-v0"]}`,
			`{"colibriClass":"VideoSourcesMap","mappedSources":[{"source":"b-v0","owner":"b","ssrc":7,"rtx":8,"videoType":"DESKTOP","mid":"v0"}]}`,
			`{"colibriClass":"AudioSourcesMap","mappedSources":[{"source":"b-a0","owner":"b","ssrc":9}]}`,
			`{"colibriClass":"EndpointConnectivityStatusChangeEvent","endpoint":"b","active":"false"}`,
			`{"colibriClass":"DominantSpeakerEndpointChangeEvent","dominantSpeakerEndpoint":"b","previousSpeakers":["a"],"silence":false}`,
		}
		if got := x.heard("a"); !slices.Equal(got, want) {
			t.Errorf("got  %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
		}
		x.update(colibri.Endpoint{ID: "b", Expire: true})
		ev.ChannelClosed("a")
		ev.ChannelOpen("a")
		for _, m := range x.heard("a") {
			if strings.Contains(m, "SourcesMap") {
				t.Errorf("slots of a leaver are told: %s", m)
			}
		}
	})
}

func TestLostMessagesAreMadeUpFor(t *testing.T) {
	inBench(t, Config{}, func(t *testing.T, x *bench) {
		x.create("a", true)
		x.camera("a", 5)
		x.f.ev.ChannelOpen("a")
		x.get("a", func(e *fakeEndpoint) { e.full = true })
		x.f.ev.SenderConstraint("a", "a-v0", 360)
		x.get("a", func(e *fakeEndpoint) { e.full = false })
		time.Sleep(2 * time.Second)
		if got := x.heard("a"); len(got) == 0 || !strings.Contains(got[0], "360") {
			t.Errorf("got %v", got)
		}
	})
}

type lost struct{ got []string }

func (l *lost) EndpointLost(meeting, ep string) { l.got = append(l.got, meeting+" "+ep) }

func TestFailureIsReported(t *testing.T) {
	inBench(t, Config{}, func(t *testing.T, x *bench) {
		l := &lost{}
		x.b.AddListener(l)
		x.create("a", true)
		x.f.ev.Transport("a", sfu.TransportFailed)
		synctest.Wait()
		if !slices.Equal(l.got, []string{"meeting a"}) {
			t.Errorf("got %v", l.got)
		}
	})
}

func TestVisitorsAreNotRelayed(t *testing.T) {
	inBench(t, Config{}, func(t *testing.T, x *bench) {
		x.create("a", true)
		v := newEndpoint("v")
		v.Visitor = true
		x.update(v)
		x.f.ev.ChannelOpen("a")
		x.say("v", `{"colibriClass":"EndpointMessage","to":"","msgPayload":{}}`)
		x.say("v", `{"colibriClass":"EndpointStats"}`)
		if a := x.heard("a"); len(a) != 0 {
			t.Errorf("got %v", a)
		}
	})
}

func TestFloodIsBounded(t *testing.T) {
	inBench(t, Config{}, func(t *testing.T, x *bench) {
		x.create("a", true)
		c := x.b.byID["meeting"]
		c.mu.Lock() // the conference's goroutine cannot work
		for range 2 * maxPending {
			c.received("a", []byte(`{"colibriClass":"ClientHello"}`), nil)
		}
		c.mu.Unlock()
		synctest.Wait()
		if n := x.b.Counters()["messages_dropped"]; n != maxPending {
			t.Errorf("%d dropped", n)
		}
		if n := c.queue.pending("a", 0); n != 0 {
			t.Errorf("%d still count as waiting", n)
		}
	})
}

// WebSocket tests run over real sockets.
func wsBench(t *testing.T, cfg Config) (x *bench, url string) {
	t.Helper()
	x = &bench{t: t, f: &fakeEngine{}}
	cfg.ServerID, cfg.WebSocketURL = "s1", "ws://unused"
	x.b = newWith(x.f, cfg, slog.New(slog.DiscardHandler))
	mux := http.NewServeMux()
	mux.Handle(WebSocketPath, x.b.WebSocketHandler())
	srv := httptest.NewServer(mux)
	t.Cleanup(func() { x.b.Close(); srv.Close() })
	r := x.create("a", true)
	x.create("b", false)
	return x, "ws" + strings.TrimPrefix(srv.URL, "http") + WebSocketPath + strings.TrimPrefix(r.Endpoints[0].Transport.WebSockets[0], "ws://unused/")
}

func dial(t *testing.T, url string) *websocket.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	c, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.CloseNow() })
	return c
}

func read(t *testing.T, c *websocket.Conn) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_, b, err := c.Read(ctx)
	return string(b), err
}

func TestWebSocketChannel(t *testing.T) {
	x, url := wsBench(t, Config{})
	first := dial(t, url)
	if m, err := read(t, first); m != `{"colibriClass":"ServerHello"}` {
		t.Fatalf("got %q, %v", m, err)
	}
	second := dial(t, url)
	if m, _ := read(t, second); !strings.Contains(m, "ServerHello") {
		t.Fatalf("got %q", m)
	}
	_, err := read(t, first)
	var ce websocket.CloseError
	if !errors.As(err, &ce) || ce.Code != websocket.StatusNormalClosure || ce.Reason != "replaced" {
		t.Errorf("the first ended with %v", err)
	}
	if err := second.Write(context.Background(), websocket.MessageText, []byte(`{"colibriClass":"ClientHello"}`)); err != nil {
		t.Fatal(err)
	}
	if m, _ := read(t, second); !strings.Contains(m, "ServerHello") {
		t.Errorf("got %q", m)
	}
	x.f.ev.ForwardedSources("a", []string{"b-v0"})
	if m, _ := read(t, second); !strings.Contains(m, "b-v0") {
		t.Errorf("got %q", m)
	}
	x.update(colibri.Endpoint{ID: "a", Expire: true})
	_, err = read(t, second)
	if !errors.As(err, &ce) || ce.Code != websocket.StatusGoingAway {
		t.Errorf("the second ended with %v", err)
	}
}

// TestWebSocketOfOddName: an id is a nick, which may hold whatever a path gives a meaning to; the address that its client is told leads to it.
func TestWebSocketOfOddName(t *testing.T) {
	x, url := wsBench(t, Config{})
	for _, id := range []string{"a/b", "a b", "50%", "what?", "#1", "ü", "a%2Fb"} {
		r := x.create(id, false)
		c := dial(t, url[:strings.Index(url, WebSocketPath)]+WebSocketPath+strings.TrimPrefix(r.Endpoints[0].Transport.WebSockets[0], "ws://unused/"))
		if m, err := read(t, c); m != `{"colibriClass":"ServerHello"}` {
			t.Errorf("%q got %q, %v", id, m, err)
		}
	}
}

// TestIdleWebSocketIsClosed has a client that does not read, so it answers no ping.
func TestIdleWebSocketIsClosed(t *testing.T) {
	x, url := wsBench(t, Config{PingInterval: 10 * time.Millisecond, IdleTimeout: 50 * time.Millisecond})
	dial(t, url)
	c := x.b.byID["meeting"]
	await.True(t, "it is closed", func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		return x.b.Counters()["websockets_opened"] == 1 && c.endpoints["a"].ws == nil
	})
}

func TestWebSocketRefusals(t *testing.T) {
	_, url := wsBench(t, Config{})
	url = "http" + strings.TrimPrefix(url, "ws")
	base, pwd, _ := strings.Cut(url, "?")
	conf := base[:strings.LastIndexByte(base, '/')]
	server := conf[:strings.LastIndexByte(conf, '/')]
	bodies := map[string]bool{}
	for _, tt := range []struct {
		url  string
		want int
	}{
		{base + "?pwd=wrong", 403}, {base, 403}, {conf + "/zzz?" + pwd, 403}, {conf + "/b?" + pwd, 403}, {server + "/zzz/a?" + pwd, 403},
		{strings.Replace(url, "/s1/", "/s2/", 1), 404}, {base + "/more?" + pwd, 404}, {server, 404},
	} {
		r, err := http.Get(tt.url)
		if err != nil {
			t.Fatal(err)
		}
		body := make([]byte, 100)
		n, _ := r.Body.Read(body)
		r.Body.Close()
		if r.StatusCode != tt.want {
			t.Errorf("%s: %d, want %d", tt.url, r.StatusCode, tt.want)
		}
		if r.StatusCode == 403 {
			bodies[string(body[:n])] = true
		}
	}
	if len(bodies) != 1 {
		t.Errorf("refusals differ: %v", bodies)
	}
	http.DefaultClient.CloseIdleConnections()
}

// TestWebSocketTooLong: a message over the limit ends its sender's connection, with the code that says so, and no other.
func TestWebSocketTooLong(t *testing.T) {
	x, url := wsBench(t, Config{})
	r := x.create("c", false)
	other := dial(t, url[:strings.Index(url, WebSocketPath)]+WebSocketPath+strings.TrimPrefix(r.Endpoints[0].Transport.WebSockets[0], "ws://unused/"))
	mine := dial(t, url)
	for _, c := range []*websocket.Conn{mine, other} {
		if m, err := read(t, c); !strings.Contains(m, "ServerHello") {
			t.Fatalf("got %q, %v", m, err)
		}
	}
	msg := []byte(`{"colibriClass":"EndpointMessage","to":"c","msgPayload":{"x":"` + strings.Repeat("x", bridgechan.MaxMessage) + `"}}`)
	if err := mine.Write(context.Background(), websocket.MessageText, msg); err != nil && websocket.CloseStatus(err) == -1 {
		t.Logf("writing: %v", err) // the server may have closed before all was sent
	}
	if _, err := read(t, mine); websocket.CloseStatus(err) != websocket.StatusMessageTooBig {
		t.Errorf("the sender's connection: %v", err)
	}
	if err := other.Write(context.Background(), websocket.MessageText, []byte(`{"colibriClass":"ClientHello"}`)); err != nil {
		t.Fatal(err)
	}
	if m, err := read(t, other); !strings.Contains(m, "ServerHello") {
		t.Errorf("the other's connection: %q, %v", m, err)
	}
}

// TestForgottenEndpointsExpire: a focus on another machine may be gone; what works stays.
func TestForgottenEndpointsExpire(t *testing.T) {
	inBench(t, Config{ExpireAfter: time.Minute}, func(t *testing.T, x *bench) {
		x.create("a", true)
		x.create("b", false)
		x.f.ev.Transport("a", sfu.TransportConnected)
		conferences := func() uint64 { synctest.Wait(); return x.b.Counters()["conferences"] }
		closed := func(id string) (yes bool) {
			x.get(id, func(e *fakeEndpoint) { yes = e.closed })
			return yes
		}
		time.Sleep(59 * time.Second)
		if closed("b") {
			t.Error("expired too early")
		}
		time.Sleep(2 * time.Second)
		if !closed("b") || closed("a") {
			t.Errorf("a closed %v, b closed %v", closed("a"), closed("b"))
		}
		x.f.ev.Transport("a", sfu.TransportFailed)
		synctest.Wait()
		time.Sleep(30 * time.Second)
		x.f.ev.Transport("a", sfu.TransportConnected) // it came back by an ICE restart
		time.Sleep(2 * time.Minute)
		if closed("a") {
			t.Error("expired though its transport came back")
		}
		x.update(colibri.Endpoint{ID: "a", Expire: true})
		time.Sleep(61 * time.Second)
		if n := conferences(); n != 0 {
			t.Errorf("%d conferences without endpoints", n)
		}
	})
}
