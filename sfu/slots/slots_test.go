package slots

import (
	"fmt"
	"math/rand/v2"
	"testing"
)

// counter draws 0, then doubled numbers, so that both refusals of draw are met.
func counter() func() uint32 {
	n := uint32(0)
	return func() uint32 { n++; return n / 2 }
}

func TestTable(t *testing.T) {
	tb := New(2, counter())
	i, ssrc, rtx, changed, ev, ok := tb.Acquire("a", 1)
	if i != 0 || ssrc == 0 || rtx == 0 || ssrc == rtx || !changed || ev != "" || !ok {
		t.Fatal(i, ssrc, rtx, changed, ev, ok)
	}
	tb.Acquire("b", 2)
	tb.SetForwarded("a", true)
	tb.SetForwarded("nobody", true)
	if _, again, _, changed, _, _ := tb.Acquire("a", 3); again != ssrc || changed {
		t.Error("a moved")
	}
	i, s2, _, changed, ev, ok := tb.Acquire("c", 4)
	if i != 1 || !changed || ev != "b" || !ok {
		t.Error("c takes the slot of b:", i, changed, ev, ok)
	}
	tb.SetForwarded("c", true)
	if _, _, _, _, _, ok := tb.Acquire("d", 5); ok {
		t.Error("d got a slot that forwards")
	}
	if c := tb.slots[1]; c.source != "c" || c.ssrc != s2 || !c.forwarded {
		t.Error(c)
	}
	if a := tb.slots[0]; a.source != "a" || a.ssrc != ssrc || a.rtx != rtx || !a.forwarded {
		t.Error(a)
	}
	tb.Forget("a")
	tb.Forget("a")
	if a := tb.slots[0]; a.source != "" || a.forwarded {
		t.Error("a is forgotten", a)
	}
	if _, s, _, changed, ev, ok := tb.Acquire("d", 6); s != ssrc || !changed || ev != "" || !ok {
		t.Error("d takes the free slot:", s, changed, ev, ok)
	}
	if len(tb.source) != 2 {
		t.Error(tb.source)
	}
}

// The least recently used source that is not forwarded goes, the number of SSRCs stays bounded, and no SSRC serves two slots.
func TestRandom(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	tb := New(10, func() uint32 { return r.Uint32N(64) })
	used, fwd := map[string]int64{}, map[string]bool{}
	for now := int64(1); now < 5000; now++ {
		src := fmt.Sprint(r.IntN(25))
		_, had := used[src]
		_, _, _, changed, ev, ok := tb.Acquire(src, now)
		pinned := 0
		for s := range used {
			if fwd[s] {
				pinned++
			}
		}
		if ok == (!had && pinned == 10) || ok && changed == had {
			t.Fatal(now, src, had, ok, changed, pinned)
		}
		if ev != "" {
			for s, at := range used {
				if !fwd[s] && at < used[ev] || fwd[ev] {
					t.Fatalf("%s evicted, %s was older", ev, s)
				}
			}
			delete(used, ev)
		}
		if ok {
			used[src] = now
			on := r.IntN(3) == 0
			tb.SetForwarded(src, on)
			fwd[src] = on
		}
		if r.IntN(10) == 0 {
			s := fmt.Sprint(r.IntN(25))
			tb.Forget(s)
			delete(used, s)
			delete(fwd, s)
		}
		seen := map[uint32]bool{}
		n := 0
		for _, s := range tb.slots {
			if s.source == "" {
				continue
			}
			if _, ok := used[s.source]; !ok || seen[s.ssrc] || seen[s.rtx] || s.ssrc == s.rtx {
				t.Fatal("slot", s)
			}
			seen[s.ssrc], seen[s.rtx] = true, true
			n++
		}
		if n != len(used) || n > 10 || len(tb.ssrc) > 20 {
			t.Fatal(n, len(used), len(tb.ssrc))
		}
	}
}

func TestNoAllocs(t *testing.T) {
	tb := New(50, rand.Uint32)
	tb.Acquire("a", 1)
	if n := testing.AllocsPerRun(100, func() {
		tb.Acquire("a", 2)
		tb.SetForwarded("a", true)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A source that ended leaves its SSRC alone while there are unused ones.
func TestFreshBeforeFreed(t *testing.T) {
	tb := New(3, counter())
	_, a, _, _, _, _ := tb.Acquire("a", 1)
	tb.Forget("a")
	_, b, _, _, _, _ := tb.Acquire("b", 2)
	_, again, _, _, _, _ := tb.Acquire("a", 3)
	if a == b || again == a || again == b {
		t.Fatal(a, b, again)
	}
	tb.Forget("b")
	if _, c, _, _, ev, ok := tb.Acquire("c", 4); c != a || ev != "" || !ok {
		t.Error("the pool is used up: what was freed first goes first", c, a)
	}
}
