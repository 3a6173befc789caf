package breakout

import (
	"strconv"
	"testing"
	"time"

	"go.uber.org/goleak"

	"konzil/xmpp"
	"konzil/xmpp/internal/stage"
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
