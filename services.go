package main

import (
	"context"
	"crypto/subtle"
	"fmt"
	"strings"

	"konzil/xmpp/events"
	"konzil/xmpp/muc"
	"konzil/xmpp/stanza"
)

// ServicesConfig is the parts of an installation that run elsewhere.
type ServicesConfig struct {
	Accounts []string `yaml:"accounts" doc:"What they log in with, as address:password: recorders (Jibri), telephone gateways (Jigasi) and bridges at auth.DOMAIN, and what Jibri enters meetings with at recorder.DOMAIN, where nobody is shown."`
	Jibri    string   `yaml:"jibri_brewery" doc:"Name of the room at internal.auth.DOMAIN in which recorders wait for work."`
	Jigasi   string   `yaml:"jigasi_brewery" doc:"The same for telephone gateways."`
}

// check finds accounts that are none.
func (c *Config) checkServices() error {
	for i, a := range c.Services.Accounts {
		j, password, err := splitAccount(a)
		if err != nil || len(password) < 8 || j.Domain() != "auth."+c.Domain && j.Domain() != "recorder."+c.Domain {
			return fmt.Errorf("services.accounts: entry %d is not name@auth.%s:password or name@recorder.%s:password, the password of 8 bytes or more", i+1, c.Domain, c.Domain)
		}
	}
	return nil
}

func splitAccount(text string) (stanza.JID, string, error) {
	addr, password, _ := strings.Cut(text, ":")
	j, err := stanza.ParseJID(addr)
	if err == nil && (j.Local() == "" || !j.IsBare() || j.Local() == "focus") {
		err = fmt.Errorf("%s is no address of an account", addr)
	}
	return j, password, err
}

// serviceDomains are where the parts of the installation log in; none without accounts.
func (s *server) serviceDomains() []string {
	if len(s.cfg.Services.Accounts) == 0 {
		return nil
	}
	return []string{"auth." + s.cfg.Domain, "recorder." + s.cfg.Domain}
}

func (s *server) serviceLogin(account stanza.JID, password string) bool {
	ok := false
	for _, a := range s.cfg.Services.Accounts {
		j, p, err := splitAccount(a)
		if err == nil && j == account && subtle.ConstantTimeCompare([]byte(p), []byte(password)) == 1 {
			ok = true
		}
	}
	return ok
}

// isRecorder tells of a real address that nobody is shown: a recorder's.
func (s *server) isRecorder(real stanza.JID) bool {
	return len(s.cfg.Services.Accounts) > 0 && real.Domain() == "recorder."+s.cfg.Domain
}

// serviceGuard lets recorders in without password and knocking.
func (s *server) serviceGuard(j muc.Join) muc.Verdict {
	if !s.isRecorder(j.Real) {
		return muc.Verdict{}
	}
	return muc.Verdict{Affiliation: "member", Pass: true}
}

// openInternal makes the rooms in which services wait for work.
func (s *server) openInternal() error {
	if len(s.cfg.Services.Accounts) == 0 {
		return nil
	}
	rooms, err := muc.New(muc.Config{
		Domain: "internal.auth." + s.cfg.Domain, Name: "Services", Admins: []stanza.JID{s.focusJID().Bare()}, Create: muc.CreateAdmins,
		HideRooms: true, AnyNick: true, History: -1,
	}, s.xmpp, nil, s.log.With("part", "muc"))
	if err != nil {
		return err
	}
	auth := "auth." + s.cfg.Domain
	rooms.Guard(func(j muc.Join) muc.Verdict {
		if j.Real.Domain() != auth {
			return muc.Verdict{Refuse: stanza.ErrForbidden.With("These rooms are for services")}
		}
		return muc.Verdict{}
	})
	s.onStop(func(ctx context.Context) { rooms.Shutdown(ctx) })
	s.xmpp.Mount(rooms.Domain(), rooms)
	return nil
}

// brewery is the address of a room of services, "" without accounts or name.
func (s *server) brewery(name string) string {
	if name == "" || len(s.cfg.Services.Accounts) == 0 {
		return ""
	}
	return name + "@internal.auth." + s.cfg.Domain
}

// recorded tells web hooks of a recording.
func (s *server) recorded(room stanza.JID, session, mode, initiator string, on bool, failure string) {
	if s.events == nil {
		return
	}
	typ := events.RecordingEnded
	if on {
		typ = events.RecordingStarted
	}
	s.events.Tell(typ, room, events.Recording{Session: session, Mode: mode, By: initiator, Reason: failure})
}

// mayUseIn is mayUse for the focus.
func (s *server) mayUseIn(feature string, room, real stanza.JID) bool {
	return s.mayUse(feature)(room, real)
}
