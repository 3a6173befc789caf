package sfu

import (
	"strings"
	"testing"

	"konzil/internal/await"
)

// TestExplain asks why while a receiver sees the best, wants less, wants nothing, and has next to no bandwidth.
func TestExplain(t *testing.T) {
	t.Parallel()
	s := startSFU(t, nil)
	ev := newEvents()
	c, err := s.NewConference("room", ev)
	must(t, err)
	from, to := newClient(t, c, "from", clientOptions{layers: 2}), newClient(t, c, "to", clientOptions{})
	from.join(nil)
	to.join(from.sources())
	ev.connected(t, "from")
	ev.connected(t, "to")
	defer from.play(nil)()
	receiver := func() ReceiverExplanation {
		for _, r := range s.Explain("room")[0].Receivers {
			if r.Endpoint == "to" {
				return r
			}
		}
		t.Fatal("the receiver is missing")
		return ReceiverExplanation{}
	}
	if r := receiver(); !strings.Contains(r.Why, "has not said") || len(r.Sources) != 0 {
		t.Errorf("before the first wish: %+v", r)
	}
	source := func(why string) func() bool {
		return func() bool {
			r := receiver()
			return len(r.Sources) == 1 && strings.Contains(r.Sources[0].Why, why) && r.Estimate > 0
		}
	}
	for _, c := range []struct {
		height int
		why    string
	}{{720, "the best there is"}, {100, "all are above the wanted 100 lines"}, {0, "not wanted"}, {-1, "the best there is"}} {
		to.ep.SetConstraints(VideoConstraints{LastN: -1, Default: Constraint{MaxHeight: c.height}})
		await.True(t, c.why, source(c.why))
	}
	await.True(t, "it flows", func() bool { return receiver().Sources[0].Flowing != 0 })
	if x := receiver().Sources[0]; x.Flowing == 0 || len(x.Layers) < 2 || x.Bitrate == 0 || x.Source != "from-v0" {
		t.Errorf("%+v", x)
	}
	if n := len(s.Explain("another")); n != 0 {
		t.Errorf("%d explanations of a conference that there is not", n)
	}
}
