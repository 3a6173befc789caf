package meet

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/coder/websocket"
	"github.com/pion/sdp/v3"
	"github.com/pion/webrtc/v4"
)

// fake is just enough of a Jitsi server for one participant: it lets anybody in, invites at once, and sends back as a second
// participant's media (endpoint ee00ee00) whatever it receives.
type fake struct {
	t      *testing.T
	srv    *httptest.Server
	wg     sync.WaitGroup // handlers
	legacy bool           // XML sources rather than JSON

	mu       sync.Mutex // guards all below
	pc       *webrtc.PeerConnection
	accept   *Element
	adds     []*Element
	messages []string
}

const room = "r@conference.fake.test"

func newFake(t *testing.T) *fake {
	f := &fake{t: t}
	f.srv = httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(func() {
		f.srv.Close()
		f.wg.Wait() // hijacked connections are not waited for by Close
		f.mu.Lock()
		defer f.mu.Unlock()
		if f.pc != nil {
			_ = f.pc.Close()
		}
	})
	return f
}

func (f *fake) url() string { return "ws" + strings.TrimPrefix(f.srv.URL, "http") + "/xmpp-websocket" }

func (f *fake) serve(w http.ResponseWriter, r *http.Request) {
	f.wg.Add(1)
	defer f.wg.Done()
	if r.URL.Query().Get("room") != "r" {
		http.Error(w, "room", http.StatusBadRequest)
		return
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{"xmpp"}})
	if err != nil {
		return
	}
	defer func() { _ = ws.CloseNow() }()
	ctx := r.Context()
	send := func(format string, args ...any) {
		_ = ws.Write(ctx, websocket.MessageText, []byte(fmt.Sprintf(format, args...)))
	}
	authed := false
	for {
		_, b, err := ws.Read(ctx)
		if err != nil {
			return
		}
		e, err := parseElement(b)
		if err != nil {
			f.t.Errorf("client sent %q: %v", b, err)
			return
		}
		switch e.Name.Local {
		case "open":
			send("<open xmlns='%s' from='fake.test' id='1' version='1.0'/>", nsFraming)
			if !authed {
				send("<stream:features xmlns:stream='http://etherx.jabber.org/streams'><mechanisms xmlns='%s'><mechanism>ANONYMOUS</mechanism><mechanism>PLAIN</mechanism></mechanisms></stream:features>", nsSASL)
			} else {
				send("<stream:features xmlns:stream='http://etherx.jabber.org/streams'><bind xmlns='%s'/><sm xmlns='%s'/></stream:features>", nsBind, nsSM)
			}
		case "auth":
			if e.Attr("mechanism") == "PLAIN" && e.Text != "AHUAcA==" { // \0u\0p
				send("<failure xmlns='%s'><not-authorized/><text>wrong</text></failure>", nsSASL)
				continue
			}
			authed = true
			send("<success xmlns='%s'/>", nsSASL)
		case "enable":
			send("<enabled xmlns='%s' id='x' resume='true'/>", nsSM)
			send("<r xmlns='%s'/>", nsSM)
		case "presence":
			if e.Attr("type") == "unavailable" {
				send("<presence xmlns='jabber:client' from='%s' type='unavailable'><x xmlns='%s'><item affiliation='none' role='none' jid='a@b/c'/><status code='110'/></x></presence>", e.Attr("to"), nsMUCUser)
				continue
			}
			if e.Child(nsMUC, "x") == nil {
				continue
			}
			for _, n := range []string{"focus", "ee00ee00"} {
				send("<presence xmlns='jabber:client' from='%s/%s'><x xmlns='%s'><item affiliation='owner' role='moderator' jid='focus@auth.fake.test/focus'/></x></presence>", room, n, nsMUCUser)
			}
			send("<presence xmlns='jabber:client' from='%s'><x xmlns='%s'><item affiliation='none' role='participant' jid='a@b/c'/><status code='110'/></x></presence>", e.Attr("to"), nsMUCUser)
			send("<iq xmlns='jabber:client' type='get' id='d1' from='%s/focus'><query xmlns='%s'/></iq>", room, nsDisco)
			send("<iq xmlns='jabber:client' type='set' id='j1' from='%s/focus'>%s</iq>", room, f.initiate())
		case "iq":
			f.iq(e, send)
		case "close":
			return
		}
	}
}

func (f *fake) iq(e *Element, send func(string, ...any)) {
	if t := e.Attr("type"); t == "result" || t == "error" {
		return
	}
	body := ""
	switch {
	case e.Child(nsBind, "bind") != nil:
		body = "<bind xmlns='" + nsBind + "'><jid>deadbeef-0000-4000-8000-000000000000@guest.fake.test/res</jid></bind>"
	case e.Child(nsFocus, "conference") != nil:
		body = "<conference xmlns='" + nsFocus + "' room='" + room + "' ready='true' focusjid='focus@auth.fake.test'/>"
	case e.Child(nsJingle, "jingle") != nil:
		j := e.Child(nsJingle, "jingle")
		f.mu.Lock()
		switch j.Attr("action") {
		case "session-accept":
			f.accept = j
		default:
			f.adds = append(f.adds, j)
		}
		f.mu.Unlock()
		if j.Attr("action") == "session-accept" {
			f.answer(j)
		}
	}
	send("<iq xmlns='jabber:client' type='result' id='%s' from='%s'>%s</iq>", e.Attr("id"), e.Attr("to"), body)
}

// initiate makes a session-initiate of a pion offer.
func (f *fake) initiate() string {
	me := &webrtc.MediaEngine{}
	fb := []webrtc.RTCPFeedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}}
	for _, c := range []struct {
		p webrtc.RTPCodecParameters
		k webrtc.RTPCodecType
	}{
		{webrtc.RTPCodecParameters{RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: "audio/opus", ClockRate: 48000, Channels: 2}, PayloadType: 111}, webrtc.RTPCodecTypeAudio},
		{webrtc.RTPCodecParameters{RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: "video/VP8", ClockRate: 90000, RTCPFeedback: fb}, PayloadType: 100}, webrtc.RTPCodecTypeVideo},
		{webrtc.RTPCodecParameters{RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: "video/rtx", ClockRate: 90000, SDPFmtpLine: "apt=100"}, PayloadType: 96}, webrtc.RTPCodecTypeVideo},
	} {
		if err := me.RegisterCodec(c.p, c.k); err != nil {
			f.t.Error(err)
		}
	}
	var se webrtc.SettingEngine
	se.SetIncludeLoopbackCandidate(true)
	se.SetICEMulticastDNSMode(mdnsDisabled)
	pc, err := webrtc.NewAPI(webrtc.WithMediaEngine(me), webrtc.WithSettingEngine(se)).NewPeerConnection(webrtc.Configuration{})
	if err != nil {
		f.t.Error(err)
		return ""
	}
	f.mu.Lock()
	f.pc = pc
	f.mu.Unlock()
	ssrc := map[string]uint32{}
	rtx := uint32(0)
	for _, k := range []string{"audio/opus", "video/VP8"} {
		kind := strings.Split(k, "/")[0]
		track, err := webrtc.NewTrackLocalStaticRTP(webrtc.RTPCodecCapability{MimeType: k}, "t"+kind, "s"+kind)
		if err != nil {
			f.t.Error(err)
		}
		tr, err := pc.AddTransceiverFromTrack(track)
		if err != nil {
			f.t.Error(err)
			return ""
		}
		enc := tr.Sender().GetParameters().Encodings[0]
		ssrc[kind] = uint32(enc.SSRC)
		if kind == "video" {
			rtx = uint32(enc.RTX.SSRC)
		}
		pc.OnTrack(f.echo(pc))
	}
	pc.OnDataChannel(func(d *webrtc.DataChannel) {
		if d.Label() != "JVB data channel" || d.Protocol() != "http://jitsi.org/protocols/colibri" {
			f.t.Errorf("channel %q %q", d.Label(), d.Protocol())
		}
		d.OnMessage(func(m webrtc.DataChannelMessage) {
			f.mu.Lock()
			f.messages = append(f.messages, string(m.Data))
			f.mu.Unlock()
		})
		d.OnOpen(func() {
			_ = d.SendText(`{"colibriClass":"SenderSourceConstraints","sourceName":"deadbeef-v0","maxHeight":720}`)
			_ = d.SendText(`{"colibriClass":"DominantSpeakerEndpointChangeEvent","dominantSpeakerEndpoint":"ee00ee00"}`)
		})
	})
	if _, err := pc.CreateDataChannel("unused", &webrtc.DataChannelInit{Negotiated: ptr(true), ID: ptr(uint16(100))}); err != nil {
		f.t.Error(err)
	}
	offer, err := pc.CreateOffer(nil)
	if err != nil {
		f.t.Error(err)
		return ""
	}
	gathered := webrtc.GatheringCompletePromise(pc)
	if err := pc.SetLocalDescription(offer); err != nil {
		f.t.Error(err)
	}
	<-gathered
	return f.toJingle(pc.LocalDescription().SDP, ssrc, rtx)
}

func ptr[T any](v T) *T { return &v }

// echo sends every packet of a track back on the local track of its kind, but for one in fifty.
func (f *fake) echo(pc *webrtc.PeerConnection) func(*webrtc.TrackRemote, *webrtc.RTPReceiver) {
	return func(t *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		var out *webrtc.TrackLocalStaticRTP
		for _, tr := range pc.GetTransceivers() {
			if tr.Kind() == t.Kind() {
				out, _ = tr.Sender().Track().(*webrtc.TrackLocalStaticRTP)
			}
		}
		for n := 0; ; n++ {
			p, _, err := t.ReadRTP()
			if err != nil {
				return
			}
			if n%50 == 49 {
				continue
			}
			p.Extension, p.Extensions = false, nil
			if err := out.WriteRTP(p); err != nil {
				return
			}
		}
	}
}

// toJingle translates an SDP offer.
func (f *fake) toJingle(text string, ssrc map[string]uint32, rtx uint32) string {
	var d sdp.SessionDescription
	if err := d.UnmarshalString(text); err != nil {
		f.t.Error(err)
		return ""
	}
	m0 := d.MediaDescriptions[0]
	attr := func(k string) string {
		if v, ok := m0.Attribute(k); ok {
			return v
		}
		v, _ := d.Attribute(k)
		return v
	}
	hash, print, _ := strings.Cut(attr("fingerprint"), " ")
	var tr strings.Builder
	fmt.Fprintf(&tr, "<transport xmlns='%s' ufrag='%s' pwd='%s'><fingerprint xmlns='%s' hash='%s' setup='actpass'>%s</fingerprint>", nsICE, attr("ice-ufrag"), attr("ice-pwd"), nsDTLS, hash, print)
	for _, a := range m0.Attributes {
		if p := strings.Fields(a.Value); a.Key == "candidate" && len(p) >= 8 && p[1] == "1" {
			fmt.Fprintf(&tr, "<candidate foundation='%s' component='1' protocol='%s' priority='%s' ip='%s' port='%s' type='%s' generation='0' id='c'/>", p[0], p[2], p[3], p[4], p[5], p[7])
		}
	}
	end := "</transport></content>"
	var b strings.Builder
	fmt.Fprintf(&b, "<jingle xmlns='%s' action='session-initiate' sid='s1' initiator='focus@auth.fake.test/focus'>", nsJingle)
	fmt.Fprintf(&b, "<content creator='initiator' name='audio' senders='both'><description xmlns='%s' media='audio'><payload-type id='111' name='opus' clockrate='48000' channels='2'><parameter name='minptime' value='10'/></payload-type><payload-type id='126' name='telephone-event' clockrate='8000'/><rtp-hdrext xmlns='%s' id='1' uri='%s'/>", nsRTP, nsHdrExt, extAudioLevel)
	if f.legacy {
		fmt.Fprintf(&b, "<source xmlns='%s' ssrc='%d' name='ee00ee00-a0'><parameter name='msid' value='a b'/><ssrc-info xmlns='%s' owner='ee00ee00'/></source>", nsSSMA, ssrc["audio"], nsJitmeet)
	}
	fmt.Fprintf(&b, "</description>%s%s", tr.String(), end)
	fmt.Fprintf(&b, "<content creator='initiator' name='video' senders='both'><description xmlns='%s' media='video'><payload-type id='41' name='AV1' clockrate='90000'/><payload-type id='100' name='VP8' clockrate='90000'><rtcp-fb xmlns='%s' type='nack'/><rtcp-fb xmlns='%s' type='nack' subtype='pli'/></payload-type><payload-type id='96' name='rtx' clockrate='90000'><parameter name='apt' value='100'/></payload-type><payload-type id='42' name='rtx' clockrate='90000'><parameter name='apt' value='41'/></payload-type>", nsRTP, nsFB, nsFB)
	if f.legacy {
		for _, x := range []uint32{ssrc["video"], rtx} {
			fmt.Fprintf(&b, "<source xmlns='%s' ssrc='%d' name='ee00ee00-v0'><parameter name='msid' value='c d'/><ssrc-info xmlns='%s' owner='ee00ee00'/></source>", nsSSMA, x, nsJitmeet)
		}
		fmt.Fprintf(&b, "<ssrc-group xmlns='%s' semantics='FID'><source ssrc='%d'/><source ssrc='%d'/></ssrc-group>", nsSSMA, ssrc["video"], rtx)
	}
	fmt.Fprintf(&b, "</description>%s%s", tr.String(), end)
	fmt.Fprintf(&b, "<content creator='initiator' name='data' senders='both'><description xmlns='%s' media='application'/>%s<sctpmap xmlns='%s' number='5000' protocol='webrtc-datachannel' streams='1024'/>%s", nsRTP, tr.String(), nsSCTP, end)
	fmt.Fprintf(&b, "<bridge-session xmlns='%s' id='b1'/>", nsFocus)
	if !f.legacy {
		fmt.Fprintf(&b, `<json-message xmlns='%s'>{"sources":{"jvb":[[{"s":11,"n":"jvb-v0","m":"mixedmslabel mixedlabelvideo0"}],[],[{"s":12,"n":"jvb-a0","m":"x y"}]],"ee00ee00":[[{"s":%d,"n":"ee00ee00-v0","m":"c d"},{"s":%d,"n":"ee00ee00-v0","m":"c d"}],[["f",%d,%d]],[{"s":%d,"n":"ee00ee00-a0","m":"a b"}]]}}</json-message>`,
			nsJitmeet, ssrc["video"], rtx, ssrc["video"], rtx, ssrc["audio"])
	}
	return b.String() + "</jingle>"
}

// answer translates a session-accept into the SDP answer of the pion side.
func (f *fake) answer(j *Element) {
	s, err := parseJingle(j)
	if err != nil {
		f.t.Error(err)
		return
	}
	t := s.Contents[0].Transport
	var b strings.Builder
	b.WriteString("v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0 1 2\r\n")
	fixed := fmt.Sprintf("c=IN IP4 0.0.0.0\r\na=ice-ufrag:%s\r\na=ice-pwd:%s\r\na=fingerprint:%s %s\r\na=setup:%s\r\n", t.Ufrag, t.Pwd, t.Hash, t.Print, t.Setup)
	for i, kind := range []string{"audio", "video"} {
		pts := "111"
		maps := "a=rtpmap:111 opus/48000/2\r\n"
		if kind == "video" {
			pts, maps = "100 96", "a=rtpmap:100 VP8/90000\r\na=rtcp-fb:100 nack\r\na=rtpmap:96 rtx/90000\r\na=fmtp:96 apt=100\r\n"
		}
		fmt.Fprintf(&b, "m=%s 9 UDP/TLS/RTP/SAVPF %s\r\n%sa=mid:%d\r\na=sendrecv\r\na=rtcp-mux\r\n%s", kind, pts, fixed, i, maps)
		for _, r := range s.Remotes() {
			if r.Kind == kind {
				r.lines(&b)
			}
		}
	}
	fmt.Fprintf(&b, "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n%sa=mid:2\r\na=sctp-port:5000\r\n", fixed)
	f.mu.Lock()
	pc := f.pc
	f.mu.Unlock()
	if err := pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: b.String()}); err != nil {
		f.t.Errorf("answer: %v\n%s", err, b.String())
	}
}
