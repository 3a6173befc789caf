package twcc

import (
	"math/rand/v2"
	"testing"

	prtcp "github.com/pion/rtcp"

	"konzil/sfu/rtp"
)

const ms = int64(1e6)

// parse feeds all packets of a compound to ParseFeedback.
func parse(t testing.TB, b []byte, s *Sent) (out []Acked, packets int) {
	t.Helper()
	err := rtp.Walk(b, func(p rtp.RTCP) bool {
		if p.Type != rtp.TypeRTPFB || p.Count != rtp.FmtTWCC || p.SSRC != 1 {
			t.Fatalf("packet %+v", p)
		}
		media, fci, ok := rtp.Feedback(p.Body)
		if media != 2 || !ok {
			t.Fatal("media", media)
		}
		var err error
		if out, err = ParseFeedback(fci, s, out); err != nil {
			t.Fatalf("%v: %x", err, fci)
		}
		packets++
		return true
	})
	if err != nil {
		t.Fatal(err)
	}
	return out, packets
}

// What one side records the other side learns, to a quarter of a millisecond, under loss, reordering and wraparound.
func TestRoundTrip(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 5))
		var rec Recorder
		var sent Sent
		arrived := map[uint16]int64{}
		base := uint16(65000 + r.IntN(1000))
		now := int64(1+r.IntN(1<<30)) * ms
		type flight struct {
			seq uint16
			at  int64
		}
		var air []flight
		learned := map[uint16]int64{}
		lost := map[uint16]bool{}
		for i := range 3000 {
			seq := base + uint16(i)
			sent.Add(seq, 100+i%1000, now, 0)
			if r.IntN(10) != 0 {
				air = append(air, flight{seq, now + 20*ms + int64(r.IntN(5000))*1000})
			}
			if r.IntN(500) == 0 {
				now += int64(r.IntN(30_000)) * ms // a pause, sometimes longer than a delta can hold
			}
			now += int64(r.IntN(3000)) * 1000
			for len(air) > 0 && (air[0].at <= now || len(air) > 20) {
				k := r.IntN(min(3, len(air)))
				f := air[k]
				air = append(air[:k], air[k+1:]...)
				rec.Record(f.seq, f.at)
				arrived[f.seq] = f.at
			}
			if i%40 != 39 {
				continue
			}
			b := rec.Build(nil, 1, 2)
			if b == nil {
				continue
			}
			if _, err := prtcp.Unmarshal(b); err != nil {
				t.Fatalf("seed %d: pion: %v", seed, err)
			}
			acked, _ := parse(t, b, &sent)
			for _, a := range acked {
				if a.Size != 100+int(a.Seq-base)%1000 {
					t.Fatalf("seed %d: size %d of %d", seed, a.Size, a.Seq)
				}
				if a.ArrivalTime < 0 {
					if _, ok := arrived[a.Seq]; ok || lost[a.Seq] {
						t.Fatalf("seed %d: %d reported lost", seed, a.Seq)
					}
					lost[a.Seq] = true
					continue
				}
				if _, ok := learned[a.Seq]; ok {
					t.Fatalf("seed %d: %d told twice", seed, a.Seq)
				}
				learned[a.Seq] = a.ArrivalTime
			}
		}
		if len(learned) < 2000 {
			t.Fatal("too little learned")
		}
		// All times are the arrival's up to one constant (the circles of the reference time).
		var off int64
		first := true
		for seq, at := range learned {
			d := at - arrived[seq]
			if first {
				off, first = d, false
			}
			if d-off > 250_000 || off-d > 250_000 {
				t.Fatalf("seed %d: %d off by %d ns", seed, seq, d-off)
			}
		}
	}
}

func TestAgainstPion(t *testing.T) {
	var rec Recorder
	at := 1000 * ms
	for _, d := range []uint16{0, 1, 2, 5, 6, 30, 31} {
		rec.Record(65534+d, at)
		at += int64(d) * 30 * ms
	}
	b := rec.Build(nil, 1, 2)
	var p prtcp.TransportLayerCC
	if err := p.Unmarshal(b); err != nil {
		t.Fatal(err)
	}
	if p.SenderSSRC != 1 || p.MediaSSRC != 2 || p.BaseSequenceNumber != 65534 || p.PacketStatusCount != 32 || p.ReferenceTime != 15 || p.FbPktCount != 0 {
		t.Errorf("%+v", p)
	}
	var got []int64
	for _, d := range p.RecvDeltas {
		got = append(got, d.Delta)
	}
	if len(got) != 7 || got[0] != 40_000 || got[1] != 0 || got[2] != 30_000 || got[3] != 60_000 || got[5] != 180_000 || got[6] != 900_000 {
		t.Error(got)
	}
	if rec.Build(nil, 1, 2) != nil {
		t.Error("nothing new, yet feedback")
	}
	rec.Record(1, at)            // late: reported from there on
	p = prtcp.TransportLayerCC{} // Unmarshal appends
	if err := p.Unmarshal(rec.Build(nil, 1, 2)); err != nil || p.BaseSequenceNumber != 1 || p.FbPktCount != 1 {
		t.Errorf("%v %+v", err, p)
	}
}

// Every sequence of symbols survives packing.
func TestChunks(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	for range 3000 {
		sym := make([]uint8, 1+r.IntN(60))
		stay := 1 + r.IntN(10)
		for i := range sym {
			if i > 0 && r.IntN(stay) != 0 {
				sym[i] = sym[i-1]
			} else {
				sym[i] = uint8(r.IntN(3))
			}
		}
		b := appendChunks(nil, sym)
		n := 0
		for i := 0; i < len(b); i += 2 {
			c := uint16(b[i])<<8 | uint16(b[i+1])
			for k := 0; k < chunkLen(c) && n < len(sym); k++ {
				if chunkSymbol(c, k) != sym[n] {
					t.Fatalf("symbol %d of %v is %d", n, sym, chunkSymbol(c, k))
				}
				n++
			}
		}
		if n != len(sym) {
			t.Fatalf("%d symbols of %d", n, len(sym))
		}
	}
}

func TestBigGap(t *testing.T) {
	var rec Recorder
	var sent Sent
	rec.Record(10, ms)
	rec.Record(1500, 2*ms)
	sent.Add(1500, 1, 0, 0)
	acked, n := parse(t, rec.Build(nil, 1, 2), &sent)
	if len(acked) != 1 || acked[0].Seq != 1500 || n > 3 {
		t.Error(acked, n)
	}
	rec.Record(30000, 3*ms)
	rec.Record(1499, 3*ms) // far too late
	if acked, n = parse(t, rec.Build(nil, 1, 2), &sent); n > 3 || len(acked) != 0 {
		t.Error(acked, n)
	}
	for i := range 3000 { // more than one packet
		rec.Record(30001+uint16(i), int64(3+i)*ms)
		sent.Add(30001+uint16(i), 1, 0, 0)
	}
	if acked, n = parse(t, rec.Build(nil, 1, 2), &sent); n < 4 || len(acked) != 2048 {
		t.Error(len(acked), n)
	}
}

func TestParseErrors(t *testing.T) {
	var s Sent
	for _, b := range [][]byte{
		nil, make([]byte, 7),
		{0, 1, 0, 1, 0, 0, 0, 0},                  // no chunk
		{0, 1, 0, 1, 0, 0, 0, 0, 0x20, 1},         // no delta
		{0, 1, 0, 1, 0, 0, 0, 0, 0x40, 1, 0},      // half of a large delta
		{0, 1, 0, 1, 0, 0, 0, 0, 0x20, 0, 0},      // run of nothing
		{0, 1, 0, 20, 0, 0, 0, 0, 0x80, 0, 0},     // second chunk cut
		{0, 1, 0xff, 0xff, 0, 0, 0, 0, 0x3f, 255}, // many
	} {
		if _, err := ParseFeedback(b, &s, nil); err == nil {
			t.Errorf("%x accepted", b)
		}
	}
	if _, err := ParseFeedback(make([]byte, 8), &s, nil); err != nil {
		t.Error("feedback about nothing:", err)
	}
}

func TestReferenceTimeWraps(t *testing.T) {
	var s Sent
	fb := func(ref uint32, seq uint16) int64 {
		s.Add(seq, 1, 0, 0)
		a, err := ParseFeedback([]byte{byte(seq >> 8), byte(seq), 0, 1, byte(ref >> 16), byte(ref >> 8), byte(ref), 0, 0x20, 1, 4}, &s, nil)
		if err != nil || len(a) != 1 {
			t.Fatal(a, err)
		}
		return a[0].ArrivalTime
	}
	a, b, c, d := fb(0xfffffe, 1), fb(1, 2), fb(0xffffff, 3), fb(2, 4)
	if b-a != 3*64*ms || c-a != 64*ms || d-a != 4*64*ms {
		t.Error(a, b, c, d)
	}
}

func TestNoAllocs(t *testing.T) {
	var rec Recorder
	var sent Sent
	rec.Record(0, 1)
	sent.Add(0, 1, 1, 0)
	buf := make([]byte, 0, 4096)
	acks := make([]Acked, 0, 4096)
	n := uint16(0)
	now := ms
	bad := 0
	if a := testing.AllocsPerRun(500, func() {
		for range 20 {
			n += 1 + n%7/6
			now += ms
			sent.Add(n, 1200, now, 0)
			rec.Record(n, now)
		}
		b := rec.Build(buf, 1, 2)
		if _, err := ParseFeedback(b[12:], &sent, acks); err != nil && b[0]&0x20 == 0 {
			bad++
		}
	}); a != 0 || bad > 0 {
		t.Errorf("%v allocations, %d errors", a, bad)
	}
}

func FuzzParseFeedback(f *testing.F) {
	var rec Recorder
	for i := range uint16(100) {
		rec.Record(i*i, int64(i)*ms)
	}
	f.Add(rec.Build(nil, 1, 2)[12:])
	f.Add([]byte{0, 1, 0, 1, 0, 0, 0, 0, 0x20, 1, 4})
	f.Fuzz(func(t *testing.T, b []byte) {
		var s Sent
		for i := range uint16(64) {
			s.Add(i*3, 100, int64(i), 0)
		}
		out, err := ParseFeedback(b, &s, nil)
		if err != nil && len(out) != 0 {
			t.Fatal("malformed feedback was used")
		}
		if len(out) > 64 {
			t.Fatal("more acknowledged than sent")
		}
	})
}

func BenchmarkBuild(b *testing.B) {
	var rec Recorder
	buf := make([]byte, 0, 4096)
	n := uint16(0)
	b.ReportAllocs()
	for b.Loop() {
		for range 100 {
			n++
			rec.Record(n, int64(n)*ms)
		}
		rec.Build(buf, 1, 2)
	}
}
