package main

import (
	"context"
	"strings"

	"konzil/xmpp"
	"konzil/xmpp/avmoderation"
	"konzil/xmpp/breakout"
	"konzil/xmpp/endconference"
	"konzil/xmpp/ext"
	"konzil/xmpp/filesharing"
	"konzil/xmpp/lobby"
	"konzil/xmpp/metadata"
	"konzil/xmpp/muc"
	"konzil/xmpp/polls"
	"konzil/xmpp/speakerstats"
	"konzil/xmpp/stanza"
)

// meetingPart is a component of Jitsi meetings: the handler of a domain, which hears what happens in rooms.
type meetingPart interface {
	xmpp.Handler
	muc.Observer
	Counters() map[string]uint64
}

// meetings are the MUC services and the components around them.
type meetings struct {
	rooms, breakoutRooms, lobbyRooms *muc.Service
	all                              muc.Group // where meetings are: rooms and breakoutRooms
	metadata                         *metadata.Component
	polls                            *polls.Component
	lobby                            *lobby.Component
	breakout                         *breakout.Component
	audience                         *audience              // nil: meetings have none
	parts                            map[string]meetingPart // by the name of their numbers
}

// openRooms makes the MUC services and what watches them, and announces all to clients.
func (s *server) openRooms(disco *ext.Disco) (err error) {
	m := &s.meetings
	m.parts = map[string]meetingPart{}
	if err = s.openServices(); err != nil {
		return err
	}
	if err = s.openInternal(); err != nil {
		return err
	}
	m.all = muc.Group{m.rooms, m.breakoutRooms}
	if err = s.openBreakout(); err != nil {
		return err
	}
	if err = s.openLobby(); err != nil {
		return err
	}
	if err = s.openParts(disco); err != nil {
		return err
	}
	if err = s.openVisitors(disco); err != nil {
		return err
	}
	s.openHooks()
	domain := s.cfg.Domain
	disco.Item(m.rooms.Domain(), "Rooms")
	disco.Identity("component", "lobbyrooms", m.lobbyRooms.Domain())
	disco.Identity("component", "breakout_rooms", m.breakoutRooms.Domain())
	disco.PushTo(func(x *xmpp.Session) bool { return x.Param("room") != "" && x.Param("vnode") == "" }, append(m.lobby.Features(), m.breakout.Features()...)...)
	s.xmpp.Mount(m.rooms.Domain(), m.rooms)
	if s.cfg.Meetings.Tenants {
		s.xmpp.MountUnder("conference", domain, m.rooms)
	}
	s.xmpp.Mount("breakout."+domain, m.breakout)
	s.xmpp.Mount("lobby."+domain, m.lobby)
	return nil
}

// openServices makes the MUC services: of rooms, of breakout rooms and of waiting rooms.
func (s *server) openServices() (err error) {
	m, domain := &s.meetings, s.cfg.Domain
	history := s.cfg.Rooms.History
	if history == 0 {
		history = -1 // none: muc takes 0 for its default
	}
	create := muc.CreateLocal
	if s.cfg.Rooms.CreateByAll {
		create = muc.CreateAnyone
	}
	log := s.log.With("part", "muc")
	all := muc.Config{
		Domain: "conference." + domain, Name: "Rooms", Admins: []stanza.JID{s.focusJID().Bare()},
		Create: create, LocalDomains: []string{domain}, HideRooms: true, Hats: s.hats,
		MaxRooms: s.cfg.Rooms.MaxRooms, MaxOccupants: s.cfg.Rooms.MaxOccupants, History: history,
		Rate: float64(s.cfg.Rooms.Rate), Burst: 5 * s.cfg.Rooms.Rate, StrictNicks: s.cfg.Meetings.StrictNicks, Decorate: s.decorate, Hidden: s.isRecorder, Hold: s.xmpp.Hold,
	}
	kept := all
	kept.Archive, kept.Ledger = s.mam.Rooms(), s.ledger
	kept.Opening = s.opening
	if m.rooms, err = muc.New(kept, s.xmpp, muc.SQLStore{DB: s.db}, log); err != nil {
		return err
	}
	groups := all
	groups.Domain, groups.Name, groups.Create = "breakout."+domain, "Breakout rooms", muc.CreateAdmins
	groups.Opening = func(room, _ stanza.JID) (muc.Opening, *stanza.Error) {
		info, subject, err := m.breakout.Opening(room)
		return muc.Opening{Info: info, Subject: subject}, err
	}
	if m.breakoutRooms, err = muc.New(groups, s.xmpp, nil, log); err != nil {
		return err
	}
	waiting := all
	waiting.Domain, waiting.Name, waiting.Create, waiting.Waiting = "lobby."+domain, "Waiting rooms", muc.CreateAdmins, true
	if m.lobbyRooms, err = muc.New(waiting, s.xmpp, nil, log); err != nil {
		return err
	}
	for _, svc := range []*muc.Service{m.rooms, m.breakoutRooms, m.lobbyRooms} {
		s.onStop(func(ctx context.Context) { svc.Shutdown(ctx) })
	}
	return nil
}

// tenantRooms tells whether a domain is the rooms' one of a tenant.
func (s *server) tenantRooms(domain string) bool {
	return s.cfg.Meetings.Tenants && strings.HasPrefix(domain, "conference.") && s.tenantOf(domain) != ""
}

// opening lets tenants have meetings alone: chat rooms are on the domain of the rooms. Meetings say whether they take visitors.
func (s *server) opening(room, by stanza.JID) (muc.Opening, *stanza.Error) {
	if room.Domain() != s.meetings.rooms.Domain() && by.Bare() != s.focusJID() {
		return muc.Opening{}, stanza.ErrNotAllowed.With("Room creation is restricted")
	}
	if s.meetings.audience != nil && by.Bare() == s.focusJID() {
		return muc.Opening{Info: map[string]string{"muc#roominfo_visitorsEnabled": "1"}}, nil
	}
	return muc.Opening{}, nil
}

// fullName is a meeting's name with its tenant, "[tenant]room", as jitsi-meet's mod_muc_domain_mapper writes it.
func (s *server) fullName(room stanza.JID) string {
	if t := s.tenantOf(room.Domain()); t != "" {
		return "[" + t + "]" + room.Local()
	}
	return room.Local()
}

// openBreakout makes the breakout rooms' component.
func (s *server) openBreakout() (err error) {
	m := &s.meetings
	if m.breakout, err = breakout.New(m.breakoutRooms.Domain(), s.xmpp, m.all, m.breakoutRooms); err != nil {
		return err
	}
	s.onStop(func(context.Context) { m.breakout.Close() })
	m.parts["breakout"] = m.breakout
	for _, svc := range m.all {
		if s.jwt != nil {
			svc.Guard(s.tokenGuard)
		}
		svc.Guard(s.serviceGuard)
		svc.Guard(func(j muc.Join) muc.Verdict {
			err, affiliation := m.breakout.Guard(j.Room, j.Real, j.Nick)
			return muc.Verdict{Refuse: err, Affiliation: affiliation}
		})
	}
	return nil
}

// waitingRooms are the lobby's rooms as package lobby asks for them.
type waitingRooms struct{ *muc.Service }

func (w waitingRooms) Open(room stanza.JID) bool {
	return w.Service.Open(room, muc.Opening{Hold: true})
}

// openLobby makes the waiting rooms' component.
func (s *server) openLobby() (err error) {
	m, c := &s.meetings, s.cfg.Meetings
	m.lobby, err = lobby.New(m.lobbyRooms.Domain(), s.xmpp, m.rooms, waitingRooms{m.lobbyRooms}, lobby.Options{
		NameOptional: !c.LobbyNameRequired, RoomName: s.fullName, WhiteList: c.LobbyWhiteList, Persistent: c.LobbyPersistent,
		Changed: s.lobbyChanged,
	})
	if err != nil {
		return err
	}
	m.parts["lobby"] = m.lobby
	newcomer := func(j muc.Join) lobby.Newcomer {
		return lobby.Newcomer{Room: j.Room, Real: j.Real, Name: j.Name, Affiliation: j.Affiliation, Meeting: j.Meeting, MembersOnly: j.MembersOnly, Password: j.Password}
	}
	m.rooms.Guard(func(j muc.Join) muc.Verdict {
		err, affiliation := m.lobby.Door(newcomer(j))
		return muc.Verdict{Refuse: err, Affiliation: affiliation}
	})
	m.lobbyRooms.Guard(func(j muc.Join) muc.Verdict {
		err, affiliation := m.lobby.Porch(newcomer(j))
		return muc.Verdict{Refuse: err, Affiliation: affiliation}
	})
	m.lobbyRooms.Observe(m.lobby.Inside(func(room, real stanza.JID) (string, bool) {
		o, _ := m.lobbyRooms.Occupant(room, real)
		return o.Name, o.Moderator
	}))
	return nil
}

// lobbyChanged shows in a meeting's metadata whether it has a lobby.
func (s *server) lobbyChanged(room stanza.JID, on bool) {
	value := []byte("false")
	if on {
		value = []byte("true")
	}
	if err := s.meetings.metadata.Set(room, "lobbyEnabled", value); err != nil {
		s.log.Warn("metadata not set", "room", room, "err", err)
	}
}

// openParts makes the components that have no rooms of their own, mounts and announces them, and lets all hear what happens in rooms.
func (s *server) openParts(disco *ext.Disco) (err error) {
	m, domain := &s.meetings, s.cfg.Domain
	at := func(name string) string { return name + "." + domain }
	if m.metadata, err = metadata.New(at("metadata"), s.xmpp, m.all, s.metadataServices); err != nil {
		return err
	}
	moderation, err := avmoderation.New(at("avmoderation"), s.xmpp, m.all)
	if err != nil {
		return err
	}
	stats, err := speakerstats.New(at("speakerstats"), s.xmpp, m.all)
	if err != nil {
		return err
	}
	if m.polls, err = polls.New(at("polls"), s.xmpp, m.all, s.mayPoll); err != nil {
		return err
	}
	files, err := filesharing.New(at("filesharing"), s.xmpp, m.all, s.mayUse("file-upload"))
	if err != nil {
		return err
	}
	end, err := endconference.New(at("endconference"), s.xmpp, m.all, m.breakout.End)
	if err != nil {
		return err
	}
	for _, p := range []struct {
		identity, name string
		part           meetingPart
	}{
		{"room_metadata", "metadata", m.metadata}, {"av_moderation", "avmoderation", moderation}, {"speakerstats", "speakerstats", stats},
		{"polls", "polls", m.polls}, {"file-sharing", "filesharing", files}, {"end_conference", "endconference", end},
	} {
		m.parts[p.name] = p.part
		s.xmpp.Mount(at(p.name), p.part)
		disco.Identity("component", p.identity, at(p.name))
		for _, svc := range m.all {
			svc.Observe(p.part)
		}
	}
	m.rooms.Observe(m.lobby)
	for _, svc := range m.all {
		svc.Observe(m.breakout)
	}
	return nil
}
