package rewrite

import "testing"

// With First the rings grow to a second's packets, and never past Window; what they hold is kept.
func TestWindowGrows(t *testing.T) {
	for _, c := range []struct {
		rate  int64 // packets a second
		slots int
	}{{20, 32}, {50, 64}, {200, 256}, {2000, 512}} {
		s := Stream{Window: 512, First: 32}
		s.Reset(100, 0)
		s.Target(1, All)
		reach := int(min(c.rate, 400))
		for n := range int(8 * c.rate) {
			in := one(1, n, 0, false, n == 0)
			in.Arrival = int64(n) * 1e9 / c.rate
			if n%7 == 3 {
				continue // lost: its number is kept
			}
			out, ok := s.mapped(in)
			if !ok {
				t.Fatalf("packet %d", n)
			}
			// As soon as half a ring is there, a second or 400 packets can be repeated.
			back := min(n, reach-1)
			_, seq, _, ok := s.Back(out.Seq - uint16(back))
			if want := (n - back) % 7; ok != (want != 3) || ok && seq != uint16(n-back) {
				t.Fatalf("%d a second: packet %d, %d before: %v %d", c.rate, n, back, ok, seq)
			}
		}
		if len(s.seqs.in) != c.slots {
			t.Errorf("%d packets a second take %d slots, want %d", c.rate, len(s.seqs.in), c.slots)
		}
	}
}

// A burst, and a gap as long as one, fit from the first packet on.
func TestWindowGrowsForABurst(t *testing.T) {
	s := Stream{Window: 512, First: 32}
	s.Reset(100, 0)
	s.Target(1, All)
	for n := range 300 {
		if n > 10 && n < 200 {
			continue
		}
		in := one(1, n, 0, false, n == 0)
		in.Arrival, in.VP8 = 1e9, nil
		if _, ok := s.mapped(in); !ok {
			t.Fatalf("packet %d", n)
		}
	}
	for n := range 300 {
		_, seq, _, ok := s.Back(100 + uint16(n))
		if ok != (n <= 10 || n >= 200) || ok && seq != uint16(n) {
			t.Fatalf("packet %d: %v %d", n, ok, seq)
		}
	}
	late := one(1, 190, 0, false, false)
	late.VP8 = nil
	if out, ok := s.mapped(late); !ok || out.Seq != 290 {
		t.Error("a late packet found no place", out, ok)
	}
}

// Masks of active decode targets move with the slots that they belong to.
func TestWindowGrowsWithMasks(t *testing.T) {
	q := sequence{}
	q.reset(0, 64, 16)
	q.newLayer(0)
	for n := range uint16(60) {
		q.place(n, 1)
		q.take(n, 1, &Out{WriteActive: n%3 == 0, Active: uint32(n)})
	}
	s := Stream{seqs: q}
	for n := range uint16(60) {
		if _, _, out, ok := s.Back(n); !ok || out.WriteActive != (n%3 == 0) || out.WriteActive && out.Active != uint32(n) {
			t.Fatalf("%d: %+v %v", n, out, ok)
		}
	}
}

// A stream that rested goes on behind what it sent before, in few slots, and knows nothing of that any more.
func TestRest(t *testing.T) {
	s := Stream{Window: 512, First: 32}
	s.Reset(100, 7000)
	s.Target(1, All)
	var last Out
	for n := range 400 {
		in := one(1, n, 0, false, n == 0)
		in.Arrival = int64(n) * 1e6
		if out, ok := s.mapped(in); ok {
			last = out
		}
	}
	s.Rest()
	if len(s.seqs.in) != 32 || len(s.seqs.out) != 32 {
		t.Errorf("%d and %d slots", len(s.seqs.in), len(s.seqs.out))
	}
	if _, _, _, ok := s.Back(last.Seq); ok || s.Current() != 0 {
		t.Error("it knows what it sent before")
	}
	in := one(2, 5, 0, false, true)
	in.Arrival = 1e9
	if _, ok := s.mapped(in); ok {
		t.Error("it sends while it rests")
	}
	s.Target(2, All)
	out, ok := s.mapped(in)
	if !ok || out.Seq != last.Seq+1 || int32(out.TS-last.TS) <= 0 || out.PictureID != last.PictureID+1 {
		t.Errorf("%+v after %+v", out, last)
	}
	if _, seq, _, ok := s.Back(out.Seq); !ok || seq != in.Seq {
		t.Error("it does not know what it sends")
	}
}
