package galene

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"konzil/bench/sfuload"
	"konzil/bench/sfuload/sfutest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A participant joins a subgroup, publishes camera and screen, and follows the streams of others and its own wishes.
func TestSession(t *testing.T) {
	tracks := append(sfutest.Tracks(), &sfuload.Track{Name: "v1", Kind: sfuload.Video, Codec: "VP8", Screen: true, Layers: []sfuload.Layer{{SSRC: 9, Height: 1080}}})
	seen := make(chan message, 64)
	push := make(chan string)
	url := sfutest.Serve(t, "", func(p *sfutest.Peer) {
		go func() {
			for m := range push {
				p.Write(false, []byte(m))
			}
		}()
		p.Write(false, []byte(`{"type":"handshake","version":["2"]}`))
		for b := p.Read(); b != nil; b = p.Read() {
			var m message
			if err := json.Unmarshal(b, &m); err != nil {
				t.Error(err)
			}
			switch {
			case m.Type == "join" && m.Kind == "join":
				p.Write(false, []byte(`{"type":"joined","kind":"join","permissions":["present"]}`))
				p.Write(false, []byte(`{"type":"ping"}`))
			case m.Type == "offer":
				answer, _ := json.Marshal(message{Type: "answer", ID: m.ID, SDP: sfutest.Answer(t, m.SDP)})
				p.Write(false, answer)
				p.Write(false, fmt.Appendf(nil, `{"type":"ice","id":%q,"candidate":{"candidate":"candidate:1 1 udp 1 127.0.0.1 5 typ host"}}`, m.ID))
			}
			seen <- m
		}
		close(seen)
	})
	a, err := New(url, "bench")
	if err != nil {
		t.Fatal(err)
	}
	c := sfutest.NewConnector()
	s, err := a.Join(t.Context(), &sfuload.Participant{Name: "alice", Room: "r", Publish: tracks}, c)
	if err != nil {
		t.Fatal(err)
	}
	c.Wait(t, "both streams up", func(ts []*sfutest.Transport) bool {
		return len(ts) == 2 && ts[0].Label == "pub-screenshare" && ts[1].Label == "pub-camera" && len(ts[0].Started) == 1 && len(ts[1].Started) == 1 &&
			len(ts[1].Candidates) == 1 && len(ts[1].Sending) == 2
	})
	if steps := c.Steps(); !slices.Equal(steps, []string{"dial", "login", "joined", "offer", "answer"}) {
		t.Error(steps)
	}
	next := func(kind string) message {
		t.Helper()
		select {
		case m, ok := <-seen:
			if !ok || m.Type != kind {
				t.Fatalf("%s instead of %s", m.Type, kind)
			}
			return m
		case <-time.After(10 * time.Second):
			t.Fatalf("no %s", kind)
		}
		return message{}
	}
	next("handshake")
	if m := next("join"); m.Group != "bench/r" || *m.Username != "alice" || m.Data.Height != 1080 {
		t.Errorf("%+v", m)
	}
	if m := next("request"); fmt.Sprint(m.Request) != "map[:[audio video]]" {
		t.Errorf("%+v", m)
	}
	next("offer")
	if m := next("offer"); m.Label != "camera" || !strings.Contains(m.SDP, "a=simulcast:send f;h;q") {
		t.Errorf("%+v", m)
	}
	next("pong")

	offer := func(id string, h int) {
		push <- fmt.Sprintf(`{"type":"user","kind":"add","id":"c-%s","username":"bob","data":{"height":%d}}`, id, h)
		o, _ := json.Marshal(message{Type: "offer", ID: id, Source: "c-" + id, Username: new("bob"), SDP: sfutest.Offer(false, sfutest.Tracks()...)})
		push <- string(o)
		if m := next("answer"); m.ID != id || !strings.Contains(m.SDP, "a=recvonly") {
			t.Errorf("%+v", m)
		}
	}
	offer("s1", 720)
	c.Wait(t, "a stream down", func(ts []*sfutest.Transport) bool {
		return len(ts) == 3 && ts[2].Label == "sub-bob" && len(ts[2].Started) == 1 && !ts[2].Started[0].Controlling && len(ts[2].Receiving) == 2
	})
	for _, w := range []struct {
		want         sfuload.Want
		all, ofThree string
	}{
		{sfuload.Want{MaxHeight: 180}, "", "[audio video-low]"},
		{sfuload.Want{Only: "carol"}, "", "[audio]"},
		{sfuload.Want{Only: "bob"}, "", "[audio video]"},
		{sfuload.Want{NoAudio: true}, "map[:[video]]", "[video]"},
	} {
		if err := s.Want(t.Context(), w.want); err != nil {
			t.Fatal(err)
		}
		if w.all != "" {
			if m := next("request"); fmt.Sprint(m.Request) != w.all {
				t.Errorf("%+v: %+v", w, m)
			}
		}
		if m := next("requestStream"); m.ID != "s1" || fmt.Sprint(m.Request) != w.ofThree {
			t.Errorf("%+v: %+v", w, m)
		}
	}
	push <- `{"type":"close","id":"s2"}` // one that had no tracks when we asked
	if m := next("request"); fmt.Sprint(m.Request) != "map[:[video]]" {
		t.Errorf("%+v", m)
	}
	push <- `{"type":"close","id":"s1"}`
	close(push)
	c.Wait(t, "the stream's end", func(ts []*sfutest.Transport) bool { return ts[2].Closed })
	if err := s.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	if <-s.Done(); s.Err() != nil || !c.Closed() {
		t.Error(s.Err(), c.Closed())
	}
}

func TestJoinFails(t *testing.T) {
	p := &sfuload.Participant{Name: "alice", Room: "r", Publish: sfutest.Tracks()}
	say := func(texts ...string) func(*sfutest.Peer) {
		return func(p *sfutest.Peer) {
			for _, text := range texts {
				p.Write(false, []byte(text))
			}
		}
	}
	const joined = `{"type":"joined","kind":"join","permissions":["present"]}`
	for name, f := range map[string]func(*sfutest.Peer){
		"version":   say(`{"type":"handshake","version":["99"]}`),
		"fail":      say(`{"type":"joined","kind":"fail","error":"x","value":"no such group"}`),
		"listener":  say(`{"type":"joined","kind":"join","permissions":[]}`),
		"no type":   say(`{}`),
		"kicked":    say(`{"type":"usermessage","kind":"kicked","value":"out"}`),
		"no stream": say(joined, `{"type":"answer","id":"x","sdp":""}`),
		"closed":    func(p *sfutest.Peer) { p.Close() },
	} {
		c := sfutest.NewConnector()
		a, _ := New(sfutest.Serve(t, "", f), "bench")
		if _, err := a.Join(t.Context(), p, c); err == nil || !c.Closed() {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := sfutest.NewConnector()
	a, _ := New(sfutest.Serve(t, "", func(*sfutest.Peer) {}), "bench")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := a.Join(ctx, p, c); !errors.Is(err, context.DeadlineExceeded) || !c.Closed() {
		t.Error(err)
	}
	if _, err := a.Join(t.Context(), &sfuload.Participant{Publish: []*sfuload.Track{{SVC: "L3T3"}}}, c); err == nil {
		t.Error("SVC taken")
	}
	if _, err := New("", ""); err == nil {
		t.Error("no URL")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"type":"offer","id":"a","label":"camera","source":"c","username":"bob","sdp":"v=0","candidate":{"candidate":"x"},"data":{"height":3},"value":{"a":1}}`))
	f.Add([]byte(`{"type":"usermessage","kind":"error","value":"text"}`))
	f.Fuzz(func(_ *testing.T, b []byte) {
		if m, err := decode(b); err == nil {
			_ = m.text()
		}
	})
}
