package sfu

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"konzil/internal/await"

	"github.com/pion/rtcp"
	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if runAsLoadServer() {
		return
	}
	goleak.VerifyTestMain(m)
}

const patience = 15 * time.Second

// events records what a conference tells.
type events struct {
	mu   sync.Mutex
	cond chan struct{}
	list []event
}

type event struct {
	kind, ep, source string
	state            TransportState
	n                int
	names            []string
	maps             []SourceMapping
	msg              string
}

func newEvents() *events { return &events{cond: make(chan struct{}, 1)} }

func (e *events) add(v event) {
	e.mu.Lock()
	e.list = append(e.list, v)
	e.mu.Unlock()
	select {
	case e.cond <- struct{}{}:
	default:
	}
}

func (e *events) Transport(ep string, st TransportState) {
	e.add(event{kind: "transport", ep: ep, state: st})
}
func (e *events) ChannelOpen(ep string) { e.add(event{kind: "open", ep: ep}) }
func (e *events) ChannelMessage(ep string, msg []byte) {
	e.add(event{kind: "message", ep: ep, msg: string(msg)})
}
func (e *events) ChannelClosed(ep string) { e.add(event{kind: "closed", ep: ep}) }
func (e *events) Active(ep string, a bool) {
	n := 0
	if a {
		n = 1
	}
	e.add(event{kind: "active", ep: ep, n: n})
}
func (e *events) DominantSpeaker(ep string, prev []string, _ bool) {
	e.add(event{kind: "dominant", ep: ep, names: prev})
}
func (e *events) ForwardedSources(ep string, s []string) {
	e.add(event{kind: "forwarded", ep: ep, names: s})
}
func (e *events) SenderConstraint(ep, src string, h int) {
	e.add(event{kind: "constraint", ep: ep, source: src, n: h})
}
func (e *events) VideoMappings(ep string, m []SourceMapping) {
	e.add(event{kind: "videomap", ep: ep, maps: m})
}
func (e *events) AudioMappings(ep string, m []SourceMapping) {
	e.add(event{kind: "audiomap", ep: ep, maps: m})
}
func (e *events) Estimate(ep string, bps uint64) { e.add(event{kind: "estimate", ep: ep, n: int(bps)}) }

// wait returns the first event that matches.
func (e *events) wait(t testing.TB, what string, match func(event) bool) event {
	t.Helper()
	var out event
	await.True(t, "event "+what, func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		for _, v := range e.list {
			if match(v) {
				out = v
				return true
			}
		}
		return false
	})
	return out
}

func (e *events) connected(t testing.TB, id string) {
	t.Helper()
	e.wait(t, id+" connected", func(v event) bool { return v.kind == "transport" && v.ep == id && v.state == TransportConnected })
}

func startSFU(t testing.TB, change func(*Config)) *SFU {
	t.Helper()
	cfg := DefaultConfig()
	cfg.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	cfg.Shards = 1
	cfg.SocketBuffer = 1 << 20
	if change != nil {
		change(&cfg)
	}
	s, err := New(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// The negotiation of all test clients.
const (
	ptOpus, ptVP8, ptRTX = 111, 96, 97
	extLevel, extTWCC    = 1, 5
)

func endpointConfig(id string) EndpointConfig {
	return EndpointConfig{
		ID: id, Controlling: true, DataChannel: true,
		Codecs: []Codec{
			{Kind: Audio, PayloadType: ptOpus, Name: "opus", ClockRate: 48000, TWCC: true},
			{Kind: Video, PayloadType: ptVP8, Name: "vp8", ClockRate: 90000, NACK: true, PLI: true, FIR: true, TWCC: true},
			{Kind: Video, PayloadType: ptRTX, Name: "rtx", ClockRate: 90000, APT: ptVP8},
		},
		Extensions: []Extension{{ID: extLevel, URI: uriAudioLevel}, {ID: extTWCC, URI: uriTWCC}},
	}
}

// client is a pion PeerConnection that meets the SFU as browsers do: the SFU offers, the client answers.
type client struct {
	t     testing.TB
	id    string
	pc    *webrtc.PeerConnection
	ep    *Endpoint
	audio *webrtc.TrackLocalStaticRTP
	video []*webrtc.TrackLocalStaticRTP // simulcast layers
	send  []*webrtc.RTPSender
	dc    *webrtc.DataChannel
	opts  clientOptions

	mu    sync.Mutex
	got   map[uint32][]*rtp.Packet
	again map[*rtp.Packet]bool // those of got that came by RTX
	texts []string
	plis  map[uint32]int
	open  bool
	wg    sync.WaitGroup
}

type clientOptions struct {
	layers   int
	channel  *webrtc.DataChannelInit // nil: as Jitsi's clients open it
	setting  func(*webrtc.SettingEngine)
	endpoint func(*EndpointConfig)
}

func newClient(t testing.TB, c *Conference, id string, o clientOptions) *client {
	t.Helper()
	cl := &client{t: t, id: id, got: map[uint32][]*rtp.Packet{}, again: map[*rtp.Packet]bool{}, plis: map[uint32]int{}, opts: o}
	se := webrtc.SettingEngine{}
	se.SetIncludeLoopbackCandidate(true)
	se.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	if o.setting != nil {
		o.setting(&se)
	}
	me := &webrtc.MediaEngine{}
	fb := []webrtc.RTCPFeedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}, {Type: "transport-cc"}}
	for _, err := range []error{
		me.RegisterCodec(webrtc.RTPCodecParameters{
			RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2},
			PayloadType:        ptOpus,
		}, webrtc.RTPCodecTypeAudio),
		me.RegisterCodec(webrtc.RTPCodecParameters{
			RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000, RTCPFeedback: fb},
			PayloadType:        ptVP8,
		}, webrtc.RTPCodecTypeVideo),
		me.RegisterCodec(webrtc.RTPCodecParameters{
			RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: "video/rtx", ClockRate: 90000, SDPFmtpLine: "apt=96"},
			PayloadType:        ptRTX,
		}, webrtc.RTPCodecTypeVideo),
		me.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: uriTWCC}, webrtc.RTPCodecTypeVideo),
		me.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: uriTWCC}, webrtc.RTPCodecTypeAudio),
		me.RegisterHeaderExtension(webrtc.RTPHeaderExtensionCapability{URI: uriAudioLevel}, webrtc.RTPCodecTypeAudio),
	} {
		must(t, err)
	}
	pc, err := webrtc.NewAPI(webrtc.WithSettingEngine(se), webrtc.WithMediaEngine(me), webrtc.WithInterceptorRegistry(interceptors(t, me))).
		NewPeerConnection(webrtc.Configuration{})
	must(t, err)
	cl.pc = pc
	pc.OnTrack(func(tr *webrtc.TrackRemote, rc *webrtc.RTPReceiver) {
		cl.wg.Go(func() { cl.read(tr) })
		cl.wg.Go(func() { // its interceptors see what is read alone
			for {
				if _, _, err := rc.ReadRTCP(); err != nil {
					return
				}
			}
		})
	})
	cl.audio = cl.addTrack(webrtc.MimeTypeOpus, "audio")
	for i := range o.layers {
		cl.video = append(cl.video, cl.addTrack(webrtc.MimeTypeVP8, fmt.Sprintf("video%d", i)))
	}
	label, proto := "JVB data channel", "http://jitsi.org/protocols/colibri"
	init := &webrtc.DataChannelInit{Protocol: &proto}
	if o.channel != nil {
		label, init = "another", o.channel
	}
	cl.dc, err = pc.CreateDataChannel(label, init)
	must(t, err)
	cl.dc.OnOpen(func() { cl.mu.Lock(); cl.open = true; cl.mu.Unlock() })
	cl.dc.OnMessage(func(m webrtc.DataChannelMessage) {
		cl.mu.Lock()
		cl.texts = append(cl.texts, string(m.Data))
		cl.mu.Unlock()
	})
	cfg := endpointConfig(id)
	if o.endpoint != nil {
		o.endpoint(&cfg)
	}
	if c != nil {
		cl.ep, err = c.AddEndpoint(cfg)
		must(t, err)
	}
	t.Cleanup(cl.close)
	return cl
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (c *client) addTrack(mime, id string) *webrtc.TrackLocalStaticRTP {
	tr, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: mime}, id, c.id)
	must(c.t, err)
	tc, err := c.pc.AddTransceiverFromTrack(tr, webrtc.RTPTransceiverInit{Direction: webrtc.RTPTransceiverDirectionSendonly})
	must(c.t, err)
	s := tc.Sender()
	c.send = append(c.send, s)
	ssrc := uint32(s.GetParameters().Encodings[0].SSRC)
	c.wg.Go(func() {
		for {
			pkts, _, err := s.ReadRTCP()
			if err != nil {
				return
			}
			for _, p := range pkts {
				if pli, ok := p.(*rtcp.PictureLossIndication); ok && pli.MediaSSRC == ssrc {
					c.mu.Lock()
					c.plis[ssrc]++
					c.mu.Unlock()
				}
			}
		}
	})
	return tr
}

func (c *client) read(tr *webrtc.TrackRemote) {
	for {
		p, attr, err := tr.ReadRTP()
		if err != nil {
			return
		}
		c.mu.Lock()
		c.got[p.SSRC] = append(c.got[p.SSRC], p)
		if attr.Get(webrtc.AttributeRtxSsrc) != nil {
			c.again[p] = true
		}
		c.mu.Unlock()
	}
}

func (c *client) close() {
	_ = c.pc.Close()
	c.wg.Wait()
}

func (c *client) ssrc(i int) uint32 { return uint32(c.send[i].GetParameters().Encodings[0].SSRC) }
func (c *client) rtx(i int) uint32  { return uint32(c.send[i].GetParameters().Encodings[0].RTX.SSRC) }

// sources lists what the client sends: audio, and video with its layers.
func (c *client) sources() []Source {
	out := []Source{{Name: c.id + "-a0", Kind: Audio, SSRCs: []uint32{c.ssrc(0)}}}
	if len(c.video) > 0 {
		v := Source{Name: c.id + "-v0", Kind: Video}
		for i := range c.video {
			v.SSRCs = append(v.SSRCs, c.ssrc(1+i))
			v.RTX = append(v.RTX, c.rtx(1+i))
		}
		out = append(out, v)
	}
	return out
}

// offer writes the SFU's offer: what the client sends, then one section for each flow that it gets.
func (c *client) offer(t Transport, recv []Source) string {
	var b, mids strings.Builder
	line := func(f string, a ...any) { fmt.Fprintf(&b, f+"\r\n", a...) }
	n := 0
	section := func(kind string, dir string, ssrc, rtx uint32, name string) {
		pts := "111"
		if kind == "video" {
			pts = "96 97"
		}
		line("m=%s 9 UDP/TLS/RTP/SAVPF %s", kind, pts)
		line("c=IN IP4 0.0.0.0\r\na=mid:%d\r\na=%s\r\na=rtcp-mux", n, dir)
		c.transportLines(line, t)
		if kind == "audio" {
			line("a=rtpmap:111 opus/48000/2\r\na=extmap:1 %s", uriAudioLevel)
		} else {
			line("a=rtpmap:96 VP8/90000\r\na=rtpmap:97 rtx/90000\r\na=fmtp:97 apt=96")
			line("a=rtcp-fb:96 nack\r\na=rtcp-fb:96 nack pli\r\na=rtcp-fb:96 transport-cc")
		}
		line("a=extmap:5 %s", uriTWCC)
		if ssrc != 0 {
			line("a=msid:%s %s", name, name)
			if rtx != 0 {
				line("a=ssrc-group:FID %d %d\r\na=ssrc:%d cname:x\r\na=ssrc:%d msid:%s %s", ssrc, rtx, rtx, rtx, name, name)
			}
			line("a=ssrc:%d cname:x\r\na=ssrc:%d msid:%s %s", ssrc, ssrc, name, name)
		}
		fmt.Fprintf(&mids, " %d", n)
		n++
	}
	section("audio", "recvonly", 0, 0, "")
	for range c.video {
		section("video", "recvonly", 0, 0, "")
	}
	line("m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:%d\r\na=sctp-port:5000", n)
	c.transportLines(line, t)
	fmt.Fprintf(&mids, " %d", n)
	n++
	for _, s := range recv {
		kind, rtx := "audio", uint32(0)
		if s.Kind == Video {
			kind = "video"
			if len(s.RTX) > 0 {
				rtx = s.RTX[0]
			}
		}
		section(kind, "sendonly", s.SSRCs[0], rtx, s.Name)
	}
	return "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE" + mids.String() + "\r\n" + b.String()
}

func (c *client) transportLines(line func(string, ...any), t Transport) {
	line("a=ice-ufrag:%s\r\na=ice-pwd:%s\r\na=fingerprint:%s %s\r\na=setup:%s",
		t.Ufrag, t.Pwd, t.Fingerprints[0].Hash, t.Fingerprints[0].Value, t.Setup)
	for _, k := range t.Candidates {
		l := fmt.Sprintf("a=candidate:%s %d %s %d %s %d typ %s", k.Foundation, k.Component, k.Protocol, k.Priority, k.Addr.Addr(), k.Addr.Port(), k.Type)
		if k.TCPType != "" {
			l += " tcptype " + k.TCPType
		}
		line("%s", l)
	}
	line("a=end-of-candidates")
}

// answer applies an offer and returns the client's side, without candidates unless asked: browsers signal none.
func (c *client) answer(offer string) Transport {
	c.t.Helper()
	must(c.t, c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: offer}))
	ans, err := c.pc.CreateAnswer(nil)
	must(c.t, err)
	must(c.t, c.pc.SetLocalDescription(ans))
	var t Transport
	for l := range strings.Lines(ans.SDP) {
		l = strings.TrimSpace(l)
		switch {
		case strings.HasPrefix(l, "a=ice-ufrag:"):
			t.Ufrag = l[12:]
		case strings.HasPrefix(l, "a=ice-pwd:"):
			t.Pwd = l[10:]
		case strings.HasPrefix(l, "a=setup:"):
			t.Setup = l[8:]
		case strings.HasPrefix(l, "a=fingerprint:"):
			hash, value, _ := strings.Cut(l[14:], " ")
			t.Fingerprints = []Fingerprint{{Hash: hash, Value: value}}
		}
	}
	return t
}

// join negotiates with the endpoint, which tells the SFU what the client sends and the client what it will get.
func (c *client) join(recv []Source) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	local, err := c.ep.LocalTransport(ctx)
	must(c.t, err)
	remote := c.answer(c.offer(local, recv))
	must(c.t, c.ep.SetSources(c.sources()))
	must(c.t, c.ep.SetRemote(remote))
}

func (c *client) count(ssrc uint32) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.got[ssrc])
}

func (c *client) packets(ssrc uint32) []*rtp.Packet {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*rtp.Packet(nil), c.got[ssrc]...)
}

// repaired is what packets gives as a receiver puts it together: what came by RTX is where it was missing, and left out where it was not. Where some was
// lost, and be it before the client was ready, the last packets of pictures are sent a second time (second.go).
func (c *client) repaired(ssrc uint32) (out []*rtp.Packet) {
	all := c.packets(ssrc)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, p := range all {
		if !c.again[p] {
			out = append(out, p)
		}
	}
	for _, p := range all {
		if c.again[p] && !slices.ContainsFunc(out, func(x *rtp.Packet) bool { return x.SequenceNumber == p.SequenceNumber }) {
			at := slices.IndexFunc(out, func(x *rtp.Packet) bool { return int16(x.SequenceNumber-p.SequenceNumber) > 0 })
			if at < 0 {
				at = len(out)
			}
			out = slices.Insert(out, at, p)
		}
	}
	return out
}

func (c *client) keyframesAsked(ssrc uint32) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.plis[ssrc]
}

// pacer sends synthetic media until stopped: opus at 50 packets a second and VP8 layers of three packets a frame.
func (c *client) play(active func(layer int) bool) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		var n int
		enc := make([]*vp8Encoder, len(c.video))
		for i := range enc {
			enc[i] = &vp8Encoder{layer: i, seq: uint16(1000 * (i + 1)), ts: uint32(1000000 * i), pic: uint16(100 * i)}
		}
		asked := make([]int, len(c.video))
		for {
			select {
			case <-done:
				return
			case <-tick.C:
			}
			n++
			a := &rtp.Packet{Header: rtp.Header{
				Version: 2, SequenceNumber: uint16(n), Timestamp: uint32(n * 960), Marker: n == 1,
			}, Payload: []byte(fmt.Sprintf("opus of %s %d", c.id, n))}
			_ = a.SetExtension(extLevel, []byte{level(n)})
			_ = c.audio.WriteRTP(a)
			for i, tr := range c.video {
				if active != nil && !active(i) {
					continue
				}
				k := c.keyframesAsked(c.ssrc(1 + i))
				for _, p := range enc[i].frame(k != asked[i]) {
					_ = tr.WriteRTP(p)
				}
				asked[i] = k
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// level is that of somebody who speaks with short pauses (RFC 6464: -dBov).
func level(n int) byte {
	if n%25 < 20 {
		return 0x80 | byte(15+n%10)
	}
	return 90
}

// vp8Encoder makes packets with correct descriptors (RFC 7741): three temporal layers, 15-bit picture ids.
type vp8Encoder struct {
	layer int
	seq   uint16
	ts    uint32
	pic   uint16
	tl0   uint8
	n     int
}

func (v *vp8Encoder) frame(key bool) []*rtp.Packet {
	key = key || v.n == 0
	if key {
		v.n = 0
	}
	tid := []uint8{0, 2, 1, 2}[v.n%4]
	if tid == 0 {
		v.tl0++
	}
	var out []*rtp.Packet
	for i := range 3 {
		d := []byte{0x80, 0xE0, 0x80 | byte(v.pic>>8&0x7f), byte(v.pic), v.tl0, tid << 6}
		if tid != 0 {
			d[5] |= 0x20
		}
		if i == 0 {
			d[0] |= 0x10
			w, h := uint16(320<<v.layer), uint16(180<<v.layer)
			if key {
				d = append(d, 0x10, 0, 0, 0x9d, 0x01, 0x2a)
				d = binary.LittleEndian.AppendUint16(d, w)
				d = binary.LittleEndian.AppendUint16(d, h)
			} else {
				d = append(d, 0x11)
			}
		}
		d = append(d, []byte(fmt.Sprintf("layer %d frame %d part %d", v.layer, v.n, i))...)
		d = append(d, make([]byte, 100*(v.layer+1))...)
		out = append(out, &rtp.Packet{Header: rtp.Header{
			Version: 2, SequenceNumber: v.seq, Timestamp: v.ts, Marker: i == 2,
		}, Payload: d})
		v.seq++
	}
	v.n++
	v.pic = (v.pic + 1) & 0x7fff
	v.ts += 1800
	return out
}
