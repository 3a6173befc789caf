package sfu

import (
	"testing"

	"konzil/internal/await"
)

// TestForesee: the sender is asked for a keyframe as soon as a newcomer has answered the offer, and not when the cache will do.
func TestForesee(t *testing.T) {
	b, _, step := replayBed(t, 1, nil)
	src := b.from.sources["from-v0"]
	await.True(t, "the control loop has seen it", func() (yes bool) {
		b.c.do(func() { yes = src.sending() })
		return yes
	})
	asked := func() uint64 { return b.s.Counters()["replay_foreseen"] }
	answer := func(id string) *Endpoint {
		t.Helper()
		e, err := b.c.AddEndpoint(endpointConfig(id))
		must(t, err)
		must(t, e.SetRemote(Transport{Ufrag: "abcd", Pwd: "0123456789012345678901", Setup: "active"}))
		b.c.do(func() {}) // what SetRemote has queued is done
		return e
	}
	answer("fresh") // the newest keyframe is in the cache
	if n := asked(); n != 0 {
		t.Errorf("asked %d times though the cache has one", n)
	}
	age := func() {
		b.from.sh.mu.Lock()
		defer b.from.sh.mu.Unlock()
		for _, tr := range src.tracks {
			tr.lastKey, tr.lastAsk = tr.lastKey-2*replayNewcomer, 0
		}
	}
	age()
	step(false)
	e := answer("late")
	if n := asked(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	// What one wants is known before it has connected, too.
	e.SetConstraints(VideoConstraints{LastN: 0})
	if n := asked(); n != 1 {
		t.Errorf("asked %d times for one who wants nothing", n)
	}
	e.SetConstraints(VideoConstraints{LastN: -1, Default: Constraint{MaxHeight: 720}})
	if n := asked(); n != 2 {
		t.Errorf("asked %d times for one who wants it", n)
	}
	// One who has not said it when it has connected will.
	age()
	b.c.do(func() { e.become(TransportConnected) })
	if n := asked(); n != 2 {
		t.Errorf("asked %d times for one who has said what it wants", n)
	}
	e = answer("silent")
	n := asked()
	age()
	b.c.do(func() { e.become(TransportConnected) })
	if asked() != n+1 {
		t.Errorf("asked %d times for one who has not", asked()-n)
	}
	e.SetConstraints(VideoConstraints{LastN: -1})
	n = asked()
	e.SetConstraints(VideoConstraints{LastN: -1, Default: Constraint{MaxHeight: 360}})
	if asked() != n {
		t.Error("asked for one who is there already")
	}
}
