package janus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"konzil/bench/sfuload"
	"konzil/bench/sfuload/sfutest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// heard is a request as the scripted server reads it.
type heard struct {
	Janus       string         `json:"janus"`
	Transaction string         `json:"transaction"`
	Session     uint64         `json:"session_id"`
	Handle      uint64         `json:"handle_id"`
	Body        map[string]any `json:"body"`
	JSEP        *jsep          `json:"jsep"`
}

// what is a request in short.
func (h *heard) what() string {
	if h.Janus == "message" {
		return fmt.Sprint(h.Body["request"])
	}
	return h.Janus
}

// script plays Janus: answer gives the plugin's data and a description, or nil for a request that it leaves to the script itself.
func script(t *testing.T, p *sfutest.Peer, seen chan<- heard, answer func(h *heard, reply func(data string, d *jsep))) {
	handle := uint64(100)
	for b := p.Read(); b != nil; b = p.Read() {
		var h heard
		if err := json.Unmarshal(b, &h); err != nil {
			t.Error(err)
		}
		reply := func(data string, d *jsep) {
			j := ""
			if d != nil {
				text, _ := json.Marshal(d)
				j = `,"jsep":` + string(text)
			}
			p.Write(false, fmt.Appendf(nil, `{"janus":"event","sender":%d,"transaction":%q,"plugindata":{"plugin":%q,"data":%s}%s}`, h.Handle, h.Transaction, plugin, data, j))
		}
		switch h.Janus {
		case "create":
			p.Write(false, fmt.Appendf(nil, `{"janus":"success","transaction":%q,"data":{"id":7}}`, h.Transaction))
		case "attach":
			handle++
			p.Write(false, fmt.Appendf(nil, `{"janus":"success","transaction":%q,"data":{"id":%d}}`, h.Transaction, handle))
		case "message":
			p.Write(false, fmt.Appendf(nil, `{"janus":"ack","transaction":%q}`, h.Transaction))
			answer(&h, reply)
		}
		seen <- h
	}
	close(seen)
}

const bob = `{"id":55,"display":"bob","streams":[{"type":"audio","mid":"0"},{"type":"video","mid":"1","description":"180,360,720"},{"type":"data","mid":"2"}]}`

// A participant makes its room, publishes, subscribes to who is there, and follows the room and its own wishes.
func TestSession(t *testing.T) {
	tracks := sfutest.Tracks()
	seen := make(chan heard, 64)
	room := false
	push := make(chan string)
	url := sfutest.Serve(t, "janus-protocol", func(p *sfutest.Peer) {
		go func() {
			for m := range push {
				p.Write(false, []byte(m))
			}
		}()
		script(t, p, seen, func(h *heard, reply func(string, *jsep)) {
			switch h.what() + fmt.Sprint(h.Body["ptype"]) {
			case "joinpublisher":
				if !room {
					room = true
					reply(`{"videoroom":"event","error_code":426,"error":"No such room"}`, nil)
					return
				}
				reply(`{"videoroom":"joined","id":9,"publishers":[`+bob+`]}`, nil)
			case "create<nil>":
				reply(`{"videoroom":"created"}`, nil)
			case "publish<nil>":
				reply(`{"videoroom":"event","configured":"ok"}`, &jsep{Type: "answer", SDP: sfutest.Answer(t, h.JSEP.SDP)})
			case "joinsubscriber":
				reply(`{"videoroom":"attached","streams":[{"mid":"0","feed_id":55,"feed_mid":"0"},{"mid":"1","feed_id":55,"feed_mid":"1"}]}`,
					&jsep{Type: "offer", SDP: sfutest.Offer(false, tracks...)})
			case "update<nil>":
				reply(`{"videoroom":"updated","streams":[]}`, &jsep{Type: "offer", SDP: sfutest.Offer(false, tracks...)})
			case "start<nil>":
				reply(`{"videoroom":"event","started":"ok"}`, nil)
			case "configure<nil>":
				reply(`{"videoroom":"event","configured":"ok"}`, nil)
			}
		})
	})
	a, err := New(url)
	if err != nil {
		t.Fatal(err)
	}
	c := sfutest.NewConnector()
	s, err := a.Join(t.Context(), &sfuload.Participant{Name: "alice", Room: "r", Publish: tracks, Want: sfuload.Want{MaxHeight: 360}}, c)
	if err != nil {
		t.Fatal(err)
	}
	c.Wait(t, "both transports", func(ts []*sfutest.Transport) bool {
		return len(ts) == 2 && len(ts[0].Started) == 1 && len(ts[1].Started) == 1 && len(ts[0].Sending) == 2 && len(ts[1].Receiving) == 2 &&
			ts[0].Started[0].Controlling && !ts[1].Started[0].Controlling
	})
	if steps := c.Steps(); !slices.Equal(steps, []string{"dial", "login", "joined", "offer", "answer"}) {
		t.Error(steps)
	}
	next := func(what string) heard {
		t.Helper()
		select {
		case h, ok := <-seen:
			if !ok || h.what() != what {
				t.Fatalf("%s instead of %s", h.what(), what)
			}
			return h
		case <-time.After(10 * time.Second):
			t.Fatalf("no %s", what)
		}
		return heard{}
	}
	for _, what := range []string{"create", "attach", "join"} {
		next(what)
	}
	if h := next("create"); h.Body["room"] != float64(roomID("r")) || h.Body["publishers"] != float64(maxPublishers) {
		t.Error(h.Body)
	}
	next("join")
	if h := next("publish"); h.JSEP.RIDOrder != "lmh" || !strings.Contains(h.JSEP.SDP, "a=simulcast:send q;h;f") || !strings.Contains(fmt.Sprint(h.Body["descriptions"]), "180,360,720") {
		t.Error(h.JSEP, h.Body)
	}
	next("attach")
	if h := next("join"); !strings.Contains(fmt.Sprint(h.Body["streams"]), "feed:55 mid:1 send:true substream:1") || len(h.Body["streams"].([]any)) != 2 {
		t.Error(h.Body)
	}
	next("start")
	if err := s.Want(t.Context(), sfuload.Want{Only: "carol"}); err != nil {
		t.Fatal(err)
	}
	if h := next("configure"); fmt.Sprint(h.Body["streams"]) != "[map[mid:1 send:false substream:2]]" {
		t.Error(h.Body)
	}
	if err := s.Want(t.Context(), sfuload.Want{NoAudio: true}); err != nil {
		t.Fatal(err)
	}
	next("configure")
	if h := next("update"); fmt.Sprint(h.Body["unsubscribe"]) != "[map[feed:55 mid:0]]" || h.Body["subscribe"] != nil {
		t.Error(h.Body)
	}
	next("start")
	push <- `{"janus":"event","sender":101,"plugindata":{"data":{"videoroom":"event","publishers":[{"id":66,"display":"dan","streams":[{"type":"video","mid":"0"}]},{"id":9,"display":"alice"}]}}}`
	if h := next("update"); !strings.Contains(fmt.Sprint(h.Body["subscribe"]), "feed:66") {
		t.Error(h.Body)
	}
	next("start")
	push <- `{"janus":"event","sender":101,"plugindata":{"data":{"videoroom":"event","leaving":66}}}`
	push <- `{"janus":"trickle","sender":101,"candidate":{"candidate":"candidate:1 1 udp 1 127.0.0.1 5 typ host"}}`
	close(push)
	c.Wait(t, "a candidate", func(ts []*sfutest.Transport) bool { return len(ts[0].Candidates) == 1 })
	if err := s.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	next("destroy")
	if <-s.Done(); s.Err() != nil || !c.Closed() {
		t.Error(s.Err(), c.Closed())
	}
}

func TestJoinFails(t *testing.T) {
	p := &sfuload.Participant{Name: "alice", Room: "r", Publish: sfutest.Tracks()}
	for name, f := range map[string]func(*sfutest.Peer){
		"error": func(p *sfutest.Peer) {
			p.Read()
			p.Write(false, []byte(`{"janus":"error","transaction":"1","error":{"code":403,"reason":"no"}}`))
		},
		"timeout": func(p *sfutest.Peer) { p.Write(false, []byte(`{"janus":"timeout"}`)) },
		"text":    func(p *sfutest.Peer) { p.Write(false, []byte(`{}`)) },
		"refused": func(p *sfutest.Peer) {
			script(t, p, make(chan heard, 9), func(_ *heard, reply func(string, *jsep)) {
				reply(`{"videoroom":"event","error_code":433,"error":"no"}`, nil)
			})
		},
		"no answer": func(p *sfutest.Peer) {
			script(t, p, make(chan heard, 9), func(_ *heard, reply func(string, *jsep)) { reply(`{"videoroom":"joined"}`, nil) })
		},
		"closed": func(p *sfutest.Peer) { p.Close() },
	} {
		c := sfutest.NewConnector()
		a, _ := New(sfutest.Serve(t, "janus-protocol", f))
		if _, err := a.Join(t.Context(), p, c); err == nil || !c.Closed() {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := sfutest.NewConnector()
	a, _ := New(sfutest.Serve(t, "janus-protocol", func(*sfutest.Peer) {}))
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := a.Join(ctx, p, c); !errors.Is(err, context.DeadlineExceeded) || !c.Closed() {
		t.Error(err)
	}
	if _, err := a.Join(t.Context(), &sfuload.Participant{Publish: []*sfuload.Track{{SVC: "L3T3"}}}, c); err == nil {
		t.Error("SVC taken")
	}
	if _, err := New(""); err == nil {
		t.Error("no URL")
	}
}

func TestChoose(t *testing.T) {
	f, v := &feed{name: "bob"}, stream{sfuload.Video, []int{180, 360, 720}}
	for _, c := range []struct {
		w    sfuload.Want
		st   stream
		want choice
		sub  bool
	}{
		{sfuload.Want{}, v, choice{}, true},
		{sfuload.Want{MaxHeight: 360}, v, choice{low: 1}, true},
		{sfuload.Want{MaxHeight: 90}, v, choice{low: 2}, true},
		{sfuload.Want{MaxHeight: 90}, stream{kind: sfuload.Video}, choice{}, true},
		{sfuload.Want{NoVideo: true}, v, choice{}, false},
		{sfuload.Want{Only: "eve"}, v, choice{off: true}, true},
		{sfuload.Want{Only: "eve"}, stream{kind: sfuload.Audio}, choice{}, true},
		{sfuload.Want{NoAudio: true}, stream{kind: sfuload.Audio}, choice{}, false},
	} {
		if got, sub := choose(f, c.st, c.w); got != c.want || sub != c.sub {
			t.Errorf("%+v: %+v %v", c, got, sub)
		}
	}
	if h := heights("180,360"); !slices.Equal(h, []int{180, 360}) || heights("") != nil || heights("a,1") != nil || heights("-1") != nil {
		t.Error(h)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"janus":"event","sender":1,"transaction":"3","plugindata":{"plugin":"x","data":{"videoroom":"joined","publishers":[` + bob + `],"leaving":"ok"}},"jsep":{"type":"offer","sdp":"v=0"}}`))
	f.Add([]byte(`{"janus":"error","error":{"code":1,"reason":"x"}}`))
	f.Fuzz(func(_ *testing.T, b []byte) {
		e, err := decode(b)
		if err != nil {
			return
		}
		_ = e.fault()
		s := &session{p: &sfuload.Participant{Name: "alice"}, feeds: map[uint64]*feed{}}
		s.published(e.Plugin.Data.Publishers)
		_ = strconv.FormatUint(number(e.Plugin.Data.Leaving), 10)
	})
}
