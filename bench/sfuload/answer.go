package sfuload

import "net/netip"

// known are the codecs that the engine receives.
var known = map[string]bool{"opus": true, "VP8": true, "VP9": true}

// answer accepts an offer whose writer sends: of each section the first codec that the engine knows, with its repair flow, and the
// extensions that the engine knows. It returns the sections of the answer, in the offer's order, and those that are for
// Transport.Receive. A section without a codec that is known is rejected, one for data channels is taken.
func answer(offer *Description) (sections []Section, receive []*Media) {
	for i := range offer.Media {
		m := &offer.Media[i]
		if m.Kind == Application {
			sections = append(sections, Section{Media: Media{MID: m.MID, Kind: m.Kind, Rejected: m.Rejected}})
			continue
		}
		picked := Media{MID: m.MID, Kind: m.Kind, Rejected: true}
		if c := m.first(); c != "" && !m.Rejected {
			picked = m.pick(c)
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

// Receiver is the transport of a participant to which a server makes the offers: each is answered, the first one connects.
type Receiver struct {
	Connector Connector
	Label     string // of the transport, as Connector.Transport has it
	t         Transport
	version   int // of the answers
	started   bool
}

// open makes the transport unless it is there.
func (r *Receiver) open() (err error) {
	if r.t == nil {
		r.t, err = r.Connector.Transport(r.Label)
	}
	return err
}

// AddCandidates takes what came by trickling, also before the first offer.
func (r *Receiver) AddCandidates(c ...netip.AddrPort) error {
	if err := r.open(); err != nil {
		return err
	}
	r.t.AddCandidates(c...)
	return nil
}

// Close releases the socket, if there is one.
func (r *Receiver) Close() {
	if r.t != nil {
		r.t.Close()
	}
}

// Answer accepts the offer sdp and gives the text of the answer. Connect with what was offered follows once the answer is sent.
func (r *Receiver) Answer(sdp string) (text string, offer *Description, err error) {
	if offer, err = ParseSDP(sdp); err != nil {
		return "", nil, err
	}
	if err = r.open(); err != nil {
		return "", nil, err
	}
	sections, receive := answer(offer)
	for _, m := range receive {
		if err = r.t.Receive(m); err != nil {
			return "", nil, err
		}
	}
	r.version++
	return WriteSDP(r.t.Local(), "active", r.version, sections), offer, nil
}

// Connect starts the transport after the first answer; after a later one it takes the candidates.
func (r *Receiver) Connect(offer *Description) error {
	if r.started {
		r.t.AddCandidates(offer.Candidates...)
		return nil
	}
	r.started = true
	return r.t.Start(offer.Remote(false))
}

// first is the name of the first codec of the section that the engine knows, "" when there is none.
func (m *Media) first() string {
	for _, c := range m.Codecs {
		if known[c.Name] {
			return c.Name
		}
	}
	return ""
}
