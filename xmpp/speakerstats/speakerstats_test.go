package speakerstats

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"konzil/xmpp"
	"konzil/xmpp/internal/stage"
	"konzil/xmpp/muc"
	"konzil/xmpp/play"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestPlays: each look at the clock is a second later than the one before.
func TestPlays(t *testing.T) {
	play.Run(t, "testdata/*.play", func(t *testing.T) play.World {
		return stage.New(t, func(srv *xmpp.Server, rooms muc.Group) (stage.Part, error) {
			c, err := New("part.example.org", srv, rooms)
			now := time.Unix(1700000000, 0)
			c.now = func() time.Time { now = now.Add(time.Second); return now }
			return c, err
		})
	})
}

// TestCount: time is that between becoming dominant and the next event that ends it, and who left is still counted.
func TestCount(t *testing.T) {
	m, at := newMeeting(), func(ms int) time.Time { return time.UnixMilli(1700000000000 + int64(ms)) }
	m.enter("a")
	m.enter("b")
	m.name("a", "Ana")
	m.speak("nobody", false, at(0))
	m.speak("a", false, at(100))
	m.speak("b", false, at(350))
	m.speak("b", true, at(1000))
	m.speak("a", false, at(2000))
	m.silence("a", at(2500))
	m.speak("b", false, at(3000))
	got := m.report(at(3500))
	if len(got) != 2 || got["a"].Total != 750 || got["b"].Total != 1150 || got["a"].Name != "Ana" {
		t.Errorf("a %+v, b %+v", got["a"], got["b"])
	}
	if again := m.report(at(4500)); again["b"].Total != 2150 {
		t.Errorf("the clock of who speaks goes on: %d", again["b"].Total)
	}
	for range maxFaces + 5 {
		m.face("a", face{Expression: "happy", Timestamp: 1, Duration: 2})
	}
	if n := len(m.users["a"].Faces); n != maxFaces {
		t.Errorf("%d faces are kept", n)
	}
	m.speak("b", false, at(2000)) // the clock went back
	if m.speak("b", true, at(1000)); m.users["b"].Total < 0 {
		t.Error("negative time")
	}
}
