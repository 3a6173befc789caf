package sfuload

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/pion/sdp/v3"
)

// Application is the kind of a data channel section. The engine has no SCTP: such a section is taken, where a server would not go on without
// it, and then no association comes up in it.
const Application Kind = "application"

// Description is a parsed SDP.
type Description struct {
	Ufrag, Pwd  string
	Hash, Print string
	Setup       string // active, passive, actpass
	Lite        bool
	Candidates  []netip.AddrPort
	Media       []Media
}

// ParseSDP reads an offer or answer in which everything is bundled (RFC 9143): ICE and DTLS are those of the first section that has them.
func ParseSDP(text string) (*Description, error) {
	var s sdp.SessionDescription
	if err := s.UnmarshalString(text); err != nil {
		return nil, fmt.Errorf("sfuload: SDP: %w", err)
	}
	d := &Description{}
	d.transport(s.Attributes)
	for _, m := range s.MediaDescriptions {
		d.transport(m.Attributes)
		md, err := section(m)
		if err != nil {
			return nil, err
		}
		d.Media = append(d.Media, md)
	}
	if d.Ufrag == "" || d.Pwd == "" || d.Print == "" {
		return nil, errors.New("sfuload: SDP without ICE credentials or fingerprint")
	}
	return d, nil
}

func (d *Description) transport(attrs []sdp.Attribute) {
	set := func(to *string, v string) {
		if *to == "" {
			*to = v
		}
	}
	for _, a := range attrs {
		switch a.Key {
		case "ice-ufrag":
			set(&d.Ufrag, a.Value)
		case "ice-pwd":
			set(&d.Pwd, a.Value)
		case "fingerprint":
			if h, p, ok := strings.Cut(a.Value, " "); ok && d.Print == "" {
				d.Hash, d.Print = strings.ToLower(h), strings.ToUpper(strings.TrimSpace(p))
			}
		case "setup":
			set(&d.Setup, a.Value)
		case "ice-lite":
			d.Lite = true
		case "candidate":
			if ap, ok := ParseCandidate(a.Value); ok && !slices.Contains(d.Candidates, ap) {
				d.Candidates = append(d.Candidates, ap)
			}
		}
	}
}

// ParseCandidate reads a candidate attribute, with or without "candidate:" (RFC 8839 §5.1). It is false for those that the engine cannot
// use: TCP, component 2, mDNS names.
func ParseCandidate(s string) (netip.AddrPort, bool) {
	f := strings.Fields(strings.TrimPrefix(strings.TrimPrefix(s, "a="), "candidate:"))
	if len(f) < 8 || f[1] != "1" || !strings.EqualFold(f[2], "udp") {
		return netip.AddrPort{}, false
	}
	ip, err := netip.ParseAddr(f[4])
	port, perr := strconv.ParseUint(f[5], 10, 16)
	if err != nil || perr != nil || port == 0 {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(ip.Unmap(), uint16(port)), true
}

// Candidate writes the local candidate for an SDP or a trickle message, without "a=".
func (l Local) CandidateLine() string {
	return fmt.Sprintf("candidate:1 1 udp 2130706431 %s %d typ host generation 0", l.Candidate.Addr(), l.Candidate.Port())
}

// Remote is the transport of the other side for Transport.Start. weOffered says that the description is an answer to our offer.
func (d *Description) Remote(weOffered bool) Remote {
	r := Remote{Ufrag: d.Ufrag, Pwd: d.Pwd, Candidates: d.Candidates, Hash: d.Hash, Print: d.Print, Lite: d.Lite, Controlling: weOffered || d.Lite}
	if d.Setup == "active" {
		r.Role = RolePassive
	}
	return r
}

func section(m *sdp.MediaDescription) (Media, error) {
	md := Media{Kind: Kind(m.MediaName.Media), Direction: "sendrecv", Rejected: m.MediaName.Port.Value == 0}
	codecs := map[uint8]*Codec{}
	var order []uint8
	for _, f := range m.MediaName.Formats {
		if n, err := strconv.ParseUint(f, 10, 7); err == nil {
			codecs[uint8(n)] = &Codec{PT: uint8(n)}
			order = append(order, uint8(n))
		}
	}
	rtx := map[uint32]uint32{}
	repair := map[uint32]bool{}
	for _, a := range m.Attributes {
		pt, rest, _ := strings.Cut(a.Value, " ")
		n, err := strconv.ParseUint(pt, 10, 7)
		var c *Codec
		if err == nil {
			c = codecs[uint8(n)]
		}
		switch a.Key {
		case "mid":
			md.MID = a.Value
		case "sendrecv", "sendonly", "recvonly", "inactive":
			md.Direction = a.Key
		case "bundle-only":
			md.Rejected = false
		case "rtpmap":
			if p := strings.Split(rest, "/"); c != nil && len(p) >= 2 {
				clock, _ := strconv.ParseUint(p[1], 10, 32)
				c.Name, c.Clock = p[0], uint32(clock)
				if len(p) > 2 {
					c.Channels, _ = strconv.Atoi(p[2])
				}
			}
		case "fmtp":
			if c != nil {
				c.Params = rest
			}
		case "rtcp-fb":
			if pt == "*" {
				for _, x := range codecs {
					x.Feedback = append(x.Feedback, rest)
				}
			} else if c != nil {
				c.Feedback = append(c.Feedback, rest)
			}
		case "extmap":
			id, _, _ := strings.Cut(pt, "/")
			uri, _, _ := strings.Cut(rest, " ")
			if n, err := strconv.Atoi(id); err == nil && n > 0 && n < 256 {
				md.Exts = append(md.Exts, Ext{n, uri})
			}
		case "msid":
			md.StreamID, md.TrackID = pt, rest
		case "rid":
			md.RIDs = append(md.RIDs, pt)
		case "ssrc-group":
			if f := strings.Fields(rest); pt == "FID" && len(f) == 2 {
				a, b := ssrc(f[0]), ssrc(f[1])
				rtx[a], repair[b] = b, true
			}
		case "ssrc":
			s := ssrc(pt)
			if s == 0 {
				return md, fmt.Errorf("sfuload: SDP: ssrc %q", pt)
			}
			i := slices.IndexFunc(md.Sources, func(x Source) bool { return x.SSRC == s })
			if i < 0 {
				i = len(md.Sources)
				md.Sources = append(md.Sources, Source{SSRC: s})
			}
			if v, ok := strings.CutPrefix(rest, "cname:"); ok {
				md.Sources[i].CName = v
			}
		}
	}
	md.Sources = slices.DeleteFunc(md.Sources, func(s Source) bool { return repair[s.SSRC] })
	for i := range md.Sources {
		md.Sources[i].RTX = rtx[md.Sources[i].SSRC]
	}
	for _, pt := range order {
		md.Codecs = append(md.Codecs, *codecs[pt])
	}
	return md, nil
}

func ssrc(s string) uint32 {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0
	}
	return uint32(n)
}

// Codec finds a codec of the section by its name, and the payload type of its repair flow, 0 for none. It is false when there is none.
func (m *Media) Codec(name string) (c Codec, rtx uint8, ok bool) {
	for _, x := range m.Codecs {
		if strings.EqualFold(x.Name, name) {
			apt := "apt=" + strconv.Itoa(int(x.PT))
			for _, y := range m.Codecs {
				if strings.EqualFold(y.Name, "rtx") && slices.Contains(strings.Split(y.Params, ";"), apt) {
					rtx = y.PT
				}
			}
			return x, rtx, true
		}
	}
	return Codec{}, 0, false
}

// Pick returns the section with only the named codec, its repair flow and the extensions that the engine knows: what an answer says.
func (m *Media) Pick(codec string) Media {
	out := *m
	out.Codecs, out.Exts, out.Sources = nil, nil, nil
	if c, rtx, ok := m.Codec(codec); ok {
		out.Codecs = append(out.Codecs, c)
		for _, x := range m.Codecs {
			if rtx != 0 && x.PT == rtx {
				out.Codecs = append(out.Codecs, x)
			}
		}
	}
	for _, e := range m.Exts {
		switch e.URI {
		case ExtAudioLevel, ExtTWCC, ExtAbsSendTime, ExtMID, ExtRID, ExtRepairedRID:
			out.Exts = append(out.Exts, e)
		}
	}
	return out
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
		l.Ufrag, l.Pwd, l.Hash, l.Print, setup, or(s.Direction, "sendrecv"), l.CandidateLine())
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
			l.Ufrag, l.Pwd, l.Hash, l.Print, setup, l.CandidateLine())
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
