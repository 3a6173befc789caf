package sfuload

// known are the codecs that the engine receives.
var known = map[string]bool{"opus": true, "VP8": true, "VP9": true}

// Answer accepts an offer whose writer sends: of each section the first codec that the engine knows, with its repair flow, and the
// extensions that the engine knows. It returns the sections of the answer, in the offer's order, and those that are for
// Transport.Receive. A section without a codec that is known is rejected, one for data channels is taken.
func Answer(offer *Description) (sections []Section, receive []*Media) {
	for i := range offer.Media {
		m := &offer.Media[i]
		if m.Kind == Application {
			sections = append(sections, Section{Media: Media{MID: m.MID, Kind: m.Kind, Rejected: m.Rejected}})
			continue
		}
		picked := Media{MID: m.MID, Kind: m.Kind, Rejected: true}
		if c := m.First(); c != "" && !m.Rejected {
			picked = m.Pick(c)
		}
		switch m.Direction {
		case "sendonly", "sendrecv":
			picked.Direction = "recvonly"
		default:
			picked.Direction = "inactive"
		}
		if !picked.Rejected && picked.Direction == "recvonly" {
			rx := picked
			rx.Direction, rx.Sources = m.Direction, m.Sources
			receive = append(receive, &rx)
		}
		picked.StreamID, picked.TrackID, picked.RIDs = "", "", nil
		sections = append(sections, Section{Media: picked})
	}
	return sections, receive
}

// First is the name of the first codec of the section that the engine knows, "" when there is none.
func (m *Media) First() string {
	for _, c := range m.Codecs {
		if known[c.Name] {
			return c.Name
		}
	}
	return ""
}
