package meet

import (
	"fmt"
	"slices"
	"strings"

	"github.com/pion/sdp/v3"
)

// Section is one media section of the SDP between the client and its own PeerConnection. The first ones carry what the client sends;
// each further one is a source of somebody else.
type Section struct {
	Kind      string // audio, video, application
	Direction string // as the remote side sees it: sendrecv, sendonly, recvonly, inactive
	Remotes   []Remote
}

// Offer writes the session as the remote side's SDP offer with the given sections; their index is the mid. version grows with each offer.
func (s *Session) Offer(sections []Section, version int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "v=0\r\no=- 1923518516 %d IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=msid-semantic: WMS *\r\na=group:BUNDLE", version)
	for i := range sections {
		fmt.Fprintf(&b, " %d", i)
	}
	b.WriteString("\r\n")
	for i, sec := range sections {
		s.section(&b, i, sec)
	}
	return b.String()
}

func (s *Session) section(b *strings.Builder, mid int, sec Section) {
	name := sec.Kind
	if name == "application" {
		name = "data"
	}
	ct := s.Content(name)
	if ct == nil {
		return
	}
	if sec.Kind == "application" {
		b.WriteString("m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n")
	} else {
		fmt.Fprintf(b, "m=%s 9 UDP/TLS/RTP/SAVPF", sec.Kind)
		for _, c := range ct.Usable(s.Video) {
			fmt.Fprintf(b, " %d", c.ID)
		}
		b.WriteString("\r\n")
	}
	t := &s.Contents[0].Transport
	if ct.Transport.Ufrag != "" {
		t = &ct.Transport
	}
	fmt.Fprintf(b, "c=IN IP4 0.0.0.0\r\na=mid:%d\r\na=ice-ufrag:%s\r\na=ice-pwd:%s\r\na=fingerprint:%s %s\r\na=setup:%s\r\n",
		mid, t.Ufrag, t.Pwd, t.Hash, t.Print, t.Setup)
	if sec.Kind == "application" {
		fmt.Fprintf(b, "a=sctp-port:%d\r\na=max-message-size:262144\r\n", ct.SCTPPort)
	} else {
		fmt.Fprintf(b, "a=%s\r\na=rtcp-mux\r\na=rtcp-rsize\r\n", sec.Direction)
		ct.codecLines(b, s.Video)
		for _, r := range sec.Remotes {
			r.lines(b)
		}
	}
	if mid == 0 {
		for _, c := range t.Candidates {
			c.line(b)
		}
		b.WriteString("a=end-of-candidates\r\n")
	}
}

// Usable are the codecs that the client can send: Opus, the named video codec (VP8 for ""), and its repair flow.
func (ct *Content) Usable(video string) []Codec {
	var out []Codec
	apt := ""
	for _, c := range ct.Codecs {
		switch {
		case strings.EqualFold(c.Name, "opus"):
			out = append(out, c)
		case strings.EqualFold(c.Name, or(video, "VP8")) && apt == "":
			apt = fmt.Sprintf("apt=%d", c.ID)
			out = append(out, c)
		}
	}
	for _, c := range ct.Codecs {
		if strings.EqualFold(c.Name, "rtx") && slices.Contains(c.Params, apt) {
			out = append(out, c)
		}
	}
	return out
}

// UsableExt says whether the client knows a header extension.
func UsableExt(uri string) bool {
	return uri == extAudioLevel || uri == extTWCC || uri == extAbsSendTime
}

func (ct *Content) codecLines(b *strings.Builder, video string) {
	for _, c := range ct.Usable(video) {
		fmt.Fprintf(b, "a=rtpmap:%d %s/%d", c.ID, c.Name, c.Clock)
		if c.Channels > 1 {
			fmt.Fprintf(b, "/%d", c.Channels)
		}
		b.WriteString("\r\n")
		if len(c.Params) > 0 {
			fmt.Fprintf(b, "a=fmtp:%d %s\r\n", c.ID, strings.Join(c.Params, ";"))
		}
		for _, f := range c.FB {
			fmt.Fprintf(b, "a=rtcp-fb:%d %s\r\n", c.ID, f)
		}
	}
	for _, x := range ct.Exts {
		if UsableExt(x.URI) {
			fmt.Fprintf(b, "a=extmap:%d %s\r\n", x.ID, x.URI)
		}
	}
}

func (r *Remote) lines(b *strings.Builder) {
	// The track is named by its SSRC: source names move between SSRCs when the bridge rewrites.
	msid := fmt.Sprintf("ssrc-%d track-%d", r.SSRC, r.SSRC)
	if r.RTX != 0 {
		fmt.Fprintf(b, "a=ssrc-group:FID %d %d\r\n", r.SSRC, r.RTX)
	}
	for _, ssrc := range []uint32{r.SSRC, r.RTX} {
		if ssrc != 0 {
			fmt.Fprintf(b, "a=ssrc:%d cname:bridge\r\na=ssrc:%d msid:%s\r\n", ssrc, ssrc, msid)
		}
	}
	fmt.Fprintf(b, "a=msid:%s\r\n", msid)
}

func (c *Candidate) line(b *strings.Builder) {
	fmt.Fprintf(b, "a=candidate:%s %s %s %s %s %s typ %s", c.Foundation, c.Component, c.Protocol, c.Priority, c.IP, c.Port, c.Type)
	if c.RelAddr != "" && c.RelPort != "" {
		fmt.Fprintf(b, " raddr %s rport %s", c.RelAddr, c.RelPort)
	}
	if c.TCPType != "" {
		fmt.Fprintf(b, " tcptype %s", c.TCPType)
	}
	b.WriteString("\r\n")
}

// LocalSource is something that the client sends.
type LocalSource struct {
	Name    string
	Kind    string // audio, video
	Desktop bool
	SSRCs   []uint32
	RTX     []uint32 // by position
}

// xml writes the source in XML form, for the description of its content.
func (l *LocalSource) xml(b *strings.Builder) {
	one := func(ssrc uint32) {
		fmt.Fprintf(b, "<source xmlns='%s' ssrc='%d' name='%s'", nsSSMA, ssrc, esc(l.Name))
		if l.Kind == "video" {
			vt := "camera"
			if l.Desktop {
				vt = "desktop"
			}
			fmt.Fprintf(b, " videoType='%s'", vt)
		}
		fmt.Fprintf(b, "><parameter name='msid' value='%s-stream %s-track'/></source>", esc(l.Name), esc(l.Name))
	}
	group := func(sem string, ssrcs ...uint32) {
		fmt.Fprintf(b, "<ssrc-group xmlns='%s' semantics='%s'>", nsSSMA, sem)
		for _, x := range ssrcs {
			fmt.Fprintf(b, "<source ssrc='%d'/>", x)
		}
		b.WriteString("</ssrc-group>")
	}
	for _, x := range l.SSRCs {
		one(x)
	}
	for _, x := range l.RTX {
		one(x)
	}
	if len(l.SSRCs) > 1 {
		group("SIM", l.SSRCs...)
	}
	for i, x := range l.RTX {
		group("FID", l.SSRCs[i], x)
	}
}

// local is the client's transport as its PeerConnection's answer tells it.
func localTransport(answer string) (Transport, error) {
	var d sdp.SessionDescription
	if err := d.UnmarshalString(answer); err != nil {
		return Transport{}, fmt.Errorf("meet: answer: %w", err)
	}
	var t Transport
	get := func(key string) string {
		if v, ok := d.Attribute(key); ok {
			return v
		}
		for _, m := range d.MediaDescriptions {
			if v, ok := m.Attribute(key); ok {
				return v
			}
		}
		return ""
	}
	t.Ufrag, t.Pwd, t.Setup = get("ice-ufrag"), get("ice-pwd"), get("setup")
	hash, print, ok := strings.Cut(get("fingerprint"), " ")
	if !ok || t.Ufrag == "" || t.Pwd == "" {
		return t, fmt.Errorf("meet: answer lacks ICE credentials or fingerprint")
	}
	t.Hash, t.Print = hash, print
	return t, nil
}

// Accept writes the session-accept for the local answer (XEP-0166 §6.3 and what Jitsi adds): the codecs in use, the local sources, and
// the transport without candidates: the bridge learns the address from the connectivity checks.
func (s *Session) Accept(responder, answer string, local []LocalSource, lastN int) (string, error) {
	t, err := localTransport(answer)
	if err != nil {
		return "", err
	}
	return s.accept(responder, t, local, lastN), nil
}

func (s *Session) accept(responder string, t Transport, local []LocalSource, lastN int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<jingle xmlns='%s' action='session-accept' initiator='%s' responder='%s' sid='%s'>", nsJingle, esc(s.Initiator), esc(responder), esc(s.SID))
	for i := range s.Contents {
		ct := &s.Contents[i]
		fmt.Fprintf(&b, "<content creator='initiator' name='%s' senders='both'><description xmlns='%s' media='%s'>", esc(ct.Name), nsRTP, esc(ct.Media))
		if ct.Media != "application" {
			ct.acceptCodecs(&b, s.Video)
			for _, l := range local {
				if l.Kind == ct.Media {
					l.xml(&b)
				}
			}
			if ct.Media == "video" && lastN >= -1 {
				fmt.Fprintf(&b, "<initial-last-n xmlns='jitsi:colibri2' value='%d'/>", lastN)
			}
		}
		b.WriteString("<rtcp-mux/></description>")
		fmt.Fprintf(&b, "<transport xmlns='%s' ufrag='%s' pwd='%s'><rtcp-mux/><fingerprint xmlns='%s' hash='%s' setup='%s'>%s</fingerprint>", nsICE, esc(t.Ufrag),
			esc(t.Pwd), nsDTLS, esc(t.Hash), esc(t.Setup), esc(t.Print))
		if ct.SCTPPort != 0 {
			fmt.Fprintf(&b, "<sctpmap xmlns='%s' number='5000' protocol='webrtc-datachannel' streams='1024'/>", nsSCTP)
		}
		b.WriteString("</transport></content>")
	}
	fmt.Fprintf(&b, "<group xmlns='%s' semantics='BUNDLE'>", nsGrouping)
	for i := range s.Contents {
		fmt.Fprintf(&b, "<content name='%s'/>", esc(s.Contents[i].Name))
	}
	b.WriteString("</group></jingle>")
	return b.String()
}

func (ct *Content) acceptCodecs(b *strings.Builder, video string) {
	for _, c := range ct.Usable(video) {
		fmt.Fprintf(b, "<payload-type id='%d' name='%s' clockrate='%d'", c.ID, esc(c.Name), c.Clock)
		if c.Channels > 1 {
			fmt.Fprintf(b, " channels='%d'", c.Channels)
		}
		b.WriteString(">")
		for _, p := range c.Params {
			if n, v, ok := strings.Cut(p, "="); ok {
				fmt.Fprintf(b, "<parameter name='%s' value='%s'/>", esc(n), esc(v))
			}
		}
		for _, f := range c.FB {
			t, sub, _ := strings.Cut(f, " ")
			fmt.Fprintf(b, "<rtcp-fb xmlns='%s' type='%s'", nsFB, esc(t))
			if sub != "" {
				fmt.Fprintf(b, " subtype='%s'", esc(sub))
			}
			b.WriteString("/>")
		}
		b.WriteString("</payload-type>")
	}
	for _, x := range ct.Exts {
		if UsableExt(x.URI) {
			fmt.Fprintf(b, "<rtp-hdrext xmlns='%s' id='%d' uri='%s'/>", nsHdrExt, x.ID, esc(x.URI))
		}
	}
	fmt.Fprintf(b, "<extmap-allow-mixed xmlns='%s'/>", nsHdrExt)
}

// SourceChange writes a source-add or source-remove for one local source.
func (s *Session) SourceChange(action string, l LocalSource) string {
	var b strings.Builder
	fmt.Fprintf(&b, "<jingle xmlns='%s' action='%s' initiator='%s' sid='%s'><content creator='initiator' name='%s' senders='both'><description xmlns='%s' media='%s'>",
		nsJingle, action, esc(s.Initiator), esc(s.SID), l.Kind, nsRTP, l.Kind)
	l.xml(&b)
	b.WriteString("</description></content></jingle>")
	return b.String()
}
