package browsertest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"konzil/sfu"
)

// page makes peer connections as lib-jitsi-meet does: the bridge offers, three simulcast streams are munged into the answer.
const page = `<!doctype html><script>
const pcs = {};
async function make(id, offer, send) {
  const pc = new RTCPeerConnection();
  pcs[id] = {pc, tracks: [], texts: [], dc: null};
  pc.ontrack = e => {
    pcs[id].tracks.push(e.track);
    const el = document.createElement(e.track.kind);
    if (e.track.kind == 'video') el.requestVideoFrameCallback(() => { pcs[id].first = pcs[id].first || Date.now(); });
    el.autoplay = true; el.srcObject = new MediaStream([e.track]); document.documentElement.append(el);
  };
  if (send) {
    const s = await navigator.mediaDevices.getUserMedia({audio: true, video: send != 'audio' && {width: 1280, height: 720, frameRate: 30}});
    for (const t of s.getTracks()) pc.addTrack(t, s);
  }
  const dc = pc.createDataChannel('JVB data channel', {protocol: 'http://jitsi.org/protocols/colibri'});
  pcs[id].dc = dc;
  dc.onmessage = e => pcs[id].texts.push(e.data);
  return accept(id, offer, send);
}
async function accept(id, offer, send) {
  const pc = pcs[id].pc;
  await pc.setRemoteDescription({type: 'offer', sdp: offer});
  const a = await pc.createAnswer();
  let sdp = a.sdp;
  if (send && !sdp.includes('ssrc-group:SIM')) sdp = simulcast(sdp);
  await pc.setLocalDescription({type: 'answer', sdp});
  return sdp;
}
function simulcast(sdp) {
  const i = sdp.indexOf('m=video');
  const head = sdp.slice(0, i); let rest = sdp.slice(i);
  const j = rest.indexOf('\r\nm=', 1); const tail = j < 0 ? '' : rest.slice(j + 2); if (j >= 0) rest = rest.slice(0, j + 2);
  const m = rest.match(/a=ssrc-group:FID (\d+) (\d+)/); if (!m) return sdp;
  const base = [+m[1]], rtx = [+m[2]];
  for (let k = 1; k < 3; k++) { base.push(base[0] + 1000 * k); rtx.push(rtx[0] + 1000 * k); }
  let add = 'a=ssrc-group:SIM ' + base.join(' ') + '\r\n';
  const lines = rest.split('\r\n');
  for (let k = 1; k < 3; k++) {
    add += 'a=ssrc-group:FID ' + base[k] + ' ' + rtx[k] + '\r\n';
    for (const l of lines) {
      if (l.startsWith('a=ssrc:' + base[0] + ' ')) add += l.replace('' + base[0], '' + base[k]) + '\r\n';
      if (l.startsWith('a=ssrc:' + rtx[0] + ' ')) add += l.replace('' + rtx[0], '' + rtx[k]) + '\r\n';
    }
  }
  return head + rest + add + tail;
}
async function stats(id) {
  const out = {};
  for (const r of (await pcs[id].pc.getStats()).values()) {
    if (r.type == 'inbound-rtp' && r.kind == 'video') out['v' + r.ssrc] = {frames: r.framesDecoded || 0, w: r.frameWidth || 0, h: r.frameHeight || 0, lost: r.packetsLost, rtx: r.retransmittedPacketsReceived || 0, freeze: r.freezeCount || 0, pli: r.pliCount, nack: r.nackCount, waiting: r.framesReceived - r.framesDecoded - r.framesDropped, packets: r.packetsReceived, fecSsrc: r.fecSsrc, discarded: r.fecPacketsDiscarded, decoder: r.decoderImplementation, fec: r.fecPacketsReceived || 0};
    if (r.type == 'inbound-rtp' && r.kind == 'audio') out['a' + r.ssrc] = {frames: r.packetsReceived, w: 0, h: 0, energy: r.totalAudioEnergy || 0};
    if (r.type == 'transport') out.transport = {srtp: r.srtpCipher || '', dtls: r.dtlsState, ice: r.iceState || ''};
    if (r.type == 'outbound-rtp' && r.kind == 'video') out['o' + r.ssrc] = {frames: r.framesEncoded, w: r.frameWidth || 0, h: r.frameHeight || 0, reason: r.qualityLimitationReason, pli: r.pliCount, nack: r.nackCount};
    if (r.type == 'local-candidate') out.path = {protocol: r.protocol};
    if (r.type == 'candidate-pair' && r.nominated) out.bwe = {frames: 0, avail: r.availableOutgoingBitrate || 0, rtt: r.currentRoundTripTime};
  }
  return JSON.stringify(out);
}
</script>`

type stat struct {
	Frames, W, H, Lost, Rtx int
	Freeze, Pli, Nack, Fec  int
	Waiting                 int // frames that came and were neither decoded nor left out yet
	Energy                  float64
	Srtp, Dtls, Protocol    string
}

type events struct {
	mu   sync.Mutex
	list []string
	maps []sfu.SourceMapping // of receivers with slots
}

func (e *events) mapped(m []sfu.SourceMapping) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.maps = append(e.maps, m...)
}

// slots returns what is mapped when at least n slots are.
func (e *events) slots(n int) []sfu.SourceMapping {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.maps) < n {
		return nil
	}
	return append([]sfu.SourceMapping(nil), e.maps...)
}

func (e *events) add(f string, a ...any) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, fmt.Sprintf(f, a...))
}

func (e *events) has(s string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, l := range e.list {
		if strings.HasPrefix(l, s) {
			return true
		}
	}
	return false
}

func (e *events) Transport(ep string, st sfu.TransportState)    { e.add("transport %s %d", ep, st) }
func (e *events) ChannelOpen(ep string)                         { e.add("open %s", ep) }
func (e *events) ChannelMessage(ep string, msg []byte)          { e.add("message %s %s", ep, msg) }
func (e *events) ChannelClosed(ep string)                       { e.add("closed %s", ep) }
func (e *events) Active(ep string, a bool)                      { e.add("active %s %v", ep, a) }
func (e *events) DominantSpeaker(ep string, p []string, _ bool) { e.add("dominant %s %v", ep, p) }
func (e *events) ForwardedSources(ep string, s []string)        { e.add("forwarded %s %v", ep, s) }
func (e *events) SenderConstraint(ep, s string, h int)          { e.add("constraint %s %s %d", ep, s, h) }
func (e *events) VideoMappings(ep string, m []sfu.SourceMapping) {
	e.add("videomap %s %v", ep, m)
	e.mapped(m)
}
func (e *events) AudioMappings(ep string, m []sfu.SourceMapping) {
	e.add("audiomap %s %v", ep, m)
	e.mapped(m)
}
func (e *events) Estimate(ep string, bps uint64) { e.add("estimate %s %d", ep, bps) }

const (
	uriLevel = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
	uriTWCC  = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
	uriDelay = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
	uriAbs   = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
)

func config(id string) sfu.EndpointConfig {
	return sfu.EndpointConfig{
		ID: id, Controlling: true, DataChannel: true,
		Codecs: []sfu.Codec{
			{Kind: sfu.Audio, PayloadType: 111, Name: "opus", ClockRate: 48000, TWCC: true},
			{Kind: sfu.Video, PayloadType: 100, Name: "vp8", ClockRate: 90000, NACK: true, PLI: true, FIR: true, TWCC: true},
			{Kind: sfu.Video, PayloadType: 96, Name: "rtx", ClockRate: 90000, APT: 100},
		},
		Extensions: []sfu.Extension{{ID: 1, URI: uriLevel}, {ID: 5, URI: uriTWCC}, {ID: 3, URI: uriAbs}, {ID: 12, URI: uriDelay}},
	}
}

// offer writes the SFU's side: audio and video that the client may send, the data channel, and the flows that it gets.
func offer(t sfu.Transport, recv []sfu.Source) string {
	var b, mids strings.Builder
	line := func(f string, a ...any) { fmt.Fprintf(&b, f+"\r\n", a...) }
	n := 0
	common := func() {
		line("c=IN IP4 0.0.0.0\r\na=mid:%d\r\na=ice-ufrag:%s\r\na=ice-pwd:%s\r\na=fingerprint:sha-256 %s\r\na=setup:%s",
			n, t.Ufrag, t.Pwd, t.Fingerprints[0].Value, t.Setup)
		for _, k := range t.Candidates {
			tcp := ""
			if k.TCPType != "" {
				tcp = " tcptype " + k.TCPType
			}
			line("a=candidate:%s 1 %s %d %s %d typ %s%s generation 0", k.Foundation, k.Protocol, k.Priority, k.Addr.Addr(), k.Addr.Port(), k.Type, tcp)
		}
		fmt.Fprintf(&mids, " %d", n)
		n++
	}
	section := func(kind, dir string, s *sfu.Source) {
		if kind == "audio" {
			line("m=audio 9 UDP/TLS/RTP/SAVPF 111")
		} else {
			line("m=video 9 UDP/TLS/RTP/SAVPF 100 96 118")
		}
		common()
		line("a=%s\r\na=rtcp-mux", dir)
		if kind == "audio" {
			line("a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=rtcp-fb:111 transport-cc\r\na=extmap:1 %s", uriLevel)
		} else {
			line("a=rtpmap:100 VP8/90000\r\na=rtpmap:96 rtx/90000\r\na=fmtp:96 apt=100\r\na=rtpmap:118 flexfec-03/90000\r\na=fmtp:118 repair-window=10000000")
			line("a=rtcp-fb:100 ccm fir\r\na=rtcp-fb:100 nack\r\na=rtcp-fb:100 nack pli\r\na=rtcp-fb:100 transport-cc\r\na=extmap:3 %s\r\na=extmap:12 %s", uriAbs, uriDelay)
		}
		line("a=extmap:5 %s", uriTWCC)
		if s == nil {
			return
		}
		ssrcs := []uint32{s.SSRCs[0]}
		if len(s.RTX) > 0 {
			ssrcs = append(ssrcs, s.RTX[0])
			line("a=ssrc-group:FID %d %d", ssrcs[0], ssrcs[1])
		}
		if s.FEC != 0 {
			ssrcs = append(ssrcs, s.FEC) // the first in the order of lines is the picture
			line("a=ssrc-group:FEC-FR %d %d", ssrcs[0], s.FEC)
		}
		for _, x := range ssrcs {
			line("a=ssrc:%d cname:mixed\r\na=ssrc:%d msid:%s %s", x, x, s.Name, s.Name)
		}
	}
	section("audio", "sendrecv", nil)
	section("video", "sendrecv", nil)
	line("m=application 9 UDP/DTLS/SCTP webrtc-datachannel")
	common()
	line("a=sctp-port:5000\r\na=max-message-size:262144")
	for i := range recv {
		kind := "audio"
		if recv[i].Kind == sfu.Video {
			kind = "video"
		}
		section(kind, "sendonly", &recv[i])
	}
	return "v=0\r\no=- 1 2 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE" + mids.String() + "\r\n" + b.String()
}

// parse reads the transport and the sources of an answer.
func parse(id, sdp string) (sfu.Transport, []sfu.Source) {
	var t sfu.Transport
	audio := sfu.Source{Name: id + "-a0", Kind: sfu.Audio}
	video := sfu.Source{Name: id + "-v0", Kind: sfu.Video}
	kind := ""
	rtx := map[uint32]uint32{}
	for l := range strings.Lines(sdp) {
		l = strings.TrimSpace(l)
		var a, b, c uint32
		switch {
		case strings.HasPrefix(l, "m="):
			kind = l[2:7]
		case strings.HasPrefix(l, "a=ice-ufrag:"):
			t.Ufrag = l[12:]
		case strings.HasPrefix(l, "a=ice-pwd:"):
			t.Pwd = l[10:]
		case strings.HasPrefix(l, "a=setup:"):
			t.Setup = l[8:]
		case strings.HasPrefix(l, "a=fingerprint:"):
			h, v, _ := strings.Cut(l[14:], " ")
			t.Fingerprints = []sfu.Fingerprint{{Hash: h, Value: v}}
		case scan(l, "a=ssrc-group:SIM %d %d %d", &a, &b, &c):
			video.SSRCs = []uint32{a, b, c}
		case scan(l, "a=ssrc-group:FID %d %d", &a, &b):
			rtx[a] = b
		case kind == "audio" && len(audio.SSRCs) == 0 && scan(l, "a=ssrc:%d", &a):
			audio.SSRCs = []uint32{a}
		}
	}
	for _, s := range video.SSRCs {
		video.RTX = append(video.RTX, rtx[s])
	}
	var out []sfu.Source
	if len(audio.SSRCs) > 0 {
		out = append(out, audio)
	}
	if len(video.SSRCs) > 0 {
		out = append(out, video)
	}
	return t, out
}

func scan(l, format string, a ...any) bool {
	n, err := fmt.Sscanf(l, format, a...)
	return err == nil && n == len(a)
}

type browser struct {
	t   *testing.T
	ctx context.Context
	sfu *sfu.SFU
	ids []string
	tcp bool // it is told of TCP candidates alone
}

func start(t *testing.T) *browser {
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed")
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte(page))
	}))
	t.Cleanup(srv.Close)
	return launch(t, path, srv.URL)
}

// launch runs a browser and opens a page.
func launch(t *testing.T, path, url string) *browser {
	t.Helper()
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox,
		chromedp.Flag("use-fake-device-for-media-stream", true), chromedp.Flag("use-fake-ui-for-media-stream", true),
		chromedp.Flag("allow-loopback-in-peer-connection", true), chromedp.Flag("autoplay-policy", "no-user-gesture-required"),
	)
	actx, acancel := chromedp.NewExecAllocator(context.Background(), opts...)
	ctx, cancel := chromedp.NewContext(actx)
	t.Cleanup(func() { cancel(); acancel() })
	b := &browser{t: t, ctx: ctx}
	if _, err := chromedp.Run(ctx, chromedp.Navigate(url)); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *browser) call(expr string, args ...any) string {
	b.t.Helper()
	enc := make([]any, len(args))
	for i, a := range args {
		j, _ := json.Marshal(a)
		enc[i] = string(j)
	}
	ctx, cancel := context.WithTimeout(b.ctx, 20*time.Second)
	defer cancel()
	out, err := chromedp.Run(ctx, chromedp.Evaluate[string](fmt.Sprintf(expr, enc...), chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("%s: %v", expr, err)
	}
	return out
}

func (b *browser) stats(id string) map[string]stat {
	b.t.Helper()
	out := map[string]stat{}
	s := b.call("stats(%s)", id)
	if err := json.Unmarshal([]byte(s), &out); err != nil {
		b.t.Fatal(err)
	}
	return out
}

func (b *browser) until(what string, limit time.Duration, ok func() bool) {
	b.t.Helper()
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		if time.Now().After(deadline) {
			for _, id := range b.ids {
				b.t.Logf("%s: %s", id, b.call("stats(%s)", id))
			}
			b.t.Logf("counters %v", b.sfu.Counters())
			b.t.Fatalf("timeout: %s", what)
		}
		<-tick.C
	}
}

// decodes waits until a receiver has decoded what it got of a stream: a frame that cannot be decoded waits for ever, others as long as the jitter buffer
// holds them back. Where that is told to hold back more than fewWaiting, the stream must have stopped.
func (b *browser) decodes(id, stream string) {
	b.t.Helper()
	const fewWaiting = 5
	b.until("all frames of "+id+" are decoded", 15*time.Second, func() bool { return b.stats(id)[stream].Waiting <= fewWaiting })
}

// meet starts an SFU and a browser, and lets it send camera and microphone as endpoint "send".
func meet(t *testing.T) (*browser, *sfu.Conference, *events, []sfu.Source) {
	t.Helper()
	return meetOver(t, false)
}

// meetOver is meet over UDP, or with TCP alone.
func meetOver(t *testing.T, tcp bool) (*browser, *sfu.Conference, *events, []sfu.Source) {
	t.Helper()
	if testing.Short() {
		t.Skip("not in short mode")
	}
	b := start(t)
	cfg := sfu.DefaultConfig()
	cfg.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	if b.tcp = tcp; tcp {
		cfg.ListenTCP = cfg.Listen
	}
	s, err := sfu.New(cfg, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	b.sfu, b.ids = s, []string{"send", "recv"}
	ev := &events{}
	c, err := s.NewConference("room", ev)
	if err != nil {
		t.Fatal(err)
	}
	rt, sources := parse("send", b.call("make('send', %s, true)", offer(b.local(c, config("send")), nil)))
	if len(sources) != 2 {
		t.Fatalf("sources %+v", sources)
	}
	sender := c.Endpoint("send")
	if err := sender.SetSources(sources); err != nil {
		t.Fatal(err)
	}
	if err := sender.SetRemote(rt); err != nil {
		t.Fatal(err)
	}
	b.until("sender connected", 15*time.Second, func() bool { return ev.has("transport send 1") })
	return b, c, ev, sources
}

// local adds an endpoint and returns its side.
func (b *browser) local(c *sfu.Conference, cfg sfu.EndpointConfig) sfu.Transport {
	b.t.Helper()
	e, err := c.AddEndpoint(cfg)
	if err != nil {
		b.t.Fatal(err)
	}
	lt, err := e.LocalTransport(context.Background())
	if err != nil {
		b.t.Fatal(err)
	}
	if b.tcp {
		lt.Candidates = slices.DeleteFunc(lt.Candidates, func(k sfu.Candidate) bool { return k.Protocol != "tcp" })
	}
	return lt
}

func TestChromium(t *testing.T) {
	b, c, ev, sources := meet(t)
	s := b.sfu
	rt, _ := parse("recv", b.call("make('recv', %s, false)", offer(b.local(c, config("recv")), sources)))
	recv := c.Endpoint("recv")
	if err := recv.SetRemote(rt); err != nil {
		t.Fatal(err)
	}
	b.until("receiver connected", 15*time.Second, func() bool { return ev.has("transport recv 1") })
	b.until("channels", 15*time.Second, func() bool { return ev.has("open recv") && ev.has("open send") })
	v, a := fmt.Sprintf("v%d", sources[1].SSRCs[0]), fmt.Sprintf("a%d", sources[0].SSRCs[0])
	b.until("audio", 15*time.Second, func() bool { st := b.stats("recv")[a]; return st.Frames > 50 && st.Energy > 0 })
	if st := b.stats("recv")[v]; st.Frames != 0 {
		t.Fatalf("video before constraints: %+v", st)
	}
	for _, h := range []int{180, 720, 360, 720, 180} {
		before := b.stats("recv")[v].Frames
		recv.SetConstraints(sfu.VideoConstraints{LastN: -1, Default: sfu.Constraint{MaxHeight: h}})
		began := time.Now()
		b.until(fmt.Sprintf("%d lines", h), 40*time.Second, func() bool {
			st := b.stats("recv")[v]
			return st.H == h && st.Frames > before+20
		})
		t.Logf("%d lines after %v", h, time.Since(began).Round(time.Millisecond))
	}
	t.Logf("receiver: %s", b.call("stats('recv')"))
	t.Logf("sender: %s", b.call("stats('send')"))
	for k, n := range s.Counters() {
		if n > 0 {
			t.Logf("%s %d", k, n)
		}
	}
	if st := b.stats("recv")["transport"]; !strings.Contains(st.Srtp, "GCM") {
		t.Errorf("SRTP cipher %q", st.Srtp)
	}
}

// TestChromiumTCP: both ends have TCP alone (RFC 6544): audio and all layers of video with switches, and the bridge channel.
func TestChromiumTCP(t *testing.T) {
	b, c, ev, sources := meetOver(t, true)
	rt, _ := parse("recv", b.call("make('recv', %s, false)", offer(b.local(c, config("recv")), sources)))
	recv := c.Endpoint("recv")
	if err := recv.SetRemote(rt); err != nil {
		t.Fatal(err)
	}
	b.until("channels", 15*time.Second, func() bool { return ev.has("open recv") && ev.has("open send") })
	v, a := fmt.Sprintf("v%d", sources[1].SSRCs[0]), fmt.Sprintf("a%d", sources[0].SSRCs[0])
	b.until("audio", 15*time.Second, func() bool { st := b.stats("recv")[a]; return st.Frames > 50 && st.Energy > 0 })
	for _, h := range []int{180, 720, 360} {
		before := b.stats("recv")[v].Frames
		recv.SetConstraints(sfu.VideoConstraints{LastN: -1, Default: sfu.Constraint{MaxHeight: h}})
		b.until(fmt.Sprintf("%d lines", h), 40*time.Second, func() bool {
			st := b.stats("recv")[v]
			return st.H == h && st.Frames > before+20
		})
	}
	// The server's count tells: Chromium's statistics now and then still name the pair that was tried first.
	n := b.sfu.Counters()
	if n["packets_out"] == 0 || n["packets_out"] > n["tcp_out"] {
		t.Errorf("%d packets went out, %d of all datagrams over TCP", n["packets_out"], n["tcp_out"])
	}
	if n["tcp_connections"] < 2 || n["drop_tcp_queue"] != 0 || n["tcp_stalled"] != 0 || n["packets_in"] != n["tcp_in"] {
		t.Errorf("counters %v", n)
	}
	t.Logf("%d datagrams in and %d out over TCP", n["tcp_in"], n["tcp_out"])
}

// TestChromiumSlots is a receiver with SSRC rewriting, as stock clients are: it learns of slots first, then adds them.
func TestChromiumSlots(t *testing.T) {
	b, c, ev, _ := meet(t)
	cfg := config("recv")
	cfg.SSRCRewriting = true
	lt := b.local(c, cfg)
	rt, _ := parse("recv", b.call("make('recv', %s, false)", offer(lt, nil)))
	recv := c.Endpoint("recv")
	if err := recv.SetRemote(rt); err != nil {
		t.Fatal(err)
	}
	b.until("receiver connected", 15*time.Second, func() bool { return ev.has("transport recv 1") })
	recv.SetConstraints(sfu.VideoConstraints{LastN: -1, Default: sfu.Constraint{MaxHeight: 720}})
	var maps []sfu.SourceMapping
	b.until("maps", 10*time.Second, func() bool { maps = ev.slots(2); return maps != nil })
	var recvs []sfu.Source
	for _, m := range maps {
		s := sfu.Source{Name: m.Source, Kind: sfu.Audio, SSRCs: []uint32{m.SSRC}}
		if m.RTX != 0 {
			s.Kind, s.RTX = sfu.Video, []uint32{m.RTX}
		}
		recvs = append(recvs, s)
	}
	b.call("accept('recv', %s, false)", offer(lt, recvs))
	for _, m := range recvs {
		b.until("media on a slot", 20*time.Second, func() bool {
			st := b.stats("recv")
			if m.Kind == sfu.Audio {
				x := st[fmt.Sprintf("a%d", m.SSRCs[0])]
				return x.Frames > 50 && x.Energy > 0
			}
			x := st[fmt.Sprintf("v%d", m.SSRCs[0])]
			return x.Frames > 30 && x.H == 720
		})
	}
}
