package colibri1

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"

	"konzil/signaling/jingle"
	"konzil/xmpp/stanza"
)

// Payload types of the ends of these tests.
const (
	opusPT = 111
	vp8PT  = 100
)

// webEnd is a stock WebRTC stack that bundles audio, video and a data channel.
type webEnd struct {
	w      *world
	id     string
	pc     *webrtc.PeerConnection
	dc     *webrtc.DataChannel
	tracks []*webrtc.TrackLocalStaticRTP // audio, video
	ssrcs  []uint32
	media  chan string // "audio 123": of which kind and SSRC RTP came
	texts  chan string
	opened chan struct{}
}

func newWebEnd(w *world, id string) *webEnd {
	w.t.Helper()
	codecs := []webrtc.RTPCodecParameters{
		{RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeOpus, ClockRate: 48000, Channels: 2}, PayloadType: opusPT},
		{RTPCodecCapability: webrtc.RTPCodecCapability{MimeType: webrtc.MimeTypeVP8, ClockRate: 90000}, PayloadType: vp8PT},
	}
	pc := w.stack(codecs...)
	e := &webEnd{w: w, id: id, pc: pc, media: make(chan string, 64), texts: make(chan string, 64), opened: make(chan struct{})}
	for i, c := range codecs {
		track, err := webrtc.NewTrackLocalStaticRTP(c.RTPCodecCapability, []string{"a", "v"}[i], id)
		w.must(err)
		sender, err := pc.AddTrack(track)
		w.must(err)
		e.tracks, e.ssrcs = append(e.tracks, track), append(e.ssrcs, uint32(sender.GetParameters().Encodings[0].SSRC))
	}
	pc.OnTrack(func(t *webrtc.TrackRemote, _ *webrtc.RTPReceiver) {
		if p, _, err := t.ReadRTP(); err == nil {
			e.media <- fmt.Sprintf("%s %d", t.Kind(), p.SSRC)
		}
	})
	var err error
	e.dc, err = pc.CreateDataChannel("JVB data channel", &webrtc.DataChannelInit{Protocol: new("http://jitsi.org/protocols/colibri")})
	w.must(err)
	e.dc.OnOpen(func() { close(e.opened) })
	e.dc.OnMessage(func(m webrtc.DataChannelMessage) { e.texts <- string(m.Data) })
	return e
}

// answers takes the transport of its bundle as a Jingle offer would bring it, with the others' SSRCs, and gives its own.
func (e *webEnd) answers(tr *stanza.Element, others ...*webEnd) string {
	e.w.t.Helper()
	print := tr.Child(jingle.NSDTLS, "fingerprint")
	var lines []string
	section := func(mid int, m string, more ...string) {
		lines = append(lines, "m="+m, "c=IN IP4 0.0.0.0", fmt.Sprintf("a=mid:%d", mid), "a=ice-ufrag:"+tr.Attr("ufrag"), "a=ice-pwd:"+tr.Attr("pwd"),
			"a=setup:"+print.Attr("setup"), "a=fingerprint:"+print.Attr("hash")+" "+print.Text())
		for _, c := range tr.ChildrenNamed(jingle.NSICE, "candidate") {
			lines = append(lines, fmt.Sprintf("a=candidate:%s %s udp %s %s %s typ %s", c.Attr("foundation"), c.Attr("component"), c.Attr("priority"), c.Attr("ip"), c.Attr("port"), c.Attr("type")))
		}
		lines = append(lines, more...)
	}
	mids := ""
	for i, o := range others {
		mids += fmt.Sprintf(" %d %d", 2*i, 2*i+1)
		section(2*i, fmt.Sprintf("audio 9 UDP/TLS/RTP/SAVPF %d", opusPT), fmt.Sprintf("a=rtpmap:%d opus/48000/2", opusPT), "a=rtcp-mux", "a=sendrecv", fmt.Sprintf("a=ssrc:%d cname:x", o.ssrcs[0]))
		section(2*i+1, fmt.Sprintf("video 9 UDP/TLS/RTP/SAVPF %d", vp8PT), fmt.Sprintf("a=rtpmap:%d VP8/90000", vp8PT), "a=rtcp-mux", "a=sendrecv", fmt.Sprintf("a=ssrc:%d cname:x", o.ssrcs[1]))
	}
	mid := 2 * len(others)
	section(mid, "application 9 UDP/DTLS/SCTP webrtc-datachannel", "a=sctp-port:5000")
	head := []string{"v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", fmt.Sprintf("a=group:BUNDLE%s %d", mids, mid)}
	e.w.must(e.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeOffer, SDP: strings.Join(append(head, lines...), "\r\n") + "\r\n"}))
	answer, err := e.pc.CreateAnswer(nil)
	e.w.must(err)
	gathered := webrtc.GatheringCompletePromise(e.pc)
	e.w.must(e.pc.SetLocalDescription(answer))
	<-gathered
	return localTransport(e.pc)
}

// talk sends on both tracks until stop closes.
func (e *webEnd) talk(stop <-chan struct{}) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for seq := uint16(1); ; seq++ {
		for _, t := range e.tracks {
			_ = t.WriteRTP(&rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: seq, Timestamp: 960 * uint32(seq)}, Payload: []byte("words of an opus encoder")})
		}
		select {
		case <-stop:
			return
		case <-tick.C:
		}
	}
}

// gets waits until all of want have come.
func (e *webEnd) gets(from <-chan string, want ...string) {
	e.w.t.Helper()
	late := time.After(patience)
	var seen []string
	for missing := slices.Clone(want); len(missing) > 0; {
		select {
		case x := <-from:
			seen = append(seen, x)
			missing = slices.DeleteFunc(missing, func(m string) bool { return m == x })
		case <-late:
			e.w.t.Fatalf("%s got %q, not %q", e.id, seen, missing)
		}
	}
}

func (e *webEnd) says(m map[string]any) {
	b, err := json.Marshal(m)
	e.w.must(err)
	e.w.must(e.dc.SendText(string(b)))
}

// bundleRequest is that of a focus of WebRTC clients (JVB 1.0, doc/bundle.md): audio, video and data of each end on one transport.
func bundleRequest(conference string, ends ...string) string {
	var audio, video, data string
	for _, e := range ends {
		at := fmt.Sprintf("channel-bundle-id='%s' endpoint='%s' initiator='true' expire='15'", e, e)
		audio += fmt.Sprintf("<channel %s><payload-type xmlns='urn:xmpp:jingle:apps:rtp:1' id='%d' name='opus' clockrate='48000' channels='2'/></channel>", at, opusPT)
		video += fmt.Sprintf("<channel %s><payload-type id='%d' name='VP8' clockrate='90000'/></channel>", at, vp8PT)
		data += "<sctpconnection " + at + " port='5000'/>"
	}
	return "<conference xmlns='" + NS + "'" + conference + "><content name='audio'>" + audio + "</content><content name='video'>" + video + "</content><content name='data'>" + data + "</content></conference>"
}

func contentOf(c *stanza.Element, name string) *stanza.Element {
	for _, x := range c.ChildrenNamed(NS, "content") {
		if x.Attr("name") == name {
			return x
		}
	}
	return nil
}

func bundleOf(c *stanza.Element, id string) *stanza.Element {
	for _, x := range c.ChildrenNamed(NS, "channel-bundle") {
		if x.Attr("id") == id {
			return x.Child(jingle.NSICE, "transport")
		}
	}
	return nil
}

// TestBundle plays a focus of two WebRTC clients that have everything on one transport, and of a third that has audio alone on a transport of its own: each
// hears and sees who is to be heard and seen, under their SSRCs, messages go between those with a data channel, and SSRCs are told in their content.
func TestBundle(t *testing.T) {
	w := newWorld(t, nil)
	r := w.ask(alice, "set", bundleRequest("", "aaaa", "bbbb"))
	c := r.Child(NS, "conference")
	id := c.Attr("id")
	for name, kind := range map[string]string{"audio": "channel", "video": "channel", "data": "sctpconnection"} {
		list := contentOf(c, name).ChildrenNamed(NS, kind)
		if len(list) != 2 {
			t.Fatalf("%s: %s", name, r)
		}
		for i, ch := range list {
			if ch.Attr("channel-bundle-id") != []string{"aaaa", "bbbb"}[i] || ch.Attr("endpoint") != ch.Attr("channel-bundle-id") || ch.Attr("expire") != "15" || ch.Attr("initiator") != "true" ||
				ch.Child(jingle.NSICE, "transport") != nil || ch.Attr("host") != "" || kind == "sctpconnection" && ch.Attr("port") != "5000" {
				t.Errorf("%s: %s", name, ch.AppendXML(nil, NS))
			}
		}
	}
	ends := []*webEnd{newWebEnd(w, "aaaa"), newWebEnd(w, "bbbb")}
	single := newPeer(w, "cccc")
	_, own := w.allocate(alice, id, "audio", "<channel endpoint='cccc' initiator='true'><transport xmlns='urn:xmpp:jingle:transports:ice-udp:1'><rtcp-mux/></transport></channel>")
	for i, e := range ends {
		tr := bundleOf(c, e.id)
		if tr == nil || tr.Child(jingle.NSICE, "rtcp-mux") == nil || len(tr.ChildrenNamed(jingle.NSICE, "candidate")) == 0 ||
			slices.ContainsFunc(tr.ChildrenNamed(jingle.NSICE, "candidate"), func(x *stanza.Element) bool { return x.Attr("component") != "1" }) {
			t.Fatalf("bundle of %s: %s", e.id, r)
		}
		up := fmt.Sprintf("<conference xmlns='%s' id='%s'><channel-bundle id='%s'>%s</channel-bundle></conference>", NS, id, e.id, e.answers(tr, ends[1-i]))
		if a := w.ask(alice, "set", up); a.Type != "result" || bundleOf(a.Child(NS, "conference"), e.id) == nil {
			t.Fatalf("update: %s", a)
		}
	}
	w.allocate(alice, id, "audio", fmt.Sprintf("<channel id='%s'>%s</channel>", own[0].Attr("id"), single.answers(own[0], ends[0].ssrcs[0], ends[1].ssrcs[0])))
	stop := make(chan struct{})
	defer close(stop)
	go single.talk(stop)
	for _, e := range ends {
		go e.talk(stop)
	}
	for i, e := range ends {
		o := ends[1-i]
		e.gets(e.media, fmt.Sprintf("audio %d", o.ssrcs[0]), fmt.Sprintf("video %d", o.ssrcs[1]))
	}
	for heard := map[uint32]bool{}; len(heard) < 2; { // the single one has no video channel
		select {
		case x := <-single.got:
			if x != ends[0].ssrcs[0] && x != ends[1].ssrcs[0] {
				t.Fatalf("SSRC %d", x)
			}
			heard[x] = true
		case <-time.After(patience):
			t.Fatalf("the single one hears %v", heard)
		}
	}
	w.toldIn("audio", ends[0].ssrcs[0])
	w.toldIn("video", ends[1].ssrcs[1])

	for _, e := range ends {
		select {
		case <-e.opened:
		case <-time.After(patience):
			t.Fatalf("%s: no data channel", e.id)
		}
	}
	ends[0].says(map[string]any{"colibriClass": "ClientHello"})
	ends[0].gets(ends[0].texts, `{"colibriClass":"ServerHello"}`)
	ends[0].says(map[string]any{"colibriClass": "EndpointMessage", "from": "bbbb", "to": "", "msgPayload": map[string]any{"n": 1}})
	ends[1].gets(ends[1].texts, `{"colibriClass":"EndpointMessage","from":"aaaa","to":"","msgPayload":{"n":1}}`)
}

// toldIn waits until the focus is told of an SSRC in a content.
func (w *world) toldIn(name string, ssrc uint32) {
	w.t.Helper()
	w.next(fmt.Sprintf("SSRC %d in %s", ssrc, name), func(st *stanza.Stanza) bool {
		c := contentOf(st.Child(NS, "conference"), name)
		return st.Type == "set" && c != nil && slices.ContainsFunc(c.Child(NS, "channel").ChildrenNamed(NS, "ssrc"), func(x *stanza.Element) bool { return x.Text() == fmt.Sprint(ssrc) })
	})
}

// TestBundleEnds: a bundle is there as long as one of its channels; refusals leave it as it was.
func TestBundleEnds(t *testing.T) {
	w := newWorld(t, nil)
	c := w.ask(alice, "set", bundleRequest("", "aaaa")).Child(NS, "conference")
	conference := " id='" + c.Attr("id") + "'"
	frag := bundleOf(c, "aaaa").Attr("ufrag")
	in := func(content string) string {
		return "<conference xmlns='" + NS + "'" + conference + ">" + content + "</conference>"
	}
	audio, video := contentOf(c, "audio").Child(NS, "channel").Attr("id"), contentOf(c, "video").Child(NS, "channel").Attr("id")
	for what, x := range map[string]struct{ content, want string }{
		"another bundle":    {"<content name='audio'><channel id='" + audio + "' channel-bundle-id='bbbb'/></content>", "not-acceptable"},
		"no such bundle":    {"<channel-bundle id='bbbb'><transport xmlns='urn:xmpp:jingle:transports:ice-udp:1' ufrag='u' pwd='p'/></channel-bundle>", "item-not-found"},
		"a bundle of raw":   {"<content name='audio'><channel channel-bundle-id='bbbb'><transport xmlns='" + nsRaw + "'/></channel></content>", "not-acceptable"},
		"raw for a bundle":  {"<channel-bundle id='aaaa'><transport xmlns='" + nsRaw + "'><candidate ip='192.0.2.1'/></transport></channel-bundle>", "not-acceptable"},
		"two for data":      {"<content name='data'><sctpconnection endpoint='cccc' channel-bundle-id='aaaa'/></content>", "not-acceptable"},
		"a payload type":    {"<content name='audio'><channel><payload-type id='128'/></channel></content>", "bad-request"},
		"an SSRC of 33 bit": {"<content name='audio'><channel><source xmlns='urn:xmpp:jingle:apps:rtp:ssma:0' ssrc='4294967296'/></channel></content>", "bad-request"},
		"too many types":    {"<content name='audio'><channel>" + strings.Repeat("<payload-type id='1'/>", maxPayloads+1) + "</channel></content>", "not-acceptable"},
		"too many bundles":  {strings.Repeat("<channel-bundle id='aaaa'/>", maxBundles+1), "not-acceptable"},
		"a long id":         {"<content name='audio'><channel channel-bundle-id='" + strings.Repeat("x", 3*maxID+1) + "'/></content>", "bad-request"},
	} {
		if r := w.ask(alice, "set", in(x.content)); r.Child(stanza.NSClient, "error").Child(stanza.NSStanzas, x.want) == nil {
			t.Errorf("%s: %s, want %s", what, r, x.want)
		}
	}
	// the data channel is known by its end, and is the same again
	r := w.ask(alice, "set", in("<content name='data'><sctpconnection endpoint='aaaa' expire='0' channel-bundle-id='aaaa'/></content>"))
	if got := contentOf(r.Child(NS, "conference"), "data").Child(NS, "sctpconnection"); got.Attr("expire") != "0" || bundleOf(r.Child(NS, "conference"), "aaaa").Attr("ufrag") != frag {
		t.Errorf("the end of data: %s", r)
	}
	r = w.ask(alice, "set", in("<content name='audio'><channel id='"+audio+"' expire='0'/></content><content name='video'><channel id='"+video+"'/></content><channel-bundle id='aaaa'/>"))
	if bundleOf(r.Child(NS, "conference"), "aaaa").Attr("ufrag") != frag {
		t.Errorf("one is left: %s", r)
	}
	r = w.ask(alice, "set", in("<content name='video'><channel id='"+video+"' expire='0'/></content>"))
	if r.Type != "result" || bundleOf(r.Child(NS, "conference"), "aaaa") != nil {
		t.Errorf("none is left: %s", r)
	}
	r = w.ask(alice, "set", in("<content name='audio'><channel endpoint='aaaa' channel-bundle-id='aaaa'/></content>"))
	if tr := bundleOf(r.Child(NS, "conference"), "aaaa"); tr == nil || tr.Attr("ufrag") == frag {
		t.Errorf("the bundle anew: %s", r)
	}
	if n := w.s.Counters(); n["channels"] != 1 || n["conferences"] != 1 {
		t.Errorf("left %v", n)
	}
	// an <sctpconnection/> alone has a transport of its own
	r = w.ask(alice, "set", in("<content name='data'><sctpconnection endpoint='dddd' initiator='true' port='5000'/></content>"))
	if s := contentOf(r.Child(NS, "conference"), "data").Child(NS, "sctpconnection"); s.Child(jingle.NSICE, "transport").Attr("ufrag") == "" || s.Attr("channel-bundle-id") != "" {
		t.Errorf("data alone: %s", r)
	}
}
