package livekit

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"google.golang.org/protobuf/encoding/protowire"

	"konzil/bench/sfuload"
	"konzil/bench/sfuload/sfutest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// golden reads messages as the real library writes them.
func golden(t testing.TB) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile("testdata/golden.txt")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for line := range strings.Lines(string(text)) {
		name, h, _ := strings.Cut(strings.TrimSpace(line), " ")
		if b, err := hex.DecodeString(h); name != "#" && err == nil {
			out[name] = b
		}
	}
	return out
}

// What we write is byte for byte what LiveKit's own library writes.
func TestRequests(t *testing.T) {
	g := golden(t)
	tracks := sfutest.Tracks()
	for name, m := range map[string]message{
		"addaudio":  message(nil).sub(reqAddTrack, addRequest(tracks[0]).encode()),
		"addtrack":  message(nil).sub(reqAddTrack, addRequest(tracks[1]).encode()),
		"offer":     message(nil).sub(reqOffer, description{"offer", "v=0", 1}.encode()),
		"answer":    message(nil).sub(reqAnswer, description{"answer", "v=0", 300}.encode()),
		"subscribe": message(nil).sub(reqSubscription, sids([]string{"TR_a", "TR_b"}).flag(2, true)),
		"settings":  message(nil).sub(reqTrackSetting, sids([]string{"TR_a"}).flag(3, false).num(4, 1)),
		"disabled":  message(nil).sub(reqTrackSetting, sids([]string{"TR_a"}).flag(3, true).num(4, 2)),
		"leave":     message(nil).sub(reqLeave, message(nil).num(2, reasonClientInitiated)),
		"ping":      message(nil).sub(reqPing, message(nil).num(1, 1700000000000)),
	} {
		if want := g[name]; want == nil || !bytes.Equal(m, want) {
			t.Errorf("%s:\n%x\n%x", name, []byte(m), want)
		}
	}
}

func TestResponses(t *testing.T) {
	g := golden(t)
	layers := []layer{{Quality: 0, Width: 320, Height: 180}, {Quality: 1, Width: 640, Height: 360}, {Quality: 2, Width: 1280, Height: 720}}
	bob := participant{SID: "PA_1", Identity: "bob", State: 2, Tracks: []track{{SID: "TR_a"}, {SID: "TR_v", Type: typeVideo, Layers: layers}}}
	for name, want := range map[string]response{
		"rjoin":      {Join: &joined{Participant: participant{SID: "PA_0", Identity: "alice"}, Others: []participant{bob}, PingInterval: 5, Version: "1.13.5"}},
		"rupdate":    {Update: []participant{bob}},
		"rpublished": {Published: "cid-v0"},
		"rtrickle":   {Trickle: &trickle{`{"candidate":"candidate:1 1 udp 1 127.0.0.1 5 typ host"}`, targetSubscriber}},
		"roffer":     {Offer: &description{"offer", "v=0", 7}},
		"ranswer":    {Answer: &description{"answer", "v=0", 1}},
		"rleave":     {Leave: &leave{Reason: 2}},
		"rrefused":   {Refused: "reason 2 no"},
		"rqueued":    {},
		"rpong":      {},
	} {
		b, ok := g[name]
		got, err := decode(b)
		if !ok || err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %v\n%+v\n%+v", name, err, got, want)
		}
	}
	for _, bad := range [][]byte{nil, {0x0a}, {0x0a, 0x05, 1}, {0x1a, 0x02, 0x0a, 0x7f}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}} {
		if _, err := decode(bad); err == nil {
			t.Errorf("accepted %x", bad)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, b := range golden(f) {
		f.Add(b)
	}
	f.Fuzz(func(_ *testing.T, b []byte) {
		if r, err := decode(b); err == nil && r.Trickle != nil {
			_, _, _ = parseCandidate(r.Trickle.Candidate)
		}
	})
}

func TestToken(t *testing.T) {
	// The header is that of RFC 7515 with HS256; the claims are those of LiveKit.
	got := strings.Split(token("key", "secret", "bob", grant{Room: "r", RoomJoin: true, CanSubscribe: true}, time.Unix(1_700_000_000, 0)), ".")
	if len(got) != 3 || got[0] != "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9" {
		t.Fatal(got)
	}
	claims, err := base64.RawURLEncoding.DecodeString(got[1])
	if err != nil {
		t.Fatal(err)
	}
	var c map[string]any
	if err := json.Unmarshal(claims, &c); err != nil || c["iss"] != "key" || c["sub"] != "bob" || c["nbf"] != 1699999940.0 || c["exp"] != 1700043200.0 {
		t.Error(c, err)
	}
	if v, _ := c["video"].(map[string]any); v["room"] != "r" || v["roomJoin"] != true || v["canPublish"] != false || v["canSubscribe"] != true {
		t.Error(c)
	}
}

// encodeUpdate is a ParticipantUpdate with bob's tracks.
func encodeUpdate(state uint64, tracks ...track) message {
	p := message(nil).str(1, "PA_1").str(2, "bob").num(3, state)
	for _, t := range tracks {
		m := message(nil).str(1, t.SID).num(2, t.Type)
		for _, l := range t.Layers {
			m = m.sub(10, l.encode())
		}
		p = p.sub(4, m)
	}
	return message(nil).sub(respUpdate, message(nil).sub(1, p))
}

// A participant that publishes and receives goes through the whole of its signalling with a scripted server.
func TestSession(t *testing.T) {
	g := golden(t)
	tracks := sfutest.Tracks()
	requests := make(chan []byte, 64)
	orders := make(chan message)
	url := sfutest.Serve(t, "", func(p *sfutest.Peer) {
		if p.R.URL.Path != "/rtc" || p.R.URL.Query().Get("auto_subscribe") != "1" || !strings.HasPrefix(p.R.Header.Get("Authorization"), "Bearer ") {
			t.Errorf("%s %v", p.R.URL, p.R.Header)
		}
		p.Write(true, g["rjoin"])
		for range tracks {
			b := p.Read()
			_ = fields(b, func(n protowire.Number, _ uint64, b []byte) error {
				return fields(b, func(f protowire.Number, _ uint64, cid []byte) error {
					if n == reqAddTrack && f == 1 {
						p.Write(true, message(nil).sub(respPublished, message(nil).str(1, string(cid))))
					}
					return nil
				})
			})
		}
		offer := readDescription(t, p, reqOffer)
		p.Write(true, message(nil).sub(respAnswer, description{"answer", sfutest.Answer(t, offer.SDP), offer.ID}.encode()))
		p.Write(true, g["rtrickle"])
		p.Write(true, message(nil).sub(respOffer, description{"offer", sfutest.Offer(true, tracks[0]), 7}.encode()))
		if a := readDescription(t, p, reqAnswer); a.ID != 7 || !strings.Contains(a.SDP, "m=application 9 ") || !strings.Contains(a.SDP, "a=recvonly") {
			t.Errorf("%+v", a)
		}
		go func() {
			for o := range orders {
				p.Write(true, o)
			}
		}()
		for b := p.Read(); b != nil; b = p.Read() {
			requests <- b
		}
		close(requests)
	})
	a, err := New(url, "key", "secret")
	if err != nil {
		t.Fatal(err)
	}
	c := sfutest.NewConnector()
	s, err := a.Join(t.Context(), &sfuload.Participant{Name: "alice", Room: "r", Publish: tracks}, c)
	if err != nil {
		t.Fatal(err)
	}
	c.Wait(t, "both transports", func(ts []*sfutest.Transport) bool {
		return len(ts) == 2 && len(ts[0].Started) == 1 && len(ts[1].Started) == 1 && len(ts[1].Candidates) == 1 && len(ts[1].Receiving) == 1 && len(ts[0].Sending) == 2 &&
			ts[0].Started[0].Controlling && !ts[1].Started[0].Controlling && ts[1].Started[0].Ufrag == "farf"
	})
	if steps := c.Steps(); !slices.Equal(steps, []string{"dial", "joined", "offer", "answer"}) {
		t.Error(steps)
	}

	// The server has bob's TR_v with three layers: a wish for 360 lines picks MEDIUM, somebody else alone disables it, no audio unsubscribes.
	want := func(w sfuload.Want, messages ...message) {
		t.Helper()
		if err := s.Want(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		for _, m := range messages {
			select {
			case b := <-requests:
				if !bytes.Equal(b, m) {
					t.Errorf("%x instead of %x", b, []byte(m))
				}
			case <-time.After(10 * time.Second):
				t.Fatal("no request")
			}
		}
	}
	set := func(disabled bool, q uint64) message {
		return message(nil).sub(reqTrackSetting, sids([]string{"TR_v"}).flag(3, disabled).num(4, q))
	}
	want(sfuload.Want{MaxHeight: 400}, set(false, 1))
	want(sfuload.Want{MaxHeight: 100}, set(false, 0))
	want(sfuload.Want{Only: "carol"}, set(true, 2))
	want(sfuload.Want{Only: "bob", NoAudio: true}, message(nil).sub(reqSubscription, sids([]string{"TR_a"}).flag(2, false)), set(false, 2))
	// A new track of bob's comes under the same wish; one that goes is forgotten.
	orders <- encodeUpdate(2, track{SID: "TR_v", Type: typeVideo}, track{SID: "TR_a"}, track{SID: "TR_w", Type: typeVideo, Layers: []layer{{Quality: 2, Height: 720}}})
	orders <- encodeUpdate(stateDisconnected, track{SID: "TR_w"})
	close(orders)
	if err := s.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	if b := <-requests; !bytes.Equal(b, g["leave"]) {
		t.Errorf("%x", b)
	}
	if <-s.Done(); s.Err() != nil || !c.Closed() {
		t.Error(s.Err(), c.Closed())
	}
}

func readDescription(t *testing.T, p *sfutest.Peer, kind protowire.Number) (d description) {
	t.Helper()
	err := fields(p.Read(), func(n protowire.Number, _ uint64, b []byte) (err error) {
		if n == kind {
			d, err = decodeDescription(b)
		}
		return err
	})
	if err != nil || d.SDP == "" {
		t.Errorf("no description of kind %d: %v", kind, err)
	}
	return d
}

func TestJoinFails(t *testing.T) {
	g := golden(t)
	p := &sfuload.Participant{Name: "alice", Room: "r", Publish: sfutest.Tracks()}
	for name, script := range map[string]func(*sfutest.Peer){
		"leave":   func(p *sfutest.Peer) { p.Write(true, g["rleave"]) },
		"text":    func(p *sfutest.Peer) { p.Write(false, []byte("{}")) },
		"refused": func(p *sfutest.Peer) { p.Write(true, g["rjoin"]); p.Write(true, g["rrefused"]) },
		"answer":  func(p *sfutest.Peer) { p.Write(true, g["rjoin"]); p.Write(true, g["ranswer"]) },
		"closed":  func(p *sfutest.Peer) { p.Write(true, g["rjoin"]); p.Close() },
	} {
		c := sfutest.NewConnector()
		a, _ := New(sfutest.Serve(t, "", script), "key", "secret")
		if _, err := a.Join(t.Context(), p, c); err == nil || !c.Closed() {
			t.Errorf("%s: %v", name, err)
		}
	}
	c := sfutest.NewConnector()
	a, _ := New(sfutest.Serve(t, "", func(p *sfutest.Peer) { p.Write(true, g["rjoin"]) }), "key", "secret")
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := a.Join(ctx, p, c); err == nil || !c.Closed() {
		t.Error(err)
	}
	a, _ = New("ws://"+sfutest.Refused(t), "key", "secret")
	if _, err := a.Join(t.Context(), p, c); err == nil {
		t.Error("joined nobody")
	}
	if _, err := New("ws://x", "", ""); err == nil {
		t.Error("no key")
	}
}
