package main

import (
	"context"

	"konzil/xmpp/metadata"
	"konzil/xmpp/muc"
	"konzil/xmpp/roster"
	"konzil/xmpp/stanza"
)

// attachFeatures hooks what clients need on top of routing: one line a feature.
func (s *server) attachFeatures() (err error) {
	x, domain := s.xmpp, s.cfg.Domain
	roster.Attach(x, roster.SQLStore{DB: s.db}, s.log.With("room", "roster"))

	create := muc.CreateLocal
	if s.cfg.Rooms.CreateByAll {
		create = muc.CreateAnyone
	}
	s.rooms, err = muc.New(muc.Config{
		Domain: "conference." + domain, Name: "Rooms", Admins: []stanza.JID{s.focusJID().Bare()}, Create: create,
		LocalDomains: []string{domain}, HideRooms: true,
		MaxRooms: s.cfg.Rooms.MaxRooms, MaxOccupants: s.cfg.Rooms.MaxOccupants, History: s.cfg.Rooms.History,
	}, x, muc.SQLStore{DB: s.db}, s.log.With("room", "muc"))
	if err != nil {
		return err
	}
	s.onStop(func(ctx context.Context) { s.rooms.Shutdown(ctx) })
	x.Mount("conference."+domain, s.rooms)

	s.metadata, err = metadata.New("metadata."+domain, x, s.rooms, nil, s.log.With("room", "metadata"))
	if err != nil {
		return err
	}
	s.rooms.Observe(s.metadata)
	x.Mount("metadata."+domain, s.metadata)
	return nil
}

