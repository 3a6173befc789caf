package jingle

import (
	"net/netip"
	"slices"
	"strconv"
)

// Media is the kind of a content, a source or a group.
type Media string

// The kinds of media; Data is the SCTP content.
const (
	Audio Media = "audio"
	Video Media = "video"
	Data  Media = "data"
)

// PayloadType is a codec in a description (XEP-0167 §4.2).
type PayloadType struct {
	ID        uint8
	Name      string
	ClockRate uint32
	Channels  int // 0: not said, 1
	Params    []Param
	Feedback  []Feedback
}

// Param is one format parameter; Name may be empty (RED).
type Param struct{ Name, Value string }

// Feedback is one RTCP feedback type (XEP-0293): nack with subtype pli, and the like.
type Feedback struct{ Type, Subtype string }

// HdrExt is a negotiated RTP header extension (XEP-0294).
type HdrExt struct {
	ID  uint8
	URI string
}

// Description is what a content says about its RTP.
type Description struct {
	Media    Media
	Payloads []PayloadType
	HdrExts  []HdrExt
}

// Transport is one side of ICE, DTLS and, for data, SCTP (XEP-0176, XEP-0320, XEP-0343).
type Transport struct {
	Ufrag, Pwd   string
	Fingerprints []Fingerprint
	Candidates   []Candidate
	WebSockets   []string // bridge channel URLs
	SCTPPort     int      // 0: none
	Generation   int      // of ICE; > 0 after an in-place restart
}

// Empty tells that nothing was said.
func (t *Transport) Empty() bool {
	return t == nil || t.Ufrag == "" && t.Pwd == "" && len(t.Fingerprints) == 0 && len(t.Candidates) == 0
}

// Fingerprint is of a DTLS certificate.
type Fingerprint struct{ Hash, Setup, Value string }

// Candidate is an ICE candidate (XEP-0176 §5.3). Its address is a literal: names are not resolved.
type Candidate struct {
	Foundation string
	Component  int
	Protocol   string
	Priority   uint32
	Addr       netip.AddrPort
	Type       string
	Related    netip.AddrPort // zero: none
	TCPType    string
	Generation int
}

// Source is one SSRC as signalled.
type Source struct {
	SSRC      uint32
	Media     Media
	Name      string // <endpoint>-a0
	MSID      string // stream and track id
	VideoType string // "" or camera, desktop
}

// Group ties SSRCs together (RFC 5888 style): FID is media and its RTX, SIM the layers low to high, FEC-FR media and its repair packets (RFC 5956 §4.3).
type Group struct {
	Media     Media
	Semantics string
	SSRCs     []uint32
}

// Semantics of groups.
const (
	FID   = "FID"
	SIM   = "SIM"
	FECFR = "FEC-FR"
)

// SourceSet is the sources and groups of one owner.
type SourceSet struct {
	Sources []Source
	Groups  []Group
}

// Empty tells that there is neither source nor group.
func (s SourceSet) Empty() bool { return len(s.Sources) == 0 && len(s.Groups) == 0 }

// Has tells whether ssrc is in the set.
func (s SourceSet) Has(ssrc uint32) bool {
	for _, x := range s.Sources {
		if x.SSRC == ssrc {
			return true
		}
	}
	return false
}

// Clone is a deep copy.
func (s SourceSet) Clone() SourceSet {
	out := SourceSet{Sources: append([]Source(nil), s.Sources...)}
	for _, g := range s.Groups {
		g.SSRCs = append([]uint32(nil), g.SSRCs...)
		out.Groups = append(out.Groups, g)
	}
	return out
}

// Minus is what of s is not in o just so: a source with another name or msid counts as another.
func (s SourceSet) Minus(o SourceSet) SourceSet {
	var out SourceSet
	for _, x := range s.Sources {
		if !slices.Contains(o.Sources, x) {
			out.Sources = append(out.Sources, x)
		}
	}
	for _, g := range s.Groups {
		if !o.hasGroup(g) {
			out.Groups = append(out.Groups, g)
		}
	}
	return out
}

func (s SourceSet) hasGroup(g Group) bool {
	for _, x := range s.Groups {
		if x.key() == g.key() {
			return true
		}
	}
	return false
}

func (g Group) key() string {
	b := append([]byte(g.Media), ' ')
	b = append(b, g.Semantics...)
	for _, s := range g.SSRCs {
		b = append(b, ' ')
		b = strconv.AppendUint(b, uint64(s), 10)
	}
	return string(b)
}

// StripSimulcast is s as receivers see it: of each SIM group only the first SSRC with its RTX, because a bridge sends on that one.
func (s SourceSet) StripSimulcast() SourceSet {
	drop := map[uint32]bool{}
	for _, g := range s.Groups {
		if g.Semantics == SIM && len(g.SSRCs) > 1 {
			for _, x := range g.SSRCs[1:] {
				drop[x] = true
			}
		}
	}
	for _, g := range s.Groups {
		if g.Semantics == FID && len(g.SSRCs) == 2 && drop[g.SSRCs[0]] {
			drop[g.SSRCs[1]] = true
		}
	}
	var out SourceSet
	for _, x := range s.Sources {
		if !drop[x.SSRC] {
			out.Sources = append(out.Sources, x)
		}
	}
	for _, g := range s.Groups {
		if g.Semantics != SIM && len(g.SSRCs) > 0 && !drop[g.SSRCs[0]] {
			out.Groups = append(out.Groups, g)
		}
	}
	return out
}

// Owned is a set with its owner's endpoint id.
type Owned struct {
	Owner string
	SourceSet
}
