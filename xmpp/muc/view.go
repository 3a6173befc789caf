package muc

import (
	"time"

	"konzil/xmpp/stanza"
)

// Occupant is what other parts of the server may know of one who is inside.
type Occupant struct {
	Nick        string
	Address     stanza.JID // room@service/nick
	Real        stanza.JID // full JID of the session
	Affiliation string
	Role        string
	Moderator   bool
	Admin       bool // one of Config.Admins
}

// RoomInfo is a room for an operator's list.
type RoomInfo struct {
	Room      stanza.JID
	Meeting   bool
	MeetingID string
	Created   time.Time
	Occupants int
	Subject   string
}

// Rooms lists all rooms, by name.
func (s *Service) Rooms() []RoomInfo {
	var out []RoomInfo
	for _, r := range s.all() {
		r.mu.Lock()
		if !r.dead {
			out = append(out, RoomInfo{r.jid, r.meeting, r.meetingID, r.created, len(r.order), r.subject.text})
		}
		r.mu.Unlock()
	}
	return out
}

// MeetingID is the UUID of this life of a room; false if there is no such room.
func (s *Service) MeetingID(room stanza.JID) (string, bool) {
	r := s.room(room)
	if r == nil {
		return "", false
	}
	return r.meetingID, true
}

// Occupant finds who is in room with the full JID real.
func (s *Service) Occupant(room, real stanza.JID) (Occupant, bool) {
	r := s.room(room)
	if r == nil {
		return Occupant{}, false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	o := r.sessions[real]
	if o == nil {
		return Occupant{}, false
	}
	return r.view(o, o.sessionOf(real)), true
}

// Occupants lists the sessions in room, in the order of their joins; nil if there is no such room.
func (s *Service) Occupants(room stanza.JID) []Occupant {
	r := s.room(room)
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []Occupant
	for _, o := range r.order {
		for _, x := range o.sessions {
			out = append(out, r.view(o, x))
		}
	}
	return out
}

func (r *room) view(o *occupant, s *session) Occupant {
	return Occupant{
		Nick: o.nick, Address: o.addr, Real: s.jid, Affiliation: r.affiliation(s.jid.Bare()).String(), Role: o.role.String(),
		Moderator: o.role == moderator, Admin: r.svc.admins[s.jid.Bare()],
	}
}

// Destroy ends a room for an operator: everybody is sent out with reason. False if there is no such room.
func (s *Service) Destroy(room stanza.JID, reason string) bool {
	r := s.room(room)
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.flush()
	if r.dead {
		return false
	}
	st := stanza.NewIQ("result", "", r.jid, r.jid) // an answer: nobody is told if storing fails but the log
	r.stored(st, r.wipe, func() {})
	el := stanza.NewElement(nsUser, "destroy")
	if reason != "" {
		el.Add(stanza.TextElement(nsUser, "reason", reason))
	}
	r.destroy(el)
	return true
}

// Meeting tells whether room is there and was made by an admin.
func (s *Service) Meeting(room stanza.JID) bool {
	r := s.room(room)
	return r != nil && r.meeting
}

// Standing tells whether the session real is in room, and whether as a moderator.
func (s *Service) Standing(room, real stanza.JID) (inside, moderator bool) {
	o, ok := s.Occupant(room, real)
	return ok, ok && o.Moderator
}

// Recipients are the sessions in room, in the order of their joins.
func (s *Service) Recipients(room stanza.JID) []stanza.JID {
	r := s.room(room)
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]stanza.JID(nil), r.recipients...)
}
