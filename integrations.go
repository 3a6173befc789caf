package main

import (
	"context"
	"net/http"

	"konzil/internal/token"
	"konzil/internal/webhook"
	"konzil/xmpp/events"
	"konzil/xmpp/rest"
	"konzil/xmpp/stanza"
)

// openHooks posts what happens in meetings to the operator's web server.
func (s *server) openHooks() {
	if s.cfg.Webhook.URL == "" {
		return
	}
	s.hooks = webhook.New(s.cfg.Webhook, s.log.With("part", "webhook"))
	s.onStop(func(ctx context.Context) { s.hooks.Shutdown(ctx) })
	s.events = events.New(s.meetings.all, func(e events.Event) { s.hooks.Post(e) })
	for _, svc := range s.meetings.all {
		svc.Observe(s.events)
	}
}

// openAPI answers integrations: with a token on the HTTPS port, and without where only the operator comes.
func (s *server) openAPI() {
	opt := rest.Options{
		Domain: s.cfg.Domain, Census: s.census, End: s.endMeeting,
		Sessions: func() int { return int(s.xmpp.Counters()["sessions"]) },
	}
	for pattern, h := range rest.New(s.meetings.all, s.xmpp, opt).Routes() {
		s.http.HandlePrivate(pattern, h)
	}
	if !s.cfg.API.Enabled() {
		return
	}
	system := token.New(s.cfg.API, s.log.With("part", "api"))
	opt.Allowed = func(r *http.Request) bool {
		text := bearer(r)
		if text == "" {
			text = r.URL.Query().Get("token")
		}
		_, err := system.Verify(r.Context(), text)
		return err == nil
	}
	for pattern, h := range rest.New(s.meetings.all, s.xmpp, opt).Routes() {
		s.http.Handle(pattern, h)
	}
}

// census lists the meetings.
func (s *server) census() (out []rest.Room) {
	for _, svc := range s.meetings.all {
		for _, r := range svc.Rooms() {
			if r.Meeting {
				out = append(out, rest.Room{JID: r.Room, Participants: len(s.meetings.all.People(r.Room)), Created: r.Created})
			}
		}
	}
	return out
}

// endMeeting closes the meeting that room is a part of.
func (s *server) endMeeting(room, instead stanza.JID, reason string) bool {
	if instead.IsZero() {
		s.meetings.breakout.End(room, reason)
		return true
	}
	return s.meetings.all.Close(room, instead, reason)
}
