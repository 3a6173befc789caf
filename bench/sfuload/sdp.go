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

// Remote is the transport of the other side for Transport.Start. weOffered says that the description is an answer to our offer.
func (d *Description) Remote(weOffered bool) Remote {
	r := Remote{Ufrag: d.Ufrag, Pwd: d.Pwd, Candidates: d.Candidates, Hash: d.Hash, Print: d.Print, Lite: d.Lite, Controlling: weOffered || d.Lite}
	if d.Setup == "active" {
		r.Role = RolePassive
	}
	return r
}

// sectionReader collects what the attributes of a media section say, in whatever order they come.
type sectionReader struct {
	Media
	order  []uint8 // payload types as the section names them
	codecs map[uint8]*Codec
	rtx    map[uint32]uint32 // repair flow by what it repairs
	repair map[uint32]bool
}

// section reads a media section.
func section(m *sdp.MediaDescription) (Media, error) {
	r := &sectionReader{Media: Media{Kind: Kind(m.MediaName.Media), Direction: "sendrecv", Rejected: m.MediaName.Port.Value == 0},
		codecs: map[uint8]*Codec{}, rtx: map[uint32]uint32{}, repair: map[uint32]bool{}}
	for _, f := range m.MediaName.Formats {
		if n, err := strconv.ParseUint(f, 10, 7); err == nil {
			r.codecs[uint8(n)] = &Codec{PT: uint8(n)}
			r.order = append(r.order, uint8(n))
		}
	}
	for _, a := range m.Attributes {
		if err := r.attribute(a); err != nil {
			return Media{}, err
		}
	}
	return r.media(), nil
}

// attribute takes one attribute (RFC 8866 §6 where no other is named).
func (r *sectionReader) attribute(a sdp.Attribute) error {
	first, rest, _ := strings.Cut(a.Value, " ")
	switch a.Key {
	case "mid":
		r.MID = a.Value
	case "sendrecv", "sendonly", "recvonly", "inactive":
		r.Direction = a.Key
	case "bundle-only": // RFC 9143 §6
		r.Rejected = false
	case "rtpmap", "fmtp", "rtcp-fb":
		r.ofCodec(a.Key, first, rest)
	case "extmap": // RFC 8285 §8
		id, _, _ := strings.Cut(first, "/")
		uri, _, _ := strings.Cut(rest, " ")
		if n, err := strconv.Atoi(id); err == nil && n > 0 && n < 256 {
			r.Exts = append(r.Exts, Ext{n, uri})
		}
	case "msid": // RFC 8830 §2
		r.StreamID, r.TrackID = first, rest
	case "rid": // RFC 8851 §4
		r.RIDs = append(r.RIDs, first)
	case "ssrc-group": // RFC 5576 §4.2
		if f := strings.Fields(rest); first == "FID" && len(f) == 2 {
			a, b := ssrc(f[0]), ssrc(f[1])
			r.rtx[a], r.repair[b] = b, true
		}
	case "ssrc":
		return r.source(first, rest)
	}
	return nil
}

// ofCodec takes an attribute of a payload type; feedback may be of all (RFC 4585 §4.2).
func (r *sectionReader) ofCodec(key, pt, rest string) {
	if key == "rtcp-fb" && pt == "*" {
		for _, c := range r.codecs {
			c.Feedback = append(c.Feedback, rest)
		}
		return
	}
	n, err := strconv.ParseUint(pt, 10, 7)
	c := r.codecs[uint8(n)]
	if err != nil || c == nil {
		return
	}
	switch key {
	case "fmtp":
		c.Params = rest
	case "rtcp-fb":
		c.Feedback = append(c.Feedback, rest)
	case "rtpmap":
		if p := strings.Split(rest, "/"); len(p) >= 2 {
			clock, _ := strconv.ParseUint(p[1], 10, 32)
			c.Name, c.Clock = p[0], uint32(clock)
			if len(p) > 2 {
				c.Channels, _ = strconv.Atoi(p[2])
			}
		}
	}
}

// source takes what is said of an SSRC (RFC 5576 §4.1).
func (r *sectionReader) source(number, rest string) error {
	s := ssrc(number)
	if s == 0 {
		return fmt.Errorf("sfuload: SDP: ssrc %q", number)
	}
	i := slices.IndexFunc(r.Sources, func(x Source) bool { return x.SSRC == s })
	if i < 0 {
		i = len(r.Sources)
		r.Sources = append(r.Sources, Source{SSRC: s})
	}
	if v, ok := strings.CutPrefix(rest, "cname:"); ok {
		r.Sources[i].CName = v
	}
	return nil
}

// media is the section when all attributes were read: repair flows belong to their sources.
func (r *sectionReader) media() Media {
	r.Sources = slices.DeleteFunc(r.Sources, func(s Source) bool { return r.repair[s.SSRC] })
	for i := range r.Sources {
		r.Sources[i].RTX = r.rtx[r.Sources[i].SSRC]
	}
	for _, pt := range r.order {
		r.Codecs = append(r.Codecs, *r.codecs[pt])
	}
	return r.Media
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

// pick returns the section with only the named codec, its repair flow and the extensions that the engine knows: what an answer says.
func (m *Media) pick(codec string) Media {
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
