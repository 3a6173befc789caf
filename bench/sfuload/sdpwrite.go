package sfuload

import (
	"fmt"
	"strings"
)

// candidateLine writes the local candidate for an SDP or a trickle message, without "a=".
func (l Local) candidateLine() string {
	return fmt.Sprintf("candidate:1 1 udp 2130706431 %s %d typ host generation 0", l.Candidate.Addr(), l.Candidate.Port())
}

// Section is a media section of a description that we write: m with its numbers, and what we send in it, if anything.
type Section struct {
	Media
	Track *Track
	// UseRIDs announces simulcast by rids (RFC 8853), else by a SIM group of SSRCs.
	UseRIDs bool
}

// WriteSDP writes an offer or answer with all sections bundled. setup is actpass in an offer, active or passive in an answer. version
// grows with each description of a transport.
func WriteSDP(l Local, setup string, version int, sections []Section) string {
	var b strings.Builder
	fmt.Fprintf(&b, "v=0\r\no=- 4611732024 %d IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE", version)
	for _, s := range sections {
		if !s.Rejected {
			b.WriteString(" " + s.MID)
		}
	}
	b.WriteString("\r\na=msid-semantic: WMS *\r\n")
	for i := range sections {
		sections[i].write(&b, l, setup)
	}
	return b.String()
}

func (s *Section) write(b *strings.Builder, l Local, setup string) {
	if s.Kind == Application {
		s.channel(b, l, setup)
		return
	}
	port := 9
	if s.Rejected || len(s.Codecs) == 0 {
		port = 0
	}
	fmt.Fprintf(b, "m=%s %d UDP/TLS/RTP/SAVPF", s.Kind, port)
	for _, c := range s.Codecs {
		fmt.Fprintf(b, " %d", c.PT)
	}
	if len(s.Codecs) == 0 {
		b.WriteString(" 0") // the grammar wants a format even in a rejected section
	}
	fmt.Fprintf(b, "\r\nc=IN IP4 0.0.0.0\r\na=mid:%s\r\n", s.MID)
	if port == 0 {
		b.WriteString("a=inactive\r\n")
		return
	}
	fmt.Fprintf(b, "a=rtcp:9 IN IP4 0.0.0.0\r\na=ice-ufrag:%s\r\na=ice-pwd:%s\r\na=fingerprint:%s %s\r\na=setup:%s\r\na=%s\r\na=rtcp-mux\r\na=rtcp-rsize\r\na=%s\r\na=end-of-candidates\r\n",
		l.Ufrag, l.Pwd, l.Hash, l.Print, setup, or(s.Direction, "sendrecv"), l.candidateLine())
	for _, e := range s.Exts {
		fmt.Fprintf(b, "a=extmap:%d %s\r\n", e.ID, e.URI)
	}
	for _, c := range s.Codecs {
		fmt.Fprintf(b, "a=rtpmap:%d %s/%d", c.PT, c.Name, c.Clock)
		if c.Channels > 1 {
			fmt.Fprintf(b, "/%d", c.Channels)
		}
		b.WriteString("\r\n")
		if c.Params != "" {
			fmt.Fprintf(b, "a=fmtp:%d %s\r\n", c.PT, c.Params)
		}
		for _, f := range c.Feedback {
			fmt.Fprintf(b, "a=rtcp-fb:%d %s\r\n", c.PT, f)
		}
	}
	if s.Track != nil {
		s.track(b)
	}
}

// channel writes a section for data channels (RFC 8841).
func (s *Section) channel(b *strings.Builder, l Local, setup string) {
	port := 9
	if s.Rejected {
		port = 0
	}
	fmt.Fprintf(b, "m=application %d UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:%s\r\n", port, s.MID)
	if !s.Rejected {
		fmt.Fprintf(b, "a=ice-ufrag:%s\r\na=ice-pwd:%s\r\na=fingerprint:%s %s\r\na=setup:%s\r\na=sctp-port:5000\r\na=%s\r\na=end-of-candidates\r\n",
			l.Ufrag, l.Pwd, l.Hash, l.Print, setup, l.candidateLine())
	}
}

// track announces what is sent in the section.
func (s *Section) track(b *strings.Builder) {
	t := s.Track
	msid := or(s.StreamID, "stream-"+t.Name) + " " + or(s.TrackID, "track-"+t.Name)
	fmt.Fprintf(b, "a=msid:%s\r\n", msid)
	if len(t.Layers) > 1 && s.UseRIDs {
		rids := make([]string, len(t.Layers))
		for i, l := range t.Layers {
			fmt.Fprintf(b, "a=rid:%s send\r\n", l.RID)
			rids[i] = l.RID
		}
		fmt.Fprintf(b, "a=simulcast:send %s\r\n", strings.Join(rids, ";"))
		return
	}
	_, rtx, _ := s.Codec(t.Codec)
	if len(t.Layers) > 1 {
		b.WriteString("a=ssrc-group:SIM")
		for _, l := range t.Layers {
			fmt.Fprintf(b, " %d", l.SSRC)
		}
		b.WriteString("\r\n")
	}
	for _, l := range t.Layers {
		if l.RTX != 0 && rtx != 0 {
			fmt.Fprintf(b, "a=ssrc-group:FID %d %d\r\n", l.SSRC, l.RTX)
		}
	}
	for _, l := range t.Layers {
		for _, x := range []uint32{l.SSRC, l.RTX} {
			if x != 0 && (x == l.SSRC || rtx != 0) {
				fmt.Fprintf(b, "a=ssrc:%d cname:%s\r\na=ssrc:%d msid:%s\r\n", x, t.Name, x, msid)
			}
		}
	}
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
