package sfu

import (
	"testing"

	"konzil/internal/await"
)

// TestProbe lets a receiver be probed: its estimate rises to what was wished though a fraction of it is sent.
func TestProbe(t *testing.T) {
	t.Parallel()
	s := startSFU(t, nil)
	ev := newEvents()
	c, err := s.NewConference("room", ev)
	must(t, err)
	from, to := newClient(t, c, "from", clientOptions{layers: 1}), newClient(t, c, "to", clientOptions{})
	from.join(nil)
	to.join(from.sources())
	ev.connected(t, "from")
	ev.connected(t, "to")
	to.ep.SetConstraints(VideoConstraints{LastN: -1, Default: Constraint{MaxHeight: 720}})
	defer from.play(nil)()
	await.True(t, "video", func() bool { return to.count(from.ssrc(1)) > 30 })
	estimate := func() (bps uint64) {
		to.ep.sh.mu.Lock()
		defer to.ep.sh.mu.Unlock()
		to.ep.m.est.SetWish(9_000_000, 10_000_000) // the control loop says otherwise at times
		return to.ep.m.est.Bitrate()
	}
	await.True(t, "an estimate of 8 Mb/s", func() bool { return estimate() > 8_000_000 })
	n := s.Counters()
	if n["probes"] == 0 || n["probe_packets"] < 20 {
		t.Errorf("probes %d, packets of them %d", n["probes"], n["probe_packets"])
	}
}
