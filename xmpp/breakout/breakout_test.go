package breakout

import (
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"konzil/xmpp"
	"konzil/xmpp/internal/stage"
	"konzil/xmpp/jitsi"
	"konzil/xmpp/muc"
	"konzil/xmpp/play"
	"konzil/xmpp/stanza"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// call is a timer that goes off when the play says so. Only the goroutine of one client's stream runs at a time: plays wait for each step.
type call struct {
	f       func()
	stopped bool
}

func (c *call) Stop() bool { c.stopped = true; return true }

func TestPlays(t *testing.T) {
	play.Run(t, "testdata/*.play", func(t *testing.T) play.World {
		var later []*call // what timers will do
		return play.NewLive(t, func(srv *xmpp.Server) {
			rooms := stage.Service(t, stage.Config("rooms.example.org"), srv)
			var c *Component
			cfg := stage.Config("breakout.example.org")
			cfg.Opening = func(room, _ stanza.JID) (muc.Opening, *stanza.Error) {
				info, subject, err := c.Opening(room)
				return muc.Opening{Info: info, Subject: subject}, err
			}
			small := stage.Service(t, cfg, srv)
			all := muc.Group{rooms, small}
			var err error
			if c, err = New("breakout.example.org", srv, all, small); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(c.Close)
			c.after = func(_ time.Duration, f func()) timer {
				later = append(later, &call{f: f})
				return later[len(later)-1]
			}
			n := 0
			c.newID = func() string { n++; return "g" + strconv.Itoa(n) }
			for _, s := range all {
				s.Observe(c)
				s.Guard(func(j muc.Join) muc.Verdict {
					err, aff := c.Guard(j.Room, j.Real, j.Nick)
					return muc.Verdict{Refuse: err, Affiliation: aff}
				})
			}
			srv.Mount("rooms.example.org", rooms)
			srv.Mount("breakout.example.org", c)
		}, func(words []string) error { // "time passes"
			due := later
			later = nil
			for _, x := range due {
				if !x.stopped {
					x.f()
				}
			}
			return nil
		})
	})
}

// oneMeeting is rooms with one meeting, whose moderator is ana.
type oneMeeting struct{ ana jitsi.Person }

func (m oneMeeting) Meeting(stanza.JID) bool { return true }
func (m oneMeeting) Standing(_, real stanza.JID) (inside, moderator bool) {
	return real == m.ana.Real, true
}
func (m oneMeeting) Recipients(stanza.JID) []stanza.JID { return []stanza.JID{m.ana.Real} }
func (m oneMeeting) People(stanza.JID) []jitsi.Person   { return []jitsi.Person{m.ana} }
func (m oneMeeting) Person(_, real stanza.JID) (jitsi.Person, bool) {
	return m.ana, real == m.ana.Real
}
func (oneMeeting) Affiliation(_, _ stanza.JID) string   { return "owner" }
func (oneMeeting) Info(stanza.JID, string) string       { return "" }
func (oneMeeting) Hold(stanza.JID, bool) bool           { return true }
func (oneMeeting) Close(_, _ stanza.JID, _ string) bool { return true }
func (oneMeeting) SetSubject(stanza.JID, string) bool   { return true }
func (oneMeeting) Route(*stanza.Stanza)                 {}
func (oneMeeting) HandleStanza(*stanza.Stanza)          {}

// TestManyRooms: a meeting has no more breakout rooms than maxRooms, and one that is removed makes room for another.
func TestManyRooms(t *testing.T) {
	main := stanza.MustJID("standup@rooms.example.org")
	m := oneMeeting{jitsi.Person{Addr: stanza.MustJID("standup@rooms.example.org/aaaa1111"), Real: stanza.MustJID("ana@example.org/1")}}
	c, err := New("breakout.example.org", m, m, m)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.after = func(time.Duration, func()) timer { return &call{} }
	n := 0
	c.newID = func() string { n++; return "g" + strconv.Itoa(n) }
	c.Joined(main, m.ana.Real, "aaaa1111")
	ask := func(typ, room string) *stanza.Error {
		el := stanza.NewElement(jitsi.NSJitMeet, "breakout_rooms", "type", "features/breakout-rooms/"+typ, "breakoutRoomJid", room)
		return c.command(stanza.NewMessage("", m.ana.Real, c.Domain, el))
	}
	for range maxRooms {
		if err := ask("add", ""); err != nil {
			t.Fatal(err)
		}
	}
	for range 50 {
		if err := ask("add", ""); err == nil || err.Condition != "resource-constraint" {
			t.Fatalf("one too many: %v", err)
		}
	}
	if err := ask("remove", "g7@breakout.example.org"); err != nil {
		t.Error(err)
	}
	if err := ask("add", ""); err != nil {
		t.Error(err)
	}
	if n := c.Counters()["rooms"]; n != maxRooms {
		t.Errorf("%d rooms", n)
	}
}
