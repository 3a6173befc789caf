package endconference

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

func TestPlays(t *testing.T) {
	play.Run(t, "testdata/*.play", func(t *testing.T) play.World {
		return stage.New(t, func(srv *xmpp.Server, rooms muc.Group) (stage.Part, error) {
			return New("part.example.org", srv, rooms, func(room stanza.JID, reason string) { rooms.Close(room, stanza.JID{}, reason) })
		})
	})
}
