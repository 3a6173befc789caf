package nack

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"
)

const ms = int64(1e6)

func TestGenerator(t *testing.T) {
	for _, start := range []uint16{10, 65533} {
		var g Generator
		for _, d := range []uint16{0, 1, 4, 5} {
			if !g.Received(start+d, 0) {
				t.Fatal("new packet taken for old")
			}
		}
		if g.Received(start+4, 0) || g.Received(start, 0) {
			t.Error("duplicate taken for new")
		}
		if got := g.Due(1*ms, 50*ms, nil); got != nil {
			t.Error("asked before reordering is ruled out", got)
		}
		want := []uint16{start + 2, start + 3}
		if got := g.Due(6*ms, 50*ms, nil); !reflect.DeepEqual(got, want) {
			t.Error(got)
		}
		if got := g.Due(50*ms, 50*ms, nil); got != nil {
			t.Error("asked again within a round trip", got)
		}
		if !g.Received(start+2, 51*ms) || g.Received(start+2, 51*ms) {
			t.Error("recovered packet is new once")
		}
		if got := g.Due(57*ms, 50*ms, nil); !reflect.DeepEqual(got, want[1:]) {
			t.Error(got)
		}
		if g.GaveUp() {
			t.Error("gave up early")
		}
		n := 2
		for now := 58 * ms; now < 2000*ms; now += ms {
			n += len(g.Due(now, 50*ms, nil))
		}
		if n != maxTries || !g.GaveUp() || g.GaveUp() || len(g.missing) != 0 {
			t.Error(n, len(g.missing))
		}
	}
}

func TestGeneratorWindow(t *testing.T) {
	var g Generator
	g.Received(0, 0)
	g.Received(900, 0)
	if len(g.missing) != 899 || g.GaveUp() {
		t.Error(len(g.missing))
	}
	g.Received(1500, 0) // everything up to 500 falls out
	if len(g.missing) != 998 || !g.GaveUp() {
		t.Error(len(g.missing))
	}
	g.Received(1500+window+1, 0)
	if len(g.missing) != 0 || !g.GaveUp() {
		t.Error(len(g.missing))
	}
	if g.Received(100, 0) {
		t.Error("older than the window")
	}
	if !g.Received(1500+window, 0) {
		t.Error("late but new")
	}
}

// What is due is exactly what is missing within the window, under loss, reordering and wraparound.
func TestGeneratorAgainstModel(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 4))
		var g Generator
		got := map[int]bool{}
		hi, first := 65000, 65000
		g.Received(uint16(hi), 0)
		got[hi] = true
		for range 5000 {
			s := hi + 1 + r.IntN(3)
			if r.IntN(4) == 0 {
				s = max(hi-r.IntN(300), first)
			}
			if isNew := g.Received(uint16(s), 0); isNew == got[s] {
				t.Fatal("seed", seed, s, isNew)
			}
			got[s] = true
			hi = max(hi, s)
		}
		var want []uint16
		for s := max(hi-window+1, first); s <= hi; s++ {
			if !got[s] {
				want = append(want, uint16(s))
			}
		}
		if due := g.Due(ms*100, 0, nil); !slices.Equal(due, want) {
			t.Fatalf("seed %d: %d due, want %d", seed, len(due), len(want))
		}
	}
}

func TestStats(t *testing.T) {
	var s Stats
	if b := s.Report(0, 7); b.SSRC != 7 || b.HighestSeq != 0 || b.Lost != 0 {
		t.Error(b)
	}
	at := int64(0)
	send := func(seq uint16) {
		s.Received(seq, uint32(at/ms)*90, at, 90000)
		at += 10 * ms
	}
	for i := range 100 {
		if i%10 != 3 {
			send(uint16(65500 + i))
		} else {
			at += 10 * ms
		}
	}
	b := s.Report(at, 7)
	if b.Lost != 10 || b.Fraction != 25 || b.HighestSeq != 1<<16|63 || b.Jitter != 0 || b.LSR != 0 || b.DLSR != 0 {
		t.Errorf("%+v", b)
	}
	send(64)
	send(64)
	send(64) // duplicates: more than expected
	s.SenderReport(0x1122334455667788, at)
	b = s.Report(at+1500*ms, 7)
	if b.Lost != 8 || b.Fraction != 0 || b.LSR != 0x33445566 || b.DLSR != 3<<15 {
		t.Errorf("%+v", b)
	}
	// Jitter: alternately 0 and 20 ms late converges towards 20 ms.
	for i := range 400 {
		late := int64(i%2) * 20 * ms
		s.Received(uint16(65+i), uint32(at/ms)*90, at+late, 90000)
		at += 10 * ms
	}
	if b = s.Report(at, 7); b.Jitter < 1700 || b.Jitter > 1800 {
		t.Errorf("jitter %d, want about 1800", b.Jitter)
	}
	if s.Packets() != 493 {
		t.Error(s.Packets())
	}
}

func TestNoAllocs(t *testing.T) {
	var g Generator
	var s Stats
	g.Received(0, 0)
	g.Received(2, 0)
	buf := make([]uint16, 0, 2000)
	n, now := uint16(2), int64(0)
	if a := testing.AllocsPerRun(1000, func() {
		n += 1 + n%3
		now += 10 * ms
		g.Received(n, now)
		s.Received(n, uint32(n)*960, now, 48000)
		g.Due(now, 0, buf)
		s.Report(now, 1)
	}); a != 0 {
		t.Errorf("%v allocations", a)
	}
}

func BenchmarkReceived(b *testing.B) {
	var g Generator
	for i := range b.N {
		g.Received(uint16(i), int64(i))
	}
}
