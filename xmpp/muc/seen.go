package muc

import (
	"strings"

	"konzil/xmpp/stanza"
)

const (
	nsMarkers = "urn:xmpp:chat-markers:0"

	// seenKey begins the name of a value in the ledger's channel of a room: what somebody has seen; the bare address follows.
	seenKey = "seen "
)

// Membership is a room with an archive that somebody belongs to, or is inside now.
type Membership struct {
	Room       stanza.JID
	OccupantID string // of that person (XEP-0421)
	Seen       string // id of the last message that a client of theirs has marked as displayed (XEP-0333), "" for none
}

// Memberships lists the rooms with an archive that bare belongs to or is inside, for the list of conversations (XEP-0430), by name.
func (s *Service) Memberships(bare stanza.JID) (out []Membership) {
	for _, r := range s.all() {
		r.mu.Lock()
		if !r.dead && r.archived() && (r.aff[bare].aff >= member || r.inside(bare)) {
			out = append(out, Membership{r.jid, r.occupantID(bare), r.seen[bare]})
		}
		r.mu.Unlock()
	}
	return out
}

// inside tells whether a client of bare is in the room. The room is locked, as for all that follows.
func (r *room) inside(bare stanza.JID) bool {
	for _, o := range r.order {
		if o.bare() == bare {
			return true
		}
	}
	return false
}

// marked takes note of a message that says up to where the room was read (XEP-0333 §4): what people of this server have seen is asked for by Memberships.
func (r *room) marked(o *occupant, st *stanza.Stanza) {
	id := st.Child(nsMarkers, "displayed").Attr("id")
	bare := o.bare()
	if id == "" || !r.archived() || !r.svc.local[bare.Domain()] || len(r.seen) >= r.svc.cfg.MaxAffiliations {
		return
	}
	for i := range r.past { // some clients name it by the id of its author
		if r.past[i].st.ID == id {
			id = r.past[i].id
			break
		}
	}
	r.see(bare, id)
	r.noteSeen(bare)
}

func (r *room) see(bare stanza.JID, id string) {
	if r.seen == nil {
		r.seen = map[stanza.JID]string{}
	}
	r.seen[bare] = id
}

// noteSeen has the ledger remember what somebody has seen.
func (r *room) noteSeen(bare stanza.JID) {
	if r.remembered() {
		r.ch.Set(seenKey+bare.String(), []byte(r.seen[bare]))
	}
}

// restoreSeen takes back a value of the ledger; false: it is about something else.
func (r *room) restoreSeen(key string, value []byte) bool {
	who, ok := strings.CutPrefix(key, seenKey)
	if !ok {
		return false
	}
	if j, err := stanza.ParseJID(who); err == nil {
		r.see(j, string(value))
	} else {
		r.ch.Set(key, nil)
	}
	return true
}
