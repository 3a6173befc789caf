package muc

import (
	"konzil/xmpp/stanza"
)

// Opening is what a room begins with.
type Opening struct {
	Info    map[string]string // further fields of disco#info (muc#roominfo) by their names
	Subject string
	Hold    bool // it stays when the last one leaves, until Hold(room, false)
}

// begin takes o over, before the room is known.
func (r *room) begin(o Opening) {
	r.held = o.Hold
	r.subject = subject{text: o.Subject, at: r.created}
	if o.Info != nil {
		r.info = o.Info
	}
}

// Open makes a meeting room without anybody inside. False: there is one, there are too many, or the service is closed.
func (s *Service) Open(jid stanza.JID, o Opening) bool {
	fresh := newRoom(s, jid.Bare(), true)
	fresh.begin(o)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.rooms[fresh.jid] != nil || len(s.rooms) >= s.cfg.MaxRooms {
		return false
	}
	s.rooms[fresh.jid] = fresh
	s.count.created.Add(1)
	return true
}

// with runs f on a living room, locked, and says what follows of it. False: there is no such room.
func (s *Service) with(jid stanza.JID, f func(*room)) bool {
	r := s.room(jid)
	if r == nil {
		return false
	}
	r.mu.Lock()
	defer r.flush()
	if r.dead {
		return false
	}
	f(r)
	return true
}

// Hold keeps a room while nobody is inside, or lets it go: then it ends as soon as it is empty.
func (s *Service) Hold(jid stanza.JID, hold bool) bool {
	return s.with(jid, func(r *room) {
		r.held = hold
		r.dieIfEmpty()
	})
}

// SetInfo changes a field of disco#info, "" removes it, and has everybody inside ask again (status 104).
func (s *Service) SetInfo(jid stanza.JID, name, value string) bool {
	return s.with(jid, func(r *room) {
		if r.info[name] == value {
			return
		}
		if r.info == nil {
			r.info = map[string]string{}
		}
		if r.info[name] = value; value == "" {
			delete(r.info, name)
		}
		r.tellConfig(r.set, r.logged())
	})
}

// SetSubject changes the subject for the server.
func (s *Service) SetSubject(jid stanza.JID, text string) bool {
	return s.with(jid, func(r *room) {
		r.subject = subject{text: text, at: r.svc.now()}
		r.send(r.subjectStanza(), r.recipients...)
	})
}

// Broadcast sends a message of type groupchat to everybody inside as the occupant with that nick says it, or as the room with "".
func (s *Service) Broadcast(jid stanza.JID, nick string, payload ...*stanza.Element) bool {
	return s.with(jid, func(r *room) {
		from := r.jid
		if o := r.nicks[nick]; o != nil {
			from = o.addr
		}
		if len(r.queue) >= maxQueued {
			r.svc.count.overflows.Add(1)
			return
		}
		r.send(stanza.NewMessage("groupchat", from, stanza.JID{}, payload...).WithID(newID()), r.recipients...)
	})
}

// Kick puts an occupant out for the server. False: there is none of that nick.
func (s *Service) Kick(jid stanza.JID, nick, reason string) bool {
	done := false
	s.with(jid, func(r *room) {
		if o := r.nicks[nick]; o != nil && !r.svc.admins[o.bare()] {
			r.kick(o, "", reason)
			r.dieIfEmpty()
			done = true
		}
	})
	return done
}

// Close ends a room: everybody is sent out with reason and, if it is not zero, told where to go instead.
func (s *Service) Close(jid, instead stanza.JID, reason string) bool {
	return s.with(jid, func(r *room) {
		st := stanza.NewIQ("result", "", r.jid, r.jid) // an answer: nobody is told if storing fails but the log
		r.stored(st, r.wipe, func() {})
		el := stanza.NewElement(nsUser, "destroy", "jid", instead.String())
		if reason != "" {
			el.Add(stanza.TextElement(nsUser, "reason", reason))
		}
		r.destroy(el)
	})
}
