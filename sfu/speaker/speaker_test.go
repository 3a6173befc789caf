package speaker

import (
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
)

const ms = int64(1e6)

// talk plays 20 ms packets of some speakers from now on for d; who speaks is loud with syllables, who listens makes room noise.
func talk(d *Detector, r *rand.Rand, now *int64, dur int64, speaking map[int32]bool) (changes []int32) {
	ids := slices.Sorted(maps.Keys(speaking)) // one order: a seed is one conversation
	for end := *now + dur; *now < end; *now += 20 * ms {
		for _, id := range ids {
			on := speaking[id]
			level := uint8(80 + r.IntN(20)) // quiet
			if on && *now/(150*ms)%4 != 3 { // pauses between syllables
				level = uint8(15 + r.IntN(15))
			}
			d.Level(id, level, *now)
		}
		if id, changed := d.Tick(*now); changed {
			changes = append(changes, id)
		}
	}
	return changes
}

func TestDominant(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 1))
		d := New()
		now := int64(0)
		if c := talk(d, r, &now, 5000*ms, map[int32]bool{1: false, 2: false, 3: false}); c != nil {
			t.Fatal("noise became dominant", c)
		}
		if c := talk(d, r, &now, 3000*ms, map[int32]bool{1: true, 2: false, 3: false}); !slices.Equal(c, []int32{1}) {
			t.Fatal("1 speaks", c)
		}
		if c := talk(d, r, &now, 5000*ms, map[int32]bool{1: false, 2: false, 3: false}); c != nil {
			t.Fatal("silence changed", c)
		}
		// A short noise (a cough, 60 ms) must not take over while 1 speaks.
		talk(d, r, &now, 1000*ms, map[int32]bool{1: true, 2: false, 3: false})
		if c := talk(d, r, &now, 60*ms, map[int32]bool{1: true, 2: false, 3: true}); c != nil {
			t.Fatal("a cough took over", c)
		}
		talk(d, r, &now, 1000*ms, map[int32]bool{1: true, 2: false, 3: false})
		if c := talk(d, r, &now, 3000*ms, map[int32]bool{1: false, 2: true, 3: false}); !slices.Equal(c, []int32{2}) {
			t.Fatal("2 speaks", c)
		}
		if c := talk(d, r, &now, 3000*ms, map[int32]bool{1: false, 2: false, 3: true}); !slices.Equal(c, []int32{3}) {
			t.Fatal("3 speaks", c)
		}
		if got := d.Recent(nil); !slices.Equal(got, []int32{2, 1}) {
			t.Fatal(got)
		}
		d.Remove(3)
		if id := d.dominant; id != None {
			t.Error("removed, still dominant")
		}
		d.Remove(2)
		d.Remove(77)
		if got := d.Recent(nil); !slices.Equal(got, []int32{1}) {
			t.Fatal(got)
		}
		if c := talk(d, r, &now, 2000*ms, map[int32]bool{1: true}); !slices.Equal(c, []int32{1}) {
			t.Fatal("1 again", c)
		}
	}
}

// Packets that stop (DTX, mute) count as silence.
func TestStoppedPackets(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	d := New()
	now := int64(0)
	talk(d, r, &now, 2000*ms, map[int32]bool{1: true, 2: false})
	if d.dominant != 1 {
		t.Fatal(d.dominant)
	}
	talk(d, r, &now, 2000*ms, map[int32]bool{2: true}) // 1 sends nothing
	if d.dominant != 2 {
		t.Fatal(d.dominant)
	}
	now += 3600 * 1000 * ms // a long pause
	talk(d, r, &now, 2000*ms, map[int32]bool{1: true})
	if d.dominant != 1 {
		t.Fatal(d.dominant)
	}
}

func TestRecentIsBounded(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	d := New()
	now := int64(0)
	for round := range 2 {
		for id := range int32(15) {
			talk(d, r, &now, 1500*ms, map[int32]bool{id: true})
			if d.dominant != id {
				t.Fatal(round, id, d.dominant)
			}
		}
	}
	want := []int32{13, 12, 11, 10, 9, 8, 7, 6, 5, 4}
	if got := d.Recent(nil); !slices.Equal(got, want) {
		t.Fatal(got)
	}
}

func TestNoAllocs(t *testing.T) {
	d := New()
	for id := range int32(50) {
		d.Level(id, 100, 0)
	}
	now, n := int64(0), 0
	dst := make([]int32, 0, 10)
	if a := testing.AllocsPerRun(500, func() {
		now += 20 * ms
		n++
		for id := range int32(50) {
			d.Level(id, uint8(n*int(id)%127), now)
		}
		d.Tick(now)
		d.Recent(dst)
	}); a != 0 {
		t.Errorf("%v allocations", a)
	}
}

func BenchmarkLevel(b *testing.B) {
	d := New()
	for i := range b.N {
		d.Level(int32(i%50), uint8(i), int64(i/50)*20*ms)
	}
}

func BenchmarkTick50(b *testing.B) {
	d := New()
	now := int64(0)
	for range b.N {
		now += interval
		for id := range int32(50) {
			d.Level(id, uint8(id), now)
		}
		d.Tick(now)
	}
}
