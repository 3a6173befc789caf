package colibri1

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"konzil/signaling/jingle"
	"konzil/xmpp/stanza"
)

// peer is a stock WebRTC stack as one end of one content; XEP-0340 has a transport for each.
type peer struct {
	w    *world
	name string
	pc   *webrtc.PeerConnection
	out  *webrtc.TrackLocalStaticRTP
	ssrc uint32
	got  chan uint32 // SSRCs that RTP came of, opened
}

// speech is the one codec of these calls; its payload type is the same for all ends, since a translator changes none.
const speech = 111

func newPeer(w *world, name string) *peer {
	w.t.Helper()
	params := webrtc.RTPCodecParameters{RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}, PayloadType: speech}
	pc := w.stack(params)
	p := &peer{w: w, name: name, pc: pc, got: make(chan uint32, 16)}
	var err error
	p.out, err = webrtc.NewTrackLocalStaticRTP(params.RTPCodecCapability, "a", name)
	w.must(err)
	sender, err := pc.AddTrack(p.out)
	w.must(err)
	p.ssrc = uint32(sender.GetParameters().Encodings[0].SSRC)
	pc.OnTrack(func(t *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		if pkt, _, err := t.ReadRTP(); err == nil && string(pkt.Payload) == "words of an opus encoder" {
			p.got <- pkt.SSRC
		}
	})
	return p
}

// stack is a stock WebRTC stack on this machine that has these codecs, until the test ends.
func (w *world) stack(codecs ...webrtc.RTPCodecParameters) *webrtc.PeerConnection {
	w.t.Helper()
	m := &webrtc.MediaEngine{}
	for _, c := range codecs {
		kind := webrtc.RTPCodecTypeVideo
		if strings.HasPrefix(c.MimeType, "audio/") {
			kind = webrtc.RTPCodecTypeAudio
		}
		w.must(m.RegisterCodec(c, kind))
	}
	s := webrtc.SettingEngine{}
	s.SetIncludeLoopbackCandidate(true)
	s.SetNetworkTypes([]webrtc.NetworkType{webrtc.NetworkTypeUDP4})
	pc, err := webrtc.NewAPI(webrtc.WithMediaEngine(m), webrtc.WithSettingEngine(s)).NewPeerConnection(webrtc.Configuration{})
	w.must(err)
	w.t.Cleanup(func() { _ = pc.Close() })
	return pc
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// answers takes a channel as its Jingle offer would bring it, and gives the end's transport. The others' SSRCs are known by then.
func (p *peer) answers(ch *stanza.Element, others ...uint32) string {
	p.w.t.Helper()
	tr := ch.Child(jingle.NSICE, "transport")
	print := tr.Child(jingle.NSDTLS, "fingerprint")
	if print == nil {
		p.w.t.Fatalf("no fingerprint in %s", ch.AppendXML(nil, NS))
	}
	var sdp strings.Builder
	sdp.WriteString("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE")
	for i := range others {
		fmt.Fprintf(&sdp, " %d", i)
	}
	for i, ssrc := range others {
		fmt.Fprintf(&sdp, "\r\nm=audio 9 UDP/TLS/RTP/SAVPF %d\r\nc=IN IP4 0.0.0.0\r\na=mid:%d\r\na=rtpmap:%d opus/48000/2\r\na=rtcp-mux\r\na=sendrecv\r\na=ice-ufrag:%s\r\na=ice-pwd:%s\r\na=setup:%s\r\na=fingerprint:%s %s\r\na=ssrc:%d cname:x",
			speech, i, speech, tr.Attr("ufrag"), tr.Attr("pwd"), print.Attr("setup"), print.Attr("hash"), print.Text(), ssrc)
		for _, c := range tr.ChildrenNamed(jingle.NSICE, "candidate") {
			fmt.Fprintf(&sdp, "\r\na=candidate:%s %s udp %s %s %s typ %s", c.Attr("foundation"), c.Attr("component"), c.Attr("priority"), c.Attr("ip"), c.Attr("port"), c.Attr("type"))
		}
	}
	sdp.WriteString("\r\n")
	p.w.must(p.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: sdp.String()}))
	answer, err := p.pc.CreateAnswer(nil)
	p.w.must(err)
	gathered := webrtc.GatheringCompletePromise(p.pc)
	p.w.must(p.pc.SetLocalDescription(answer))
	<-gathered
	return localTransport(p.pc)
}

// localTransport is an end's side as XEP-0176 and XEP-0320 write it.
func localTransport(pc *webrtc.PeerConnection) string {
	at, body := map[string]string{}, ""
	for l := range strings.Lines(pc.LocalDescription().SDP) {
		key, value, _ := strings.Cut(strings.TrimSpace(l), ":")
		if _, again := at[key]; !again {
			at[key] = value
		}
		if f := strings.Fields(value); key == "a=candidate" && f[1] == "1" {
			body += fmt.Sprintf("<candidate foundation='%s' component='1' protocol='udp' priority='%s' ip='%s' port='%s' type='%s' generation='0' id='%s'/>", f[0], f[3], f[4], f[5], f[7], f[0])
		}
	}
	hash, value, _ := strings.Cut(at["a=fingerprint"], " ")
	return fmt.Sprintf("<transport xmlns='%s' ufrag='%s' pwd='%s'><rtcp-mux/><fingerprint xmlns='%s' hash='%s' setup='%s'>%s</fingerprint>%s</transport>",
		jingle.NSICE, at["a=ice-ufrag"], at["a=ice-pwd"], jingle.NSDTLS, hash, at["a=setup"], value, body)
}

// talk sends until stop closes.
func (p *peer) talk(stop <-chan struct{}) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for seq := uint16(1); ; seq++ {
		h := rtp.Header{Version: 2, SequenceNumber: seq, Timestamp: 960 * uint32(seq)}
		_ = p.out.WriteRTP(&rtp.Packet{Header: h, Payload: []byte("words of an opus encoder")})
		select {
		case <-stop:
			return
		case <-tick.C:
		}
	}
}

// TestThreeDTLS plays the focus of a call of three with DTLS-SRTP: each channel has a transport of its own, keys are between its end and the
// bridge, and everybody gets the media of both others under their own SSRCs. The first offers its side with the allocation, as a caller does.
func TestThreeDTLS(t *testing.T) {
	w := newWorld(t, nil)
	const ask = "<channel endpoint='%s' initiator='%v'><payload-type id='111' name='opus' clockrate='48000' channels='2'/><transport xmlns='urn:xmpp:jingle:transports:ice-udp:1'><rtcp-mux/></transport></channel>"
	id, chans := w.allocate(alice, "", "audio", fmt.Sprintf(ask, alice, true), fmt.Sprintf(ask, "bob@meet.example/x", true))
	_, more := w.allocate(alice, id, "audio", fmt.Sprintf(ask, "carol@meet.example/y", false))
	chans = append(chans, more...)
	for i, setup := range []string{"actpass", "actpass", "active"} {
		if got := chans[i].Child(jingle.NSICE, "transport").Child(jingle.NSDTLS, "fingerprint").Attr("setup"); got != setup {
			t.Errorf("channel %d: setup %q, not %q", i, got, setup)
		}
	}
	peers := []*peer{newPeer(w, "alice"), newPeer(w, "bob"), newPeer(w, "carol")}
	for i, p := range peers {
		a, b := peers[(i+1)%3], peers[(i+2)%3]
		_, c := w.allocate(alice, id, "audio", fmt.Sprintf("<channel id='%s'>%s</channel>", chans[i].Attr("id"), p.answers(chans[i], a.ssrc, b.ssrc)))
		if c[0].Attr("id") != chans[i].Attr("id") {
			t.Errorf("answer about %v", c[0].Attrs)
		}
	}
	stop := make(chan struct{})
	defer close(stop)
	for _, p := range peers {
		go p.talk(stop)
	}
	late := time.After(patience)
	for i, p := range peers {
		heard := map[uint32]bool{}
		for len(heard) < 2 {
			select {
			case x := <-p.got:
				heard[x] = true
			case <-late:
				t.Fatalf("%s hears %v of %d, %d, %d", p.name, heard, peers[0].ssrc, peers[1].ssrc, peers[2].ssrc)
			}
		}
		if heard[p.ssrc] || !heard[peers[(i+1)%3].ssrc] {
			t.Errorf("%s hears %v", p.name, heard)
		}
	}
	// Somebody without DTLS would get what was opened, or send what nobody can check.
	plain := fmt.Sprintf("<channel endpoint='eve@meet.example/z' initiator='true'><transport xmlns='%s' ufrag='efrag' pwd='epwdepwdepwdepwdepwdepwd'/></channel>", jingle.NSICE)
	r := w.ask(alice, "set", "<conference xmlns='"+NS+"' id='"+id+"'><content name='audio'>"+plain+"</content></conference>")
	if r.Child(stanza.NSClient, "error").Child(stanza.NSStanzas, "not-acceptable") == nil {
		t.Errorf("a plain channel among those with DTLS: %s", r)
	}
}
