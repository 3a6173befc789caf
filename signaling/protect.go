package signaling

import (
	"hash/maphash"

	"konzil/signaling/jingle"
)

// Video sources can be protected by the bridge: receivers that lose packets get FlexFEC under an SSRC of its own, which the bridge and the receivers
// that understand it (featFEC) are told of in a FEC-FR group (RFC 5956 §4.3), as if it were the sender's. Clients with rewritten SSRCs have no
// place for it in the maps of the bridge channel.

// protected adds the SSRCs of repair packets to what somebody sends, for each video source that has RTX: of simulcast layers the first.
func (m *meeting) protected(set jingle.SourceSet) jingle.SourceSet {
	out := set.Clone()
	for _, g := range set.StripSimulcast().Groups {
		if g.Media != jingle.Video || g.Semantics != jingle.FID {
			continue
		}
		for _, s := range set.Sources {
			if s.SSRC == g.SSRCs[0] {
				s.SSRC = m.repairSSRC(s.SSRC)
				out.Sources = append(out.Sources, s)
				out.Groups = append(out.Groups, jingle.Group{Media: g.Media, Semantics: jingle.FECFR, SSRCs: []uint32{g.SSRCs[0], s.SSRC}})
				break
			}
		}
	}
	return out
}

// repairSSRC is the SSRC of what protects another one: nobody can guess it, so that nobody can take it, and it needs not be kept.
func (m *meeting) repairSSRC(of uint32) uint32 {
	return uint32(maphash.Comparable(m.repairSeed, of)) | 1
}
