package lobby

import (
	"testing"

	"go.uber.org/goleak"

	"konzil/xmpp"
	"konzil/xmpp/internal/stage"
	"konzil/xmpp/muc"
	"konzil/xmpp/play"
	"konzil/xmpp/stanza"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type waiting struct{ *muc.Service }

func (w waiting) Open(room stanza.JID) bool { return w.Service.Open(room, muc.Opening{Hold: true}) }

func TestPlays(t *testing.T) {
	run(t, "testdata/*.play", Options{WhiteList: []string{"recorder@example.org"}})
}

// TestPersistentPlays: a meeting stays while somebody knocks.
func TestPersistentPlays(t *testing.T) {
	run(t, "testdata/persistent/*.play", Options{Persistent: true})
}

func run(t *testing.T, plays string, opt Options) {
	t.Helper()
	play.Run(t, plays, func(t *testing.T) play.World {
		return play.NewLive(t, func(srv *xmpp.Server) {
			rooms := stage.Service(t, stage.Config("rooms.example.org"), srv)
			cfg := stage.Config("lobby.example.org")
			cfg.Waiting = true
			lobbies := stage.Service(t, cfg, srv)
			c, err := New("lobby.example.org", srv, rooms, waiting{lobbies}, opt)
			if err != nil {
				t.Fatal(err)
			}
			judge := func(f func(Newcomer) (*stanza.Error, string)) muc.Guard {
				return func(j muc.Join) muc.Verdict {
					err, aff := f(Newcomer{j.Room, j.Real, j.Name, j.Affiliation, j.Meeting, j.MembersOnly, j.Password})
					return muc.Verdict{Refuse: err, Affiliation: aff}
				}
			}
			rooms.Guard(judge(c.Door))
			rooms.Observe(c)
			lobbies.Guard(judge(c.Porch))
			lobbies.Observe(c.Inside(func(room, real stanza.JID) (string, bool) {
				o, _ := lobbies.Occupant(room, real)
				return o.Name, o.Moderator
			}))
			srv.Mount("rooms.example.org", rooms)
			srv.Mount("lobby.example.org", c)
		}, nil)
	})
}
