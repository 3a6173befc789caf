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

// The newest numbers are there and those too far back are not, wherever the numbers begin.
func TestLog(t *testing.T) {
	for _, start := range []uint16{0, 100, 65530, 32760} {
		l := New(512, 512, 0)
		if _, ok := l.Get(start); ok {
			t.Fatal("empty log has a packet")
		}
		for i := range 2000 {
			seq := start + uint16(i)
			l.Put(seq, pkt(seq, 20+i%50), int64(i))
			for _, back := range []int{0, 1, 511, 512, 700} {
				if back > i {
					continue
				}
				s := seq - uint16(back)
				b, at, ok := l.getAt(s)
				if want := back < 512; ok != want {
					t.Fatalf("start %d packet %d back %d: %v", start, i, back, ok)
				} else if ok && (!bytes.Equal(b, pkt(s, 20+(i-back)%50)) || at != int64(i-back)) {
					t.Fatalf("start %d packet %d back %d: %x at %d", start, i, back, b, at)
				}
			}
		}
	}
}

func TestReorderGapLong(t *testing.T) {
	l := New(64, 64, 0)
	l.Put(10, pkt(10, 10), 0)
	l.Put(12, pkt(12, 10), 0)
	if _, ok := l.Get(11); ok {
		t.Error("11 was not put")
	}
	l.Put(11, pkt(11, 11), 0) // late
	if b, ok := l.Get(11); !ok || len(b) != 11 {
		t.Error("late packet lost")
	}
	l.Put(100, pkt(100, 10), 0)
	if _, ok := l.Get(12); ok {
		t.Error("12 is 88 back, of 64")
	}
	l.Put(36, pkt(36, 10), 0) // just too old: must not take the slot of 100
	if _, ok := l.Get(100); !ok {
		t.Error("an old packet displaced a new one")
	}
	if _, ok := l.Get(36); ok {
		t.Error("36 is 64 back")
	}
	l.Put(101, pkt(101, maxPacket+1), 0)
	if _, ok := l.Get(101); ok {
		t.Error("too long packet stored")
	}
	// 65536 later the same number must not find the old packet.
	l = New(64, 64, 0)
	l.Put(5, pkt(5, 10), 0)
	for _, s := range []uint16{30000, 60000, 4} {
		l.Put(s, pkt(s, 10), 0)
	}
	if _, ok := l.Get(5); ok {
		t.Error("found a packet of the cycle before")
	}
}

// What is younger than keep, or among the least newest, is there, as far as most allows; and there is little else.
func TestKeeps(t *testing.T) {
	const least, most, keep, size = 100, 1024, int64(2e9), 1200
	perChunk := chunkSize / size
	for _, rate := range []int{10, 30, 100, 300, 1000} {
		l := New(least, most, keep)
		step := int64(1e9) / int64(rate)
		there := min(most, max(least, 2*rate))
		for i := range 5000 {
			seq := uint16(65500 + i)
			l.Put(seq, pkt(seq, size), int64(i)*step)
			if i%97 != 0 {
				continue
			}
			for back := range min(i+1, there) {
				if b, ok := l.Get(seq - uint16(back)); !ok || !bytes.Equal(b, pkt(seq-uint16(back), size)) {
					t.Fatalf("%d a second: packet %d, %d back: %v %d bytes", rate, i, back, ok, len(b))
				}
			}
		}
		if n, want := len(l.chunks), there/perChunk+2; n > want {
			t.Errorf("%d a second take %d chunks, want %d at most", rate, n, want)
		}
	}
}

// Memory is given up when fewer packets come.
func TestShrinks(t *testing.T) {
	l := New(64, 1024, 1e9)
	var seq uint16
	var now int64
	run := func(rate, n int) {
		for range n {
			seq++
			now += int64(1e9) / int64(rate)
			l.Put(seq, pkt(seq, 1000), now)
		}
	}
	run(1000, 3000)
	large := len(l.chunks)
	run(100, 400)
	if small := len(l.chunks); small > large/4 {
		t.Errorf("%d chunks, %d before", small, large)
	}
	for back := range uint16(100) {
		if _, ok := l.Get(seq - back); !ok {
			t.Fatalf("%d back is gone", back)
		}
	}
}

// One number again and again, or numbers that leap, take no more memory than the longest packets in order.
func TestBounded(t *testing.T) {
	l := New(288, 1024, 1e9)
	for i := range 20_000 {
		l.Put(7, pkt(7, maxPacket), 0)
		if i%3 == 0 {
			l.Put(uint16(i*5000), pkt(1, maxPacket), 0)
		}
		if len(l.chunks) > l.maxChunks() {
			t.Fatalf("%d chunks", len(l.chunks))
		}
	}
}

func TestNoAllocs(t *testing.T) {
	l := New(512, 512, 0)
	p := pkt(1, 1200)
	seq := uint16(0)
	put := func() {
		seq++
		l.Put(seq, p, 1)
		if _, ok := l.Get(seq); !ok {
			t.Fatal()
		}
	}
	for range 2000 {
		put()
	}
	if n := testing.AllocsPerRun(1000, put); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzLog compares the log with a map: what it returns is what was put under that number, and of the newest numbers nothing is missing.
func FuzzLog(f *testing.F) {
	f.Add([]byte{1, 1, 1, 1, 200, 255, 7, 0, 0, 130, 1, 1}, uint16(65530))
	f.Add(bytes.Repeat([]byte{1, 0x81, 3}, 300), uint16(0))
	f.Fuzz(func(t *testing.T, steps []byte, seq uint16) {
		const least, most = 32, 64
		l := New(least, most, 10)
		type stored struct {
			index int64
			b     []byte
		}
		put := map[uint16]stored{}
		index, hi := int64(seq), int64(-1)
		for i, s := range steps {
			index += int64(int8(s)) >> (s & 3) // ahead and back, near and far
			if index < 0 {
				index = 0
			}
			if old, ok := put[uint16(index)]; ok && old.index == index {
				continue // as duplicates do not get here
			}
			p := pkt(uint16(index), 4+int(s)*5)
			p[0] = byte(i)
			l.Put(uint16(index), p, int64(i))
			if hi = max(hi, index); index > hi-most {
				put[uint16(index)] = stored{index, p}
			}
			for back := range int64(most + 2) {
				want, ok := put[uint16(hi-back)]
				ok = ok && want.index == hi-back
				b, got := l.Get(uint16(hi - back))
				switch {
				case got && (!ok || !bytes.Equal(b, want.b)):
					t.Fatalf("step %d: %d back: %x, was put: %v", i, back, b, ok)
				case got && back >= most:
					t.Fatalf("step %d: %d back is still there", i, back)
				case !got && ok && back < least:
					t.Fatalf("step %d: %d back is gone", i, back)
				}
			}
		}
	})
}

func BenchmarkPut(b *testing.B) {
	l := New(288, 1024, 1500e6)
	p := pkt(1, 1200)
	b.ReportAllocs()
	for i := range b.N {
		l.Put(uint16(i), p, int64(i)*5e6)
	}
}
