package main

import (
	"context"
	"encoding/json"
	"strconv"
	"sync"

	"konzil/xmpp"
	"konzil/xmpp/ext"
	"konzil/xmpp/muc"
	"konzil/xmpp/stanza"
	"konzil/xmpp/visitors"
)

// audience is the visitors of meetings.
type audience struct {
	*visitors.Component
	s *server

	mu sync.Mutex // guards the metadata "visitors" while it is changed
}

// openVisitors makes the audience of meetings and its rooms; nothing when meetings take none.
func (s *server) openVisitors(disco *ext.Disco) error {
	m, c := &s.meetings, s.cfg
	if !s.cfg.takesVisitors() {
		return nil
	}
	focus, err := s.focusJID().WithResource("focus")
	if err != nil {
		return err
	}
	a := &audience{s: s}
	a.Component, err = visitors.New("visitors."+c.Domain, s.xmpp, m.all, visitors.Options{
		Home: c.Domain, Focus: focus, Limit: c.Meetings.Visitors, MaxVisitors: c.Meetings.MaxVisitors, Rate: c.Rooms.Rate,
		Facts: a.facts, Resident: a.resident, Refuse: a.refuse, Promoted: a.promoted, Seated: m.polls.Seated,
	})
	if err != nil {
		return err
	}
	s.onStop(func(context.Context) { a.Close() })
	m.audience, m.parts["visitors"] = a, a
	m.polls.Admit(a)
	m.rooms.Observe(a)
	m.rooms.Guard(func(j muc.Join) muc.Verdict {
		if !j.Meeting {
			return muc.Verdict{}
		}
		pass, err := a.Door(j.Room, j.Real)
		return muc.Verdict{Refuse: err, Pass: pass}
	})
	s.xmpp.Mount(a.Domain.Domain(), a)
	s.xmpp.Mount("conference."+visitors.Door, a)
	if c.Meetings.Tenants {
		s.xmpp.MountUnder("conference", visitors.Door, a)
	}
	disco.Identity("component", "visitors", a.Domain.Domain())
	disco.Door(visitors.Door, ext.Identity{Category: "server", Type: "im", Name: "Konzil"},
		ext.Identity{Category: "component", Type: "polls", Name: m.polls.Domain.Domain()})
	return nil
}

// takesVisitors tells whether meetings have an audience: its people are guests.
func (c *Config) takesVisitors() bool { return c.Meetings.Visitors > 0 && c.XMPP.Guests }

// guestDoors are the domains besides its own to which guests may open streams.
func (c *Config) guestDoors() (doors []string) {
	if c.takesVisitors() {
		doors = append(doors, visitors.Door)
	}
	if d := c.followers(); d != "" {
		doors = append(doors, d)
	}
	return doors
}

// promisedName is what a guest who was a visitor is to be called in the meeting, "" for who was none.
func (s *server) promisedName(l xmpp.Login) string {
	name := l.Params.Get("customusername")
	if s.meetings.audience == nil || name == "" || l.Params.Get("room") == "" {
		return ""
	}
	domain := s.meetings.rooms.Domain()
	if t := l.Params.Get("prefix"); t != "" {
		domain = "conference." + t + "." + s.cfg.Domain
	}
	room, err := stanza.NewJID(l.Params.Get("room"), domain, "")
	if err != nil || !s.meetings.audience.Promised(room, name) {
		return ""
	}
	return name
}

// Redirect implements signaling.Audience: a token can say that its owner is a visitor.
func (a *audience) Redirect(room, who stanza.JID, wish bool, people int) string {
	if c := a.s.claims(who); c != nil && c.User["role"] == "visitor" {
		wish = true
	}
	return a.Component.Redirect(room, who, wish, people)
}

// facts reads what a meeting's metadata says of visitors.
func (a *audience) facts(room stanza.JID) (f visitors.Facts) {
	data := a.s.meetings.metadata.Get(room)
	f.Off = string(data["visitorsEnabled"]) == "false"
	if n, err := strconv.Atoi(string(data["participantsSoftLimit"])); err == nil && n > 0 {
		f.Limit = n
	}
	var said struct {
		AutoPromote bool `json:"autoPromote"`
	}
	if raw := data["visitors"]; raw != nil && json.Unmarshal(raw, &said) == nil {
		f.AutoPromote = said.AutoPromote
	}
	return f
}

// resident tells who takes part in any case: parts of the installation, and who is a moderator by token or account.
func (a *audience) resident(_, real stanza.JID) bool {
	s := a.s
	if s.isRecorder(real) || real.Domain() == "auth."+s.cfg.Domain {
		return true
	}
	if c := s.claims(real); c != nil {
		owner, said := c.Owner()
		return said && owner
	}
	return s.cfg.Meetings.RequireAccount && real.Domain() == s.cfg.Domain
}

// refuse holds a visitor's token against the meeting.
func (a *audience) refuse(room, real stanza.JID) *stanza.Error {
	return a.s.tokenGuard(muc.Join{Room: room, Real: real, Meeting: true}).Refuse
}

// promoted marks in the metadata who came from the audience, as clients look there.
func (a *audience) promoted(room stanza.JID, nick string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	said, promoted := map[string]json.RawMessage{}, map[string]bool{}
	if raw := a.s.meetings.metadata.Get(room)["visitors"]; raw != nil && json.Unmarshal(raw, &said) != nil {
		return // a moderator has put something else there
	}
	if raw := said["promoted"]; raw != nil && json.Unmarshal(raw, &promoted) != nil {
		return
	}
	promoted[nick] = true
	var err error
	if said["promoted"], err = json.Marshal(promoted); err != nil {
		return
	}
	data, err := json.Marshal(said)
	if err != nil {
		return
	}
	if serr := a.s.meetings.metadata.Set(room, "visitors", data); serr != nil {
		a.s.log.Warn("metadata not set", "room", room, "err", serr)
	}
}
