package meet

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"konzil/internal/await"

	"github.com/pion/rtp"
	"github.com/pion/sdp/v3"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

const initiateXML = `<jingle xmlns='urn:xmpp:jingle:1' action='session-initiate' sid='8fd0' initiator='focus@auth.d/focus'>
<content creator='initiator' name='audio' senders='both'><description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'>
<payload-type id='112' name='red' clockrate='48000' channels='2'><parameter name='' value='111/111'/></payload-type>
<payload-type id='111' name='opus' clockrate='48000' channels='2'><parameter name='minptime' value='10'/><parameter name='useinbandfec' value='1'/>
<rtcp-fb xmlns='urn:xmpp:jingle:apps:rtp:rtcp-fb:0' type='transport-cc'/></payload-type>
<rtp-hdrext xmlns='urn:xmpp:jingle:apps:rtp:rtp-hdrext:0' id='1' uri='urn:ietf:params:rtp-hdrext:ssrc-audio-level'/>
<rtp-hdrext xmlns='urn:xmpp:jingle:apps:rtp:rtp-hdrext:0' id='10' uri='urn:ietf:params:rtp-hdrext:sdes:mid'/>
<source xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' ssrc='77' name='ef56ab78-a0'><parameter name='msid' value='m1 t1'/><ssrc-info xmlns='http://jitsi.org/jitmeet' owner='ef56ab78'/></source>
</description><transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='uf' pwd='0123456789012345678901'><rtcp-mux/>
<fingerprint xmlns='urn:xmpp:jingle:apps:dtls:0' hash='sha-256' setup='actpass'>AB:CD</fingerprint>
<candidate component='1' foundation='1' generation='0' id='c1' network='0' ip='127.0.0.1' port='10000' priority='2130706431' protocol='udp' type='host'/>
<candidate component='1' foundation='2' generation='0' id='c2' network='0' ip='198.51.100.7' port='10000' priority='1694498815' protocol='udp' type='srflx' rel-addr='10.0.0.4' rel-port='10000'/>
<web-socket xmlns='http://jitsi.org/protocol/colibri' url='wss://localhost/colibri-ws/s/c/e?pwd=x'/></transport></content>
<content creator='initiator' name='video' senders='both'><description xmlns='urn:xmpp:jingle:apps:rtp:1' media='video'>
<payload-type id='41' name='AV1' clockrate='90000'/><payload-type id='100' name='VP8' clockrate='90000'>
<rtcp-fb xmlns='urn:xmpp:jingle:apps:rtp:rtcp-fb:0' type='ccm' subtype='fir'/><rtcp-fb xmlns='urn:xmpp:jingle:apps:rtp:rtcp-fb:0' type='nack'/></payload-type>
<payload-type id='96' name='rtx' clockrate='90000'><parameter name='apt' value='100'/></payload-type>
<payload-type id='42' name='rtx' clockrate='90000'><parameter name='apt' value='41'/></payload-type>
</description><transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='uf' pwd='0123456789012345678901'>
<fingerprint xmlns='urn:xmpp:jingle:apps:dtls:0' hash='sha-256' setup='actpass'>AB:CD</fingerprint></transport></content>
<content creator='initiator' name='data' senders='both'><description xmlns='urn:xmpp:jingle:apps:rtp:1' media='application'/>
<transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='uf' pwd='0123456789012345678901'>
<sctpmap xmlns='urn:xmpp:jingle:transports:dtls-sctp:1' number='5000' protocol='webrtc-datachannel' streams='1024'/></transport></content>
<bridge-session xmlns='http://jitsi.org/protocol/focus' id='b3a1f0' region='eu'/>
<json-message xmlns='http://jitsi.org/jitmeet'>{"sources":{"jvb":[[{"s":1863439907,"n":"jvb-v0","m":"mixedmslabel mixedlabelvideo0"}],[],[{"s":3191927963,"n":"jvb-a0","m":"a b"}]],
"aa11bb22":[[{"s":1,"n":"aa11bb22-v0","m":"x y"},{"s":2,"n":"aa11bb22-v0","m":"x y"},{"s":3,"n":"aa11bb22-v0","m":"x y"},{"s":4,"n":"aa11bb22-v1","m":"z z","v":"d"},{"s":11,"n":"aa11bb22-v0","m":"x y"}],[["s",1,2,3],["f",1,11]],[{"s":4294967295,"n":"aa11bb22-a0","m":"q r"}]]}}</json-message>
</jingle>`

func parse(t testing.TB, s string) *Session {
	t.Helper()
	e, err := parseElement([]byte(s))
	if err != nil {
		t.Fatal(err)
	}
	j, err := parseJingle(e)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func TestParseJingle(t *testing.T) {
	s := parse(t, initiateXML)
	if s.SID != "8fd0" || s.Initiator != "focus@auth.d/focus" || s.BridgeID != "b3a1f0" || len(s.Contents) != 3 {
		t.Fatalf("%+v", s)
	}
	a := s.Content("audio")
	if a.Codecs[0].Params[0] != "111/111" || a.Codecs[1].Params[1] != "useinbandfec=1" || a.Codecs[1].FB[0] != "transport-cc" || a.Codecs[1].Channels != 2 {
		t.Errorf("%+v", a.Codecs)
	}
	if tr := a.Transport; tr.Ufrag != "uf" || tr.Print != "AB:CD" || tr.Setup != "actpass" || len(tr.Candidates) != 2 || tr.Candidates[1].RelPort != "10000" ||
		tr.WebSocket != "wss://localhost/colibri-ws/s/c/e?pwd=x" {
		t.Errorf("%+v", tr)
	}
	if s.Content("data").SCTPPort != 5000 || s.Content("nothing") != nil {
		t.Error("data")
	}
	want := map[uint32]Remote{
		77:         {Source{77, "ef56ab78-a0", "ef56ab78", "m1 t1", false, "audio"}, 0},
		1:          {Source{1, "aa11bb22-v0", "aa11bb22", "x y", false, "video"}, 11},
		4:          {Source{4, "aa11bb22-v1", "aa11bb22", "z z", true, "video"}, 0},
		4294967295: {Source{4294967295, "aa11bb22-a0", "aa11bb22", "q r", false, "audio"}, 0},
		1863439907: {Source{1863439907, "jvb-v0", "jvb", "mixedmslabel mixedlabelvideo0", false, "video"}, 0},
		3191927963: {Source{3191927963, "jvb-a0", "jvb", "a b", false, "audio"}, 0},
	}
	got := s.Remotes()
	if len(got) != len(want) {
		t.Errorf("%d remotes: %+v", len(got), got)
	}
	for _, r := range got {
		if r != want[r.SSRC] {
			t.Errorf("%+v\nwant %+v", r, want[r.SSRC])
		}
	}
}

func TestParseJingleErrors(t *testing.T) {
	for _, body := range []string{
		`<content name='audio'><description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'><payload-type id='200' name='x'/></description></content>`,
		`<content name='audio'><description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'><source xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' ssrc='0'/></description></content>`,
		`<content name='audio'><description xmlns='urn:xmpp:jingle:apps:rtp:1' media='audio'><source xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' ssrc='4294967296'/></description></content>`,
		`<json-message xmlns='http://jitsi.org/jitmeet'>{"sources":{"a":[[{"s":-1}]]}}</json-message>`,
		`<json-message xmlns='http://jitsi.org/jitmeet'>{"sources":{"a":[[],[["f"]]]}}</json-message>`,
		`<json-message xmlns='http://jitsi.org/jitmeet'>{"sources":{"a":[[],[["f","x","y"]]]}}</json-message>`,
		`<json-message xmlns='http://jitsi.org/jitmeet'>{</json-message>`,
	} {
		e, err := parseElement([]byte(`<jingle xmlns='urn:xmpp:jingle:1'>` + body + `</jingle>`))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseJingle(e); err == nil {
			t.Errorf("accepted: %s", body)
		}
	}
}

// The offer is SDP that says what the session said.
func TestOffer(t *testing.T) {
	s := parse(t, initiateXML)
	secs := []Section{{Kind: "audio", Direction: "sendrecv"}, {Kind: "video", Direction: "sendrecv"}, {Kind: "application"}}
	for _, r := range s.Remotes() {
		if r.Owner != "jvb" {
			secs = append(secs, Section{Kind: r.Kind, Direction: "sendonly", Remotes: []Remote{r}})
		}
	}
	var d sdp.SessionDescription
	text := s.Offer(secs, 7)
	if err := d.UnmarshalString(text); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if len(d.MediaDescriptions) != 7 || d.Origin.SessionVersion != 7 {
		t.Fatal(text)
	}
	if g, _ := d.Attribute("group"); g != "BUNDLE 0 1 2 3 4 5 6" {
		t.Error(g)
	}
	video := d.MediaDescriptions[1]
	if f := strings.Join(video.MediaName.Formats, " "); f != "100 96" {
		t.Error("formats", f)
	}
	for _, want := range []string{"a=candidate:1 1 udp 2130706431 127.0.0.1 10000 typ host\r\n", "typ srflx raddr 10.0.0.4 rport 10000\r\n", "a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level\r\n",
		"a=fmtp:111 minptime=10;useinbandfec=1\r\n", "a=rtcp-fb:100 ccm fir\r\n", "a=ssrc-group:FID 1 11\r\n", "a=sctp-port:5000\r\n", "a=ssrc:4294967295 cname:bridge\r\n", "a=fingerprint:sha-256 AB:CD\r\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("lacks %q", want)
		}
	}
	for _, not := range []string{"AV1", "red", "apt=41", "sdes:mid", "1863439907"} {
		if strings.Contains(text, not) {
			t.Errorf("has %q", not)
		}
	}
}

// A session-accept, read back, says what the answer and the local sources said.
func TestAccept(t *testing.T) {
	s := parse(t, initiateXML)
	answer := "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=fingerprint:sha-256 EE:FF\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=setup:active\r\na=mid:0\r\na=ice-ufrag:me\r\na=ice-pwd:secret<&'\r\n"
	local := []LocalSource{{Name: "me-a0", Kind: "audio", SSRCs: []uint32{5}}, {Name: "me-v0", Kind: "video", SSRCs: []uint32{1, 2, 3}, RTX: []uint32{11, 12, 13}},
		{Name: "me-v1", Kind: "video", Desktop: true, SSRCs: []uint32{9}}}
	x, err := s.Accept("me@d/x", answer, local, 5)
	if err != nil {
		t.Fatal(err)
	}
	got := parse(t, x)
	tr := got.Contents[2].Transport
	if got.SID != "8fd0" || tr.Ufrag != "me" || tr.Pwd != "secret<&'" || tr.Print != "EE:FF" || tr.Setup != "active" || got.Content("data").SCTPPort != 5000 {
		t.Errorf("%+v", got)
	}
	if len(got.Content("video").Codecs) != 2 || len(got.Content("audio").Codecs) != 1 || len(got.Content("audio").Exts) != 1 {
		t.Errorf("%+v", got.Contents)
	}
	rs := got.Remotes()
	if len(rs) != 3 || rs[0].SSRC != 5 || rs[1].SSRC != 1 || rs[1].RTX != 11 || rs[2].SSRC != 9 || !rs[2].Desktop || len(got.Groups) != 4 {
		t.Errorf("%+v %+v", rs, got.Groups)
	}
	if !strings.Contains(x, "<initial-last-n xmlns='jitsi:colibri2' value='5'/>") {
		t.Error("last-n")
	}
	if _, err := s.Accept("me", "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n", nil, 0); err == nil {
		t.Error("answer without credentials accepted")
	}
	rm := parse(t, s.SourceChange("source-remove", local[1]))
	if len(rm.Sources) != 6 || len(rm.Groups) != 4 || rm.Sources[0].Kind != "video" {
		t.Errorf("%+v", rm)
	}
}

// Join, media both ways with loss, bridge channel, screen share, leave; in both encodings of sources.
func TestClient(t *testing.T) {
	for _, legacy := range []bool{false, true} {
		t.Run(map[bool]string{false: "json", true: "xml"}[legacy], func(t *testing.T) {
			t.Parallel()
			f := newFake(t)
			f.legacy = legacy
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			c, err := Join(ctx, Config{URL: f.url(), Domain: "fake.test", Guest: "guest.fake.test", Room: "R", NoSimulcast: true, XMLSources: legacy,
				Constraints: ReceiverConstraints{LastN: -1, Default: Constraint{MaxHeight: 360}}})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if c.ID() != "deadbeef" || c.number != 0xdeadbeef {
				t.Error(c.ID(), c.number)
			}
			if err := c.WaitMedia(ctx); err != nil {
				t.Fatal(err, c.Snapshot().Notes)
			}
			var s Snapshot
			await.True(t, "media came back", func() bool {
				s = c.Snapshot()
				n := 0
				for _, r := range s.Received {
					if r.Packets > 100 {
						n++
					}
				}
				return n == 2 && s.Dominant != ""
			})
			for _, r := range s.Received {
				name := map[string]string{"audio": "ee00ee00-a0", "video": "ee00ee00-v0"}[r.Kind]
				if r.Source != name || r.Owner != "ee00ee00" || r.Sender != 0xdeadbeef || r.Senders != 1 || r.Unstamped != 0 || r.TSBack != 0 {
					t.Errorf("%+v", r)
				}
				if r.Kind == "video" && (r.Keyframes == 0 || r.Width != 1280 || r.Height != 720 || r.Frames < 10) {
					t.Errorf("%+v", r)
				}
				if missing(r) == 0 || missing(r) > r.Expected/20 {
					t.Errorf("%s: %d of %d lost, want about 1 in 50", r.Kind, missing(r), r.Expected)
				}
				if p := r.Latency.Quantile(0.5); p <= 0 || p > time.Second {
					t.Errorf("latency %v", p)
				}
			}
			if s.SenderMax["deadbeef-v0"] != 720 || s.Occupants != 1 || len(s.Notes) != 0 {
				t.Errorf("%+v", s)
			}
			if err := c.ShareScreen(ctx); err != nil {
				t.Fatal(err)
			}
			if err := c.ShareScreen(ctx); err == nil {
				t.Error("screen shared twice")
			}
			if err := c.StopScreen(ctx); err != nil {
				t.Fatal(err)
			}
			await.True(t, "the bridge was told", func() bool {
				f.mu.Lock()
				defer f.mu.Unlock()
				all := strings.Join(f.messages, "\n")
				return strings.Contains(all, `"maxHeight":360`) && strings.Contains(all, `"videoType":"desktop"`)
			})
			if err := c.Leave(ctx); err != nil {
				t.Fatal(err)
			}
			f.mu.Lock()
			defer f.mu.Unlock()
			var actions []string
			for _, j := range f.adds {
				actions = append(actions, j.Attr("action"))
			}
			if a := strings.Join(actions, " "); a != "source-add source-remove session-terminate" {
				t.Error(a)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	f := newFake(t)
	ctx := t.Context()
	if _, err := Join(ctx, Config{URL: f.url(), Domain: "fake.test", Room: "r", User: "u", Password: "wrong"}); err == nil || !strings.Contains(err.Error(), "not-authorized") {
		t.Error(err)
	}
	c, err := Join(ctx, Config{URL: f.url(), Domain: "fake.test", Room: "r", User: "u", Password: "p"})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.ID()) != 8 {
		t.Error(c.ID())
	}
	c.Close()
	if c.Err() == nil {
		t.Error("no reason after Close")
	}
	for url, ok := range map[string]bool{"wss://127.0.0.1:1/x": true, "wss://[::1]/x": true, "ws://192.0.2.1/x": false, "wss:///x": false, "ws://localhost/": true} {
		if err := Loopback(url); (err == nil) != ok {
			t.Errorf("%s: %v", url, err)
		}
	}
	if _, err := Join(ctx, Config{URL: "wss://192.0.2.1/x"}); err == nil || !strings.Contains(err.Error(), "loopback") {
		t.Error(err)
	}
}

func TestRecvStream(t *testing.T) {
	l := newLayerGen(cameraSizes[0], nil, 7, &sentCounter{})
	l.seq, l.ts = 65500, 1<<32-3000*20
	var ps []*rtp.Packet
	now := time.Now()
	for range 200 {
		ps = append(ps, l.frame(now)...)
	}
	r := rand.New(rand.NewPCG(1, 1))
	var s recvStream
	s.r.Kind = "video"
	lost, doubled := 0, 0
	for i := 0; i < len(ps); i++ {
		if i > 0 && i < len(ps)-3 && r.IntN(10) == 0 {
			lost++
			continue
		}
		if i%17 == 3 && i+1 < len(ps)-3 { // overtaken
			ps[i], ps[i+1] = ps[i+1], ps[i]
		}
		s.add(ps[i], now.Add(5*time.Millisecond))
		if i%13 == 0 {
			s.add(ps[i], now)
			doubled++
		}
	}
	got := s.snapshot()
	if int(missing(got)) != lost || int(got.Duplicates) != doubled || int(got.Expected) != len(ps) || got.Senders != 1 || got.Keyframes != 1 || got.Width != 320 || got.Height != 180 || got.TSBack != 0 || got.SeqJumps != 0 {
		t.Errorf("lost %d, doubled %d of %d: %+v", lost, doubled, len(ps), got)
	}
	if q := got.Latency.Quantile(0.5); q < 4800*time.Microsecond || q > 5200*time.Microsecond {
		t.Error(q)
	}
	s.add(&rtp.Packet{Header: rtp.Header{SequenceNumber: ps[len(ps)-1].SequenceNumber + 2000}, Payload: []byte("foreign")}, now)
	if got = s.snapshot(); got.SeqJumps != 1 || got.Unstamped != 1 {
		t.Errorf("%+v", got)
	}
}

func TestHist(t *testing.T) {
	var h Hist
	for i := 1; i <= 10000; i++ {
		h.Add(time.Duration(i) * 10 * time.Microsecond)
	}
	h.Add(-1)
	for q, want := range map[float64]time.Duration{0: 10 * time.Microsecond, 0.5: 50 * time.Millisecond, 0.99: 99 * time.Millisecond, 1: 100 * time.Millisecond} {
		if got := h.Quantile(q); got < want*97/100 || got > want*104/100 {
			t.Errorf("%g: %v, want %v", q, got, want)
		}
	}
	if h.Count != 10000 || h.Skipped != 1 || (&Hist{}).Quantile(0.5) != 0 {
		t.Error(h.Count, h.Skipped)
	}
	h.Add(1000 * time.Hour) // beyond the last bucket
	if h.Quantile(1) != 1000*time.Hour {
		t.Error(h.Quantile(1))
	}
}

// Clients that join together ping evenly spread: in no second does a fifth of them.
func TestPingAfter(t *testing.T) {
	const n = 100
	var in [pingEvery / time.Second]int
	for i := range n {
		d := pingAfter(fmt.Sprintf("sub%d", i))
		if d < 0 || d >= pingEvery {
			t.Fatalf("sub%d: %v", i, d)
		}
		in[d/time.Second]++
	}
	for sec, k := range in {
		if k >= n/5 {
			t.Errorf("%d of %d in second %d", k, n, sec)
		}
	}
}

func TestAllowed(t *testing.T) {
	for _, c := range []struct {
		height, max int
		lowest, on  bool
	}{{180, 0, true, false}, {180, 90, true, true}, {360, 180, false, false}, {360, 360, false, true}, {720, -1, false, true}, {720, 360, true, true}} {
		if allowed(c.height, c.max, c.lowest) != c.on {
			t.Errorf("%+v", c)
		}
	}
}

func FuzzParseElement(f *testing.F) {
	f.Add([]byte(initiateXML))
	f.Add([]byte(`<a><b/></a><c/>`))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parseElement(b)
		if err != nil {
			return
		}
		if s, err := parseJingle(e); err == nil {
			s.Remotes()
			s.Offer([]Section{{Kind: "audio", Direction: "sendrecv"}, {Kind: "video", Direction: "sendrecv"}}, 1)
		}
	})
}

// missing is how many packets never came.
func missing(r Received) uint64 {
	return r.Expected - min(r.Packets, r.Expected)
}
