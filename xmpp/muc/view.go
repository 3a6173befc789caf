package muc

import (
	"crypto/subtle"
	"time"

	"konzil/xmpp/jitsi"
	"konzil/xmpp/stanza"
)

// Occupant is what other parts of the server may know of one who is inside.
type Occupant struct {
	Nick        string
	Name        string     // display name, "" for none
	Email       string     // as the client says
	Address     stanza.JID // room@service/nick
	Real        stanza.JID // full JID of the session
	Affiliation string
	Role        string
	Moderator   bool
	Admin       bool // one of Config.Admins
	Hidden      bool // by Config.Hidden
	Gateway     bool // a telephone gateway, as its presence says
}

// RoomInfo is a room for an operator's list.
type RoomInfo struct {
	Room      stanza.JID
	Meeting   bool
	MeetingID string
	Created   time.Time
	Occupants int
}

// Rooms lists all rooms, by name.
func (s *Service) Rooms() []RoomInfo {
	var out []RoomInfo
	for _, r := range s.all() {
		r.mu.Lock()
		if !r.dead {
			out = append(out, RoomInfo{r.jid, r.meeting, r.meetingID, r.created, len(r.order)})
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
		Nick: o.nick, Name: displayName(s.presence), Email: childText(s.presence, "email"), Gateway: isGateway(s.presence), Address: o.addr, Real: s.jid, Affiliation: r.affiliation(s.jid.Bare()).String(), Role: o.role.String(),
		Moderator: o.role == moderator, Admin: r.svc.admins[s.jid.Bare()],
		Hidden: r.svc.cfg.Hidden != nil && r.svc.cfg.Hidden(s.jid),
	}
}

// isGateway tells that presence is that of a telephone gateway, which has the feature of jigasi in it.
func isGateway(children []*stanza.Element) bool {
	for _, e := range children {
		if e.Local != "features" {
			continue
		}
		for _, f := range e.Children() {
			if f.Local == "feature" && f.Attr("var") == "http://jitsi.org/protocol/jigasi" {
				return true
			}
		}
	}
	return false
}

// childText is the text of a presence's child without a namespace of its own.
func childText(children []*stanza.Element, local string) string {
	for _, e := range children {
		if e.Space == stanza.NSClient && e.Local == local {
			if text := e.Text(); len(text) <= maxName {
				return text
			}
		}
	}
	return ""
}

// Affiliation is that of a bare address in the room jid: "none" too if there is no such room.
func (s *Service) Affiliation(jid, bare stanza.JID) string {
	aff := none
	s.look(jid, func(r *room) { aff = r.affiliation(bare.Bare()) })
	return aff.String()
}

// Nick is that of the session real in the room jid, "" if it is not there.
func (s *Service) Nick(jid, real stanza.JID) (nick string) {
	s.look(jid, func(r *room) {
		if o := r.sessions[real]; o != nil {
			nick = o.nick
		}
	})
	return nick
}

// Info is a field that SetInfo or Opening gave, "" if there is none.
func (s *Service) Info(jid stanza.JID, name string) (value string) {
	s.look(jid, func(r *room) { value = r.info[name] })
	return value
}

// Stage is the meeting jid as those see it who are shown it from outside; false if there is none.
func (s *Service) Stage(jid stanza.JID) (out jitsi.Stage, ok bool) {
	s.look(jid, func(r *room) {
		if !r.meeting || r.dead {
			return
		}
		ok = true
		for _, first := range []bool{true, false} {
			for _, o := range r.order {
				if r.shows(o.role) && r.svc.admins[o.bare()] == first {
					out.Presences = append(out.Presences, r.shownTo(o, moderator))
				}
			}
		}
		for _, e := range r.past {
			out.Past = append(out.Past, e.st.WithPayload(append(e.st.Payload(), delay(r.jid, e.at))...))
		}
		out.Subject, out.Description = r.subjectStanza(), r.description()
	})
	return out, ok
}

// Door tells whether there is the meeting jid, whether only members may enter, and whether password opens it: it has that one, or none.
func (s *Service) Door(jid stanza.JID, password string) (there, membersOnly, unlocked bool) {
	s.look(jid, func(r *room) {
		there, membersOnly = r.meeting && !r.dead, r.set.MembersOnly
		unlocked = r.set.Secret == "" || subtle.ConstantTimeCompare([]byte(password), []byte(r.set.Secret)) == 1
	})
	return there, membersOnly, unlocked
}

// look runs f on a room, locked, if there is one.
func (s *Service) look(jid stanza.JID, f func(*room)) {
	if r := s.room(jid); r != nil {
		r.mu.Lock()
		defer r.mu.Unlock()
		f(r)
	}
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
