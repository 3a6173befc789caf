package history

import (
	"bytes"
	"encoding/binary"
	"testing"
)

func pkt(seq uint16, n int) []byte {
	b := make([]byte, n)
	binary.BigEndian.PutUint16(b[2:], seq)
	return b
}

func TestRing(t *testing.T) {
	for _, start := range []uint16{0, 100, 65530, 32760} {
		r := New(512, 512, 0, 100)
		if _, ok := r.Get(start); ok {
			t.Fatal("empty ring has a packet")
		}
		for i := range 2000 {
			seq := start + uint16(i)
			r.Put(seq, pkt(seq, 20+i%50), int64(i))
			for _, back := range []int{0, 1, 511, 512, 700} {
				if back > i {
					continue
				}
				s := seq - uint16(back)
				b, at, ok := r.GetAt(s)
				if want := back < 512; ok != want {
					t.Fatalf("start %d packet %d back %d: %v", start, i, back, ok)
				} else if ok && (!bytes.Equal(b, pkt(s, 20+(i-back)%50)) || at != int64(i-back)) {
					t.Fatalf("start %d packet %d back %d: %x at %d", start, i, back, b, at)
				}
			}
		}
	}
}

func TestRingReorderGapLong(t *testing.T) {
	r := New(16, 16, 0, 50)
	r.Put(10, pkt(10, 10), 0)
	r.Put(12, pkt(12, 10), 0)
	if _, ok := r.Get(11); ok {
		t.Error("11 was not put")
	}
	r.Put(11, pkt(11, 11), 0) // late
	if b, ok := r.Get(11); !ok || len(b) != 11 {
		t.Error("late packet lost")
	}
	r.Put(40, pkt(40, 10), 0)
	if _, ok := r.Get(12); ok {
		t.Error("12 is 28 back in a ring of 16")
	}
	r.Put(24, pkt(24, 10), 0) // just too old: must not take the slot of 40
	if _, ok := r.Get(40); !ok {
		t.Error("an old packet displaced a new one")
	}
	r.Put(41, pkt(41, 51), 0)
	if _, ok := r.Get(41); ok || r.TooLong() != 1 {
		t.Error("too long packet stored")
	}
	// 65536 later the same number must not find the old packet.
	r = New(16, 16, 0, 50)
	r.Put(5, pkt(5, 10), 0)
	for _, s := range []uint16{30000, 60000, 4} {
		r.Put(s, pkt(s, 10), 0)
	}
	if _, ok := r.Get(5); ok {
		t.Error("found a packet of the cycle before")
	}
}

// A ring grows until it holds what is younger than keep, and loses nothing on the way.
func TestRingGrows(t *testing.T) {
	for _, c := range []struct{ rate, slots int }{{10, 32}, {30, 64}, {100, 256}, {1000, 256}} {
		r := New(16, 256, 2e9, 100)
		step := int64(1e9) / int64(c.rate)
		for i := range 1000 {
			seq := uint16(65500 + i)
			r.Put(seq, pkt(seq, 20+i%50), int64(i)*step)
			for back := range min(i+1, 256, 2*c.rate) {
				if b, ok := r.Get(seq - uint16(back)); !ok || !bytes.Equal(b, pkt(seq-uint16(back), 20+(i-back)%50)) {
					t.Fatalf("%d a second: packet %d, %d back: %v %x", c.rate, i, back, ok, b)
				}
			}
		}
		if len(r.meta) != c.slots {
			t.Errorf("%d a second take %d slots, want %d", c.rate, len(r.meta), c.slots)
		}
	}
}

func TestNoAllocs(t *testing.T) {
	r := New(512, 512, 0, 1500)
	p := pkt(1, 1200)
	seq := uint16(0)
	if n := testing.AllocsPerRun(1000, func() {
		seq++
		r.Put(seq, p, 1)
		if _, ok := r.Get(seq); !ok {
			t.Fatal()
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkPut(b *testing.B) {
	r := New(1024, 1024, 0, 1500)
	p := pkt(1, 1200)
	b.ReportAllocs()
	for i := range b.N {
		r.Put(uint16(i), p, 1)
	}
}
