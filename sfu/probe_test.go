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

// TestProbeOfNothing: a receiver of which all video was taken is probed all the same, or it would get none back.
func TestProbeOfNothing(t *testing.T) {
	b := newBedOf(t, endpointConfig, Source{Name: "from-v0", Kind: Video, SSRCs: []uint32{200}, RTX: []uint32{300}}, 1, nil)
	b.enc = []*vp8Encoder{{seq: 100}}
	_, _, e, o := b.forwarding()
	e.SetConstraints(VideoConstraints{LastN: 0})
	await.True(t, "nothing is sent", func() bool {
		e.sh.mu.Lock()
		defer e.sh.mu.Unlock()
		return o.src == nil
	})
	await.True(t, "probe packets", func() bool {
		e.sh.mu.Lock()
		e.m.est.OnREMB(e.sh.s.now(), 1_000_000)
		e.m.est.SetProbing(true)
		e.m.est.SetWish(1_500_000, 1_500_000) // a camera that would fit
		e.sh.mu.Unlock()
		e.sh.hurry()
		return b.s.Counters()["probe_packets"] > 10
	})
}
