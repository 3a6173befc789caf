package signaling

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"konzil/internal/await"
	"konzil/sfu"
	"konzil/signaling/bridge"
	"konzil/signaling/jingle"
	"konzil/xmpp/stanza"
)

// peer is a client whose media is a pion PeerConnection, negotiated by Jingle.
type peer struct {
	*client
	pc *webrtc.PeerConnection
	dc *webrtc.DataChannel

	audio, video *webrtc.TrackLocalStaticRTP
	senders      []*webrtc.RTPSender
	opened       chan struct{}
	wg           sync.WaitGroup

	mu    sync.Mutex // guards got, texts
	got   map[uint32]int
	texts []string
}

func newPeer(t *testing.T, c *client) *peer {
	t.Helper()
	p := &peer{client: c, got: map[uint32]int{}, opened: make(chan struct{})}
	se := webrtc.SettingEngine{}
	se.SetIncludeLoopbackCandidate(true)
	se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	me := &webrtc.MediaEngine{}
	for kind, d := range map[webrtc.RTPCodecType]jingle.Description{webrtc.RTPCodecTypeAudio: jingle.AudioDescription(jingle.Can{}), webrtc.RTPCodecTypeVideo: jingle.VideoDescription(jingle.Can{})} {
		for _, pt := range d.Payloads {
			if pt.Name != "opus" && pt.Name != "VP8" {
				continue
			}
			err := me.RegisterCodec(webrtc.RTPCodecParameters{PayloadType: webrtc.PayloadType(pt.ID),
				RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: kind.String() + "/" + pt.Name, ClockRate: pt.ClockRate, Channels: uint16(pt.Channels)}}, kind)
			check(t, err)
		}
	}
	var err error
	p.pc, err = webrtc.NewAPI(webrtc.WithSettingEngine(se), webrtc.WithMediaEngine(me)).NewPeerConnection(webrtc.Configuration{})
	check(t, err)
	t.Cleanup(func() { _ = p.pc.Close(); p.wg.Wait() })
	p.pc.OnTrack(func(tr *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		p.wg.Go(func() {
			for {
				pkt, _, err := tr.ReadRTP()
				if err != nil {
					return
				}
				p.mu.Lock()
				p.got[pkt.SSRC]++
				p.mu.Unlock()
			}
		})
	})
	p.audio, p.video = p.track(t, webrtc.MimeTypeOpus), p.track(t, webrtc.MimeTypeVP8)
	proto := "http://jitsi.org/protocols/colibri"
	p.dc, err = p.pc.CreateDataChannel("JVB data channel", &webrtc.DataChannelInit{Protocol: &proto})
	check(t, err)
	p.dc.OnOpen(func() { close(p.opened) })
	p.dc.OnMessage(func(m webrtc.DataChannelMessage) {
		p.mu.Lock()
		p.texts = append(p.texts, string(m.Data))
		p.mu.Unlock()
	})
	return p
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (p *peer) track(t *testing.T, mime string) *webrtc.TrackLocalStaticRTP {
	t.Helper()
	tr, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: mime}, mime[:5], p.nick)
	check(t, err)
	tc, err := p.pc.AddTransceiverFromTrack(tr, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
	check(t, err)
	s := tc.Sender()
	p.senders = append(p.senders, s)
	p.wg.Go(func() {
		for {
			if _, _, err := s.ReadRTCP(); err != nil {
				return
			}
		}
	})
	return tr
}

func (p *peer) ssrc(i int) uint32 { return uint32(p.senders[i].GetParameters().Encodings[0].SSRC) }

// sdp writes an offer in Jingle as SDP: our two sections, data, and one section for each source of others.
func sdp(m *jingle.Message) string {
	var b, mids strings.Builder
	n := 0
	section := func(media, rest string) {
		fmt.Fprintf(&b, "m=%s\r\nc=IN IP4 0.0.0.0\r\na=mid:%d\r\na=ice-ufrag:%s\r\na=ice-pwd:%s\r\na=fingerprint:%s %s\r\na=setup:%s\r\n%s", media, n,
			m.Transport.Ufrag, m.Transport.Pwd, m.Transport.Fingerprints[0].Hash, m.Transport.Fingerprints[0].Value, m.Transport.Fingerprints[0].Setup, rest)
		for _, c := range m.Transport.Candidates {
			fmt.Fprintf(&b, "a=candidate:%s 1 udp %d %s %d typ %s\r\n", c.Foundation, c.Priority, c.Addr.Addr(), c.Addr.Port(), c.Type)
		}
		fmt.Fprintf(&mids, " %d", n)
		n++
	}
	rtpSection := func(media jingle.Media, dir, rest string) {
		pt, codec := 111, "opus/48000/2"
		if media == jingle.Video {
			pt, codec = 100, "VP8/90000"
		}
		section(fmt.Sprintf("%s 9 UDP/TLS/RTP/SAVPF %d", media, pt), fmt.Sprintf("a=%s\r\na=rtcp-mux\r\na=rtpmap:%d %s\r\n%s", dir, pt, codec, rest))
	}
	rtpSection(jingle.Audio, "recvonly", "")
	rtpSection(jingle.Video, "recvonly", "")
	section("application 9 UDP/DTLS/SCTP webrtc-datachannel", "a=sctp-port:5000\r\n")
	for _, s := range m.Sources.Sources {
		if !strings.HasPrefix(s.Name, "jvb-") {
			rtpSection(s.Media, "sendonly", fmt.Sprintf("a=msid:%s %s\r\na=ssrc:%d cname:x\r\n", s.Name, s.Name, s.SSRC))
		}
	}
	return "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE" + mids.String() + "\r\n" + b.String()
}

// negotiate answers the session-initiate: no candidates are signalled, as browsers do.
func (p *peer) negotiate(t *testing.T) *jingle.Message {
	t.Helper()
	m, err := jingle.Parse(p.offer())
	check(t, err)
	tr := p.answer(t, m)
	cs := sourceContents(p.nick, jingle.SourceSet{Sources: []jingle.Source{
		{SSRC: p.ssrc(0), Media: jingle.Audio, Name: p.nick + "-a0", MSID: p.nick + " a"},
		{SSRC: p.ssrc(1), Media: jingle.Video, Name: p.nick + "-v0", MSID: p.nick + " v"}}})
	cs[0].Add(tr.Element(false))
	if r := p.jingle("session-accept", cs...); r.Type != "result" {
		t.Fatalf("session-accept: %s", r)
	}
	return m
}

// answer gives m to the PeerConnection as an offer, and the transport of its answer back.
func (p *peer) answer(t *testing.T, m *jingle.Message) jingle.Transport {
	t.Helper()
	check(t, p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: sdp(m)}))
	ans, err := p.pc.CreateAnswer(nil)
	check(t, err)
	check(t, p.pc.SetLocalDescription(ans))
	tr := jingle.Transport{Fingerprints: []jingle.Fingerprint{{Setup: "active"}}}
	for l := range strings.Lines(ans.SDP) {
		k, v, _ := strings.Cut(strings.TrimSpace(l), ":")
		switch k {
		case "a=ice-ufrag":
			tr.Ufrag = v
		case "a=ice-pwd":
			tr.Pwd = v
		case "a=fingerprint":
			tr.Fingerprints[0].Hash, tr.Fingerprints[0].Value, _ = strings.Cut(v, " ")
		}
	}
	return tr
}

// play sends Opus and VP8 keyframes until stopped.
func (p *peer) play() (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for n := uint32(1); ; n++ {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			_ = p.audio.WriteRTP(&rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: uint16(n), Timestamp: n * 960}, Payload: []byte("opus")})
			// One packet, start of partition 0, a key frame of 320x180 (RFC 7741 §4.2, RFC 6386 §9.1).
			_ = p.video.WriteRTP(&rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: uint16(n), Timestamp: n * 1800, Marker: true},
				Payload: []byte{0x10, 0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x40, 0x01, 0xb4, 0x00, 1, 2, 3, 4}})
		}
	})
	return func() { close(done); wg.Wait() }
}

func (p *peer) received(ssrc uint32) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.got[ssrc]
}

// told tells whether a channel message of that class came for which is holds.
func (p *peer) told(class string, is func(m map[string]any) bool) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, text := range p.texts {
		var m map[string]any
		if json.Unmarshal([]byte(text), &m) == nil && m["colibriClass"] == class && is(m) {
			return true
		}
	}
	return false
}

func realWorld(t *testing.T) *world {
	t.Helper()
	cfg := sfu.DefaultConfig()
	cfg.Listen, cfg.Shards, cfg.SocketBuffer = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}, 1, 1<<20
	s, err := sfu.New(cfg, nil)
	check(t, err)
	log := slog.New(slog.DiscardHandler)
	b := bridge.New(s, bridge.Config{ServerID: "s1"}, log)
	w := &world{t: t, real: true, rooms: map[string]*fakeRoom{}, clients: map[stanza.JID]*client{}}
	w.focus, err = New(Config{Domain: "meet.example"}, w, b, log)
	check(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		check(t, w.focus.Shutdown(ctx))
		b.Close()
		check(t, s.Close())
	})
	return w
}

// comes makes c join and say what it can do.
func (c *client) comes() {
	c.w.t.Helper()
	c.send(stanza.NewPresence("", c.real, stanza.MustJID(testRoom+"/"+c.nick), stanza.NewElement(nsMUC, "x")))
	q := c.take("disco#info", func(st *stanza.Stanza) bool { return st.Type == "get" && st.Has(nsDiscoInfo, "query") })
	c.send(q.Result(c.disco()))
}

// TestMediaFlows is the whole path: request, rooms, offers, the sfu's ICE, DTLS and SCTP, media and channel.
func TestMediaFlows(t *testing.T) {
	w := realWorld(t)
	a := newPeer(t, w.client("aaaaaaaa", webFeatures))
	b := newPeer(t, w.client("bbbbbbbb", jsonFeatures))
	if r := a.request(); r.Child(nsFocus, "conference").Attr("ready") != "true" {
		t.Fatalf("not ready: %s", r)
	}
	a.comes()
	// b is in the room, but says what it can do only when a has accepted: so a's sources are in b's offer.
	b.send(stanza.NewPresence("", b.real, stanza.MustJID(testRoom+"/"+b.nick), stanza.NewElement(nsMUC, "x")))
	a.negotiate(t)
	q := b.take("disco#info", func(st *stanza.Stanza) bool { return st.Type == "get" && st.Has(nsDiscoInfo, "query") })
	b.send(q.Result(b.disco()))
	offerB := b.negotiate(t)
	for _, p := range []*peer{a, b} {
		select {
		case <-p.opened:
		case <-time.After(15 * time.Second):
			t.Fatalf("%s: no bridge channel", p.nick)
		}
	}
	stopA, stopB := a.play(), b.play()
	defer stopA()
	defer stopB()
	await.True(t, "audio of a at b", func() bool { return b.received(a.ssrc(0)) > 10 })
	if n := b.received(a.ssrc(1)); n != 0 {
		t.Errorf("%d video packets before any constraint", n)
	}
	check(t, b.dc.SendText(`{"colibriClass":"ReceiverVideoConstraints","lastN":-1,"defaultConstraints":{"maxHeight":720}}`))
	await.True(t, "video of a at b", func() bool { return b.received(a.ssrc(1)) > 10 })
	await.True(t, "SenderSourceConstraints at a", func() bool {
		return a.told("SenderSourceConstraints", func(m map[string]any) bool { return m["sourceName"] == "aaaaaaaa-v0" && m["maxHeight"] == 720.0 })
	})
	await.True(t, "ForwardedSources at b", func() bool {
		return b.told("ForwardedSources", func(m map[string]any) bool { return fmt.Sprint(m["forwardedSources"]) == "[aaaaaaaa-v0]" })
	})
	check(t, a.dc.SendText(`{"colibriClass":"ReceiverVideoConstraints","defaultConstraints":{"maxHeight":180}}`))
	for _, class := range []string{"AudioSourcesMap", "VideoSourcesMap"} {
		await.True(t, class+" at a", func() bool {
			return a.told(class, func(m map[string]any) bool { return strings.Contains(fmt.Sprint(m["mappedSources"]), "owner:bbbbbbbb") })
		})
	}
	check(t, b.dc.SendText(`{"colibriClass":"EndpointMessage","to":"aaaaaaaa","msgPayload":{"hi":1}}`))
	await.True(t, "EndpointMessage at a", func() bool {
		return a.told("EndpointMessage", func(m map[string]any) bool { return m["from"] == "bbbbbbbb" })
	})
	// b restarts ICE in place: new credentials on both sides, the same DTLS, and media goes on.
	if r := b.jingle("session-info", stanza.NewElement(jingle.NSFocus, "bridge-session", "id", b.alloc, "ice-restart", "true")); r.Type != "result" {
		t.Fatalf("ice-restart: %s", r)
	}
	ti, err := jingle.Parse(b.take("transport-info", isJingle("transport-info")).Child(jingle.NS, "jingle"))
	check(t, err)
	if ti.Transport.Ufrag == offerB.Transport.Ufrag || ti.Transport.Generation != 1 {
		t.Fatalf("not a new transport: %+v", ti.Transport)
	}
	offerB.Transport.Ufrag, offerB.Transport.Pwd, offerB.Transport.Candidates = ti.Transport.Ufrag, ti.Transport.Pwd, ti.Transport.Candidates
	tr := b.answer(t, offerB)
	tr.Generation, tr.Fingerprints = 1, nil
	if r := b.jingle("transport-info", stanza.NewElement(jingle.NS, "content", "name", "audio").Add(tr.Element(false))); r.Type != "result" {
		t.Fatalf("transport-info: %s", r)
	}
	await.True(t, "ICE of b is connected again", func() bool { return b.pc.ICEConnectionState() == webrtc.ICEConnectionStateConnected })
	n := b.received(a.ssrc(0))
	await.True(t, "audio of a at b after the restart", func() bool { return b.received(a.ssrc(0)) > n+20 })
}
