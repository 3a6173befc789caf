package visitors

import (
	"errors"
	"strconv"
	"sync"
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

// theatre is a server with meetings and their visitors, and a clock that the play moves.
type theatre struct {
	c     *Component
	facts Facts

	mu     sync.Mutex // guards the timer
	timer  func()
	length time.Duration
}

// TestPlays: commands of a play are "asks JID PEOPLE [wish]" with the node or "nothing" as the answer in the next word, "timer" ends what is waited for,
// "meeting off|auto|on" sets the metadata.
func TestPlays(t *testing.T) {
	play.Run(t, "testdata/*.play", func(t *testing.T) play.World {
		h := &theatre{}
		return play.NewLive(t, h.open(t), h.command)
	})
}

func (h *theatre) open(t *testing.T) func(*xmpp.Server) {
	return func(srv *xmpp.Server) {
		rooms := stage.Service(t, stage.Config("conference.example.org"), srv)
		var err error
		h.c, err = New("visitors.example.org", srv, muc.Group{rooms}, Options{
			Home: "example.org", Focus: stanza.MustJID("focus@example.org/focus"), Limit: 2, MaxVisitors: 3, Rate: 100,
			Facts:    func(stanza.JID) Facts { return h.facts },
			Resident: func(_, real stanza.JID) bool { return real.Local() == "recorder" },
			Promoted: func(room stanza.JID, nick string) { rooms.SetInfo(room, "promoted", nick) },
			after:    h.after,
		})
		if err != nil {
			t.Fatal(err)
		}
		rooms.Guard(func(j muc.Join) muc.Verdict {
			pass, err := h.c.Door(j.Room, j.Real)
			return muc.Verdict{Refuse: err, Pass: pass}
		})
		rooms.Observe(h.c)
		srv.Mount("conference.example.org", rooms)
		srv.Mount("visitors.example.org", h.c)
		srv.Mount("conference."+Door, h.c)
	}
}

func (h *theatre) after(d time.Duration, f func()) func() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.timer, h.length = f, d
	return func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.timer = nil
		return true
	}
}

func (h *theatre) command(words []string) error {
	switch words[0] {
	case "asks":
		people, err := strconv.Atoi(words[2])
		if err != nil {
			return err
		}
		got := h.c.Redirect(stanza.MustJID("all@conference.example.org"), stanza.MustJID(words[1]), words[3] == "wish", people)
		if want := words[len(words)-1]; got != want && (got != "" || want != "nothing") {
			return errors.New("sent to " + got + ", not " + want)
		}
	case "timer":
		h.mu.Lock()
		f := h.timer
		h.mu.Unlock()
		if f == nil {
			return errors.New("nothing is waited for")
		}
		f()
	case "meeting":
		h.facts = Facts{Off: words[1] == "off", AutoPromote: words[1] == "auto"}
	case "promised":
		if got := h.c.Promised(stanza.MustJID("all@conference.example.org"), words[1]); strconv.FormatBool(got) != words[2] {
			return errors.New("promised: " + strconv.FormatBool(got))
		}
	default:
		return errors.New("no such command")
	}
	return nil
}
