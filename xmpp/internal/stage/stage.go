// Package stage is a real server with MUC services and the focus as one of the clients, for plays of what belongs to Jitsi meetings.
// Only tests use it.
package stage

import (
	"context"
	"log/slog"
	"testing"

	"konzil/xmpp"
	"konzil/xmpp/muc"
	"konzil/xmpp/play"
	"konzil/xmpp/stanza"
)

// Part is a component of meetings.
type Part interface {
	xmpp.Handler
	muc.Observer
}

// Config is that of a service for meetings on a domain, with focus@example.org as the focus.
func Config(domain string) muc.Config {
	return muc.Config{
		Domain: domain, Admins: []stanza.JID{stanza.MustJID("focus@example.org")}, LocalDomains: []string{"example.org"},
		Create: muc.CreateAdmins, HideRooms: true,
	}
}

// Service makes a MUC service that ends with the test.
func Service(t *testing.T, cfg muc.Config, srv *xmpp.Server) *muc.Service {
	t.Helper()
	s, err := muc.New(cfg, srv, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return s
}

// New is a world with meetings at rooms.example.org and the component that open makes at part.example.org.
func New(t *testing.T, open func(srv *xmpp.Server, rooms muc.Group) (Part, error)) *play.Live {
	t.Helper()
	return play.NewLive(t, func(srv *xmpp.Server) {
		rooms := Service(t, Config("rooms.example.org"), srv)
		part, err := open(srv, muc.Group{rooms})
		if err != nil {
			t.Fatal(err)
		}
		rooms.Observe(part)
		srv.Mount(rooms.Domain(), rooms)
		srv.Mount("part.example.org", part)
	}, nil)
}
