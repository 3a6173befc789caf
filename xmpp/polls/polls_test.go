package polls

import (
	"strings"
	"testing"

	"go.uber.org/goleak"

	"konzil/xmpp"
	"konzil/xmpp/internal/stage"
	"konzil/xmpp/muc"
	"konzil/xmpp/play"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPlays(t *testing.T) {
	play.Run(t, "testdata/*.play", func(t *testing.T) play.World {
		return stage.New(t, func(srv *xmpp.Server, rooms muc.Group) (stage.Part, error) {
			return New("part.example.org", srv, rooms, nil)
		})
	})
}

// FuzzCommand: nothing that a client says breaks the parser, and what it accepts is within the limits.
func FuzzCommand(f *testing.F) {
	for _, s := range []string{
		`{"type":"polls","command":"new-poll","pollId":"x","question":"?","answers":[{"name":"a"},{"name":"b"}]}`,
		`{"type":"polls","command":"answer-poll","pollId":"x","answers":[true,false]}`, `{"type":"polls","command":"old-polls","pollId":"x"}`,
		`{"type":"polls","type":"polls","command":"new-poll","pollId":1}`, `[]`, ``, `{"answers":[null]}`, strings.Repeat("[", 2000),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := parseCommand(s)
		if err != nil {
			return
		}
		if c.PollID == "" || c.SenderID != "" || len(c.options)+len(c.votes) == 0 || len(c.options) > 0 && len(c.votes) > 0 {
			t.Fatalf("accepted %+v", c)
		}
	})
}
