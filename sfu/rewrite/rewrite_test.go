package rewrite

import (
	"math/rand/v2"
	"testing"

	"konzil/sfu/codec"
)

// layer is a sender of one simulcast layer with its own numbering.
type layer struct {
	ssrc  uint32
	seq   uint16
	ts0   uint32
	pic   uint16
	tl0   uint8
	long  bool
	key   bool // a keyframe is due
	phase int
}

// packet is an In with what the test knows about it.
type packet struct {
	in    In
	v     codec.VP8
	frame int // number of the frame within its layer
	tid   uint8
	first bool
	last  bool
}

var pattern = [4]uint8{0, 2, 1, 2}

func (l *layer) frame(r *rand.Rand, n int, now int64) []packet {
	key := l.key
	l.key = false
	if key {
		l.phase = 0
	}
	tid := pattern[l.phase%4]
	sync := l.phase%4 == 1 || l.phase%8 == 2
	l.phase++
	if tid == 0 {
		l.tl0++
	}
	l.pic++
	if l.long {
		l.pic &= 0x7fff
	} else {
		l.pic &= 0x7f
	}
	count := 1 + r.IntN(4)
	ps := make([]packet, count)
	for i := range ps {
		p := &ps[i]
		p.v = codec.VP8{Start: i == 0, Keyframe: key && i == 0, HasPictureID: true, PictureID: l.pic, Long: l.long, HasTL0: true, TL0: l.tl0,
			HasTID: true, TID: tid, LayerSync: sync}
		p.in = In{SSRC: l.ssrc, Seq: l.seq, TS: l.ts0 + uint32(n)*3000, Marker: i == count-1, Start: i == 0, Keyframe: p.v.Keyframe,
			VP8: &p.v, ClockRate: 90000, Arrival: now}
		p.frame, p.tid, p.first, p.last = n, tid, i == 0, i == count-1
		l.seq++
	}
	return ps
}

func newLayers(r *rand.Rand, long bool) []*layer {
	var ls []*layer
	for i := range 3 {
		// Starts near the wraps, so that each run crosses them.
		l := &layer{ssrc: uint32(100 + i), seq: uint16(65536 - r.IntN(300)), ts0: -uint32(r.IntN(1000 * 3000)), pic: uint16(r.Uint32()) & 0x7fff,
			tl0: uint8(r.Uint32()), long: long, key: true}
		if !long {
			l.pic &= 0x7f
		}
		ls = append(ls, l)
	}
	return ls
}

// In order and without loss a receiver must see a perfect stream, whatever is switched.
func TestInOrder(t *testing.T) {
	for seed := range uint64(25) {
		r := rand.New(rand.NewPCG(seed, 1))
		ls := newLayers(r, seed%2 == 0)
		idMask := uint16(0x7fff)
		if seed%2 == 1 {
			idMask = 0x7f
		}
		var s Stream
		s.Reset(uint16(65000+seed), uint32(1<<32-90000))
		wantSeq := uint16(65000 + seed)
		var last Out
		lastKey := ""
		got, dropped, any := 0, 0, false
		for n := range 1500 {
			if r.IntN(20) == 0 {
				s.Target(ls[r.IntN(3)].ssrc, uint8(r.IntN(3)))
			}
			if r.IntN(200) == 0 {
				s.Target(0, 0)
			}
			now := int64(n) * 33_333_333
			for _, l := range ls {
				if s.WantsKeyframe() && l.ssrc == s.target && r.IntN(5) == 0 {
					l.key = true
				}
				for _, p := range l.frame(r, n, now) {
					before := s.Current()
					out, ok := s.mapped(&p.in)
					if !ok {
						if s.Current() == p.in.SSRC {
							dropped++
							if p.tid == 0 {
								t.Fatalf("seed %d frame %d: base layer dropped", seed, n)
							}
						}
						continue
					}
					got++
					if out.Seq != wantSeq {
						t.Fatalf("seed %d frame %d: seq %d want %d", seed, n, out.Seq, wantSeq)
					}
					wantSeq++
					if before != p.in.SSRC && !p.in.Keyframe {
						t.Fatalf("seed %d: switch without a keyframe", seed)
					}
					key := string(rune(p.in.SSRC)) + string(rune(p.frame))
					switch {
					case !any:
						if out.TS != 1<<32-90000 {
							t.Fatalf("first timestamp %d", out.TS)
						}
					case key == lastKey:
						if out.TS != last.TS || out.PictureID != last.PictureID || out.TL0 != last.TL0 {
							t.Fatalf("seed %d: frame torn: %+v after %+v", seed, out, last)
						}
					default:
						if !p.first {
							t.Fatalf("seed %d: frame begins in the middle", seed)
						}
						if int32(out.TS-last.TS) <= 0 {
							t.Fatalf("seed %d: timestamp %d after %d", seed, out.TS, last.TS)
						}
						if (out.PictureID-last.PictureID)&idMask != 1 {
							t.Fatalf("seed %d: picture %d after %d", seed, out.PictureID, last.PictureID)
						}
						want := last.TL0
						if p.tid == 0 {
							want++
						}
						if out.TL0 != want {
							t.Fatalf("seed %d: tl0 %d after %d, tid %d", seed, out.TL0, last.TL0, p.tid)
						}
					}
					if ssrc, seq, o, ok := s.Back(out.Seq); !ok || ssrc != p.in.SSRC || seq != p.in.Seq || o != out {
						t.Fatalf("seed %d: Back(%d) = %d %d %+v %v", seed, out.Seq, ssrc, seq, o, ok)
					}
					last, lastKey, any = out, key, true
				}
			}
		}
		if got < 500 || dropped == 0 || s.switches < 5 {
			t.Fatalf("seed %d: %d forwarded, %d dropped, %d switches: too little to prove anything", seed, got, dropped, s.switches)
		}
	}
}

// impair loses, doubles and delays packets by up to depth places.
func impair(r *rand.Rand, in []packet, loss, dup float64, depth int) []packet {
	type item struct {
		at int
		p  packet
	}
	var out []item
	for i, p := range in {
		if r.Float64() < loss {
			if r.IntN(2) == 0 { // comes again much later, as a retransmission does
				out = append(out, item{i + 50 + r.IntN(50), p})
			}
			continue
		}
		at := i
		if depth > 0 && r.IntN(4) == 0 {
			at += r.IntN(depth)
		}
		out = append(out, item{at, p})
		if r.Float64() < dup {
			out = append(out, item{at + r.IntN(20), p})
		}
	}
	// Stable counting sort by place.
	max := 0
	for _, o := range out {
		if o.at > max {
			max = o.at
		}
	}
	buckets := make([][]packet, max+1)
	for _, o := range out {
		buckets[o.at] = append(buckets[o.at], o.p)
	}
	var ps []packet
	for _, b := range buckets {
		ps = append(ps, b...)
	}
	return ps
}

// With loss, reordering and duplicates numbers stay unique and in order, frames stay whole, and Back is the inverse of Map.
func TestImpaired(t *testing.T) {
	for seed := range uint64(25) {
		r := rand.New(rand.NewPCG(seed, 2))
		ls := newLayers(r, seed%3 != 0)
		var all []packet
		for n := range 1200 {
			for _, l := range ls {
				if r.IntN(40) == 0 {
					l.key = true
				}
				all = append(all, l.frame(r, n, int64(n)*33_333_333)...)
			}
		}
		all = impair(r, all, 0.05, 0.03, 12)
		var s Stream
		s.Reset(uint16(seed*1000), uint32(seed))
		type sentPacket struct {
			p   packet
			out Out
			ext int64 // unwrapped outgoing number
			ep  uint64
		}
		var log []sentPacket
		used := map[int64]bool{}
		sentAs := map[int64]int{}
		hi := int64(1 << 20)
		hi16 := uint16(seed*1000) - 1
		for i := range all {
			if r.IntN(60) == 0 {
				s.Target(ls[r.IntN(3)].ssrc, uint8(r.IntN(3)))
			}
			p := all[i]
			p.in.VP8 = &p.v
			out, ok := s.mapped(&p.in)
			if !ok {
				continue
			}
			d := int16(out.Seq - hi16)
			ext := hi + int64(d)
			if d > 0 {
				hi, hi16 = ext, out.Seq
			}
			if used[ext] {
				t.Fatalf("seed %d: outgoing number %d twice", seed, out.Seq)
			}
			used[ext] = true
			log = append(log, sentPacket{p, out, ext, s.switches})
			sentAs[ext] = len(log) - 1
			// Any number: Back answers for exactly those that were sent and are in the window.
			probe := hi + 20 - int64(r.IntN(1200))
			k, was := sentAs[probe]
			if ssrc, seq, o, ok := s.Back(uint16(probe - hi + int64(hi16))); ok != (was && hi-probe < 1000) && hi-probe < 1000 || ok && (!was ||
				ssrc != log[k].p.in.SSRC || seq != log[k].p.in.Seq || o != log[k].out) {
				t.Fatalf("seed %d: Back of %d, newest %d: %d %d %+v %v, sent %v", seed, probe, hi, ssrc, seq, o, ok, was)
			}
			if hi-ext < 1000 {
				if ssrc, seq, o, ok := s.Back(out.Seq); !ok || ssrc != p.in.SSRC || seq != p.in.Seq || o != out {
					t.Fatalf("seed %d: Back(%d) = %d %d %+v %v, want %d %d %+v", seed, out.Seq, ssrc, seq, o, ok, p.in.SSRC, p.in.Seq, out)
				}
			}
		}
		if len(log) < 500 || s.switches < 3 {
			t.Fatalf("seed %d: only %d packets and %d switches", seed, len(log), s.switches)
		}
		for i := range log {
			for j := max(0, i-200); j < i; j++ {
				a, b := &log[j], &log[i]
				switch {
				case a.ep != b.ep:
					if a.ep > b.ep || a.ext >= b.ext || int32(b.out.TS-a.out.TS) <= 0 {
						t.Fatalf("seed %d: layers overlap: %+v %+v", seed, a, b)
					}
				case a.p.frame == b.p.frame:
					if a.out.TS != b.out.TS || a.out.PictureID != b.out.PictureID || a.out.TL0 != b.out.TL0 {
						t.Fatalf("seed %d: frame torn: %+v %+v", seed, a, b)
					}
				default:
					older := a.p.frame < b.p.frame
					if older != (int32(b.out.TS-a.out.TS) > 0) || older != (a.ext < b.ext) {
						t.Fatalf("seed %d: order lost: %+v %+v", seed, a, b)
					}
					if a.out.PictureID == b.out.PictureID {
						t.Fatalf("seed %d: picture %d twice", seed, a.out.PictureID)
					}
				}
				if a.ep == b.ep && a.p.frame == b.p.frame && (int16(b.p.in.Seq-a.p.in.Seq) > 0) != (a.ext < b.ext) {
					t.Fatalf("seed %d: order within a frame lost", seed)
				}
			}
		}
	}
}

// When nothing is left out and everything arrives in the end, reordering leaves no gap.
func TestReorderedComplete(t *testing.T) {
	for seed := range uint64(20) {
		r := rand.New(rand.NewPCG(seed, 3))
		l := newLayers(r, true)[0]
		var all []packet
		for n := range 2000 {
			all = append(all, l.frame(r, n, int64(n))...)
		}
		first := all[0]
		mixed := append([]packet{first}, impair(r, all[1:], 0, 0, 100)...)
		var s Stream
		s.Reset(5, 6)
		s.Target(l.ssrc, 2)
		seen := make(map[uint16]int)
		for i := range mixed {
			mixed[i].in.VP8 = &mixed[i].v
			out, ok := s.mapped(&mixed[i].in)
			if !ok {
				t.Fatalf("seed %d: packet %d lost", seed, i)
			}
			if want := 5 + mixed[i].in.Seq - first.in.Seq; out.Seq != want {
				t.Fatalf("seed %d: %d want %d", seed, out.Seq, want)
			}
			seen[out.Seq]++
		}
		if len(seen) != len(all) {
			t.Fatalf("%d numbers of %d", len(seen), len(all))
		}
	}
}

func audio(seq uint16, ts uint32, ssrc uint32, at int64) In {
	return In{SSRC: ssrc, Seq: seq, TS: ts, Start: true, Keyframe: true, ClockRate: 48000, Arrival: at}
}

func TestAudioSwitchTimestamps(t *testing.T) {
	var s Stream
	s.Reset(10, 1000)
	s.Target(1, 0)
	in := audio(65535, 7, 1, 0)
	if out, ok := s.mapped(&in); !ok || out != (Out{Seq: 10, TS: 1000}) {
		t.Fatal(out, ok)
	}
	if ts, ok := s.Timestamp(1, 8); !ok || ts != 1001 {
		t.Error("Timestamp", ts, ok)
	}
	if _, ok := s.Timestamp(2, 8); ok {
		t.Error("Timestamp of another SSRC")
	}
	s.Target(2, 0)
	in = audio(500, 1<<31, 2, 20_000_000)
	if out, ok := s.mapped(&in); !ok || out != (Out{Seq: 11, TS: 1960}) {
		t.Fatal(out, ok)
	}
	s.Target(1, 0) // the same moment: at least one tick
	in = audio(9, 9, 1, 20_000_000)
	if out, ok := s.mapped(&in); !ok || out != (Out{Seq: 12, TS: 1961}) {
		t.Fatal(out, ok)
	}
	s.Target(2, 0) // days later: bounded
	in = audio(9, 9, 2, 1<<60)
	if out, ok := s.mapped(&in); !ok || out.TS != 1961+maxTSJump {
		t.Fatal(out, ok)
	}
}

func TestPaddingAndJump(t *testing.T) {
	var s Stream
	s.Window = 64
	s.Reset(100, 0)
	s.Target(1, 0)
	next := uint16(100)
	mapOne := func(seq uint16, pad bool) (Out, bool) {
		in := audio(seq, uint32(seq)*960, 1, int64(seq)*20e6)
		in.Padding = pad
		return s.mapped(&in)
	}
	for i := range uint16(10) {
		out, ok := mapOne(i, i%3 == 1)
		if ok != (i%3 != 1) || ok && out.Seq != next {
			t.Fatal(i, out, ok)
		}
		if ok {
			next++
		}
	}
	if _, ok := mapOne(9, false); ok {
		t.Error("duplicate forwarded")
	}
	if _, _, ok := pending(&s, 99); ok {
		t.Error("the number before the first is awaited")
	}
	// A gap of 3 of which the middle is padding: its number stays unused.
	if out, _ := mapOne(13, false); out.Seq != next+3 {
		t.Fatal(out)
	}
	if _, ok := mapOne(11, true); ok {
		t.Error("padding forwarded")
	}
	if _, _, ok := pending(&s, next); !ok {
		t.Error("10 is still awaited")
	}
	if _, _, ok := pending(&s, next+1); ok {
		t.Error("11 is known to be padding")
	}
	if _, _, _, ok := s.Back(next + 1); ok {
		t.Error("padding was not sent")
	}
	if out, ok := mapOne(10, false); !ok || out.Seq != next {
		t.Error("late packet", out, ok)
	}
	// Further than the window: no gap, old ones are gone.
	out, ok := mapOne(13+64, false)
	if !ok || out.Seq != next+4 {
		t.Fatal("jump", out, ok)
	}
	if out.TS != 13*960+64*960 {
		t.Error("timestamps do not leap with the numbers:", out.TS)
	}
	if _, ok := mapOne(14, false); ok {
		t.Error("packet from before the jump")
	}
	if _, _, _, ok := s.Back(next + 5); ok {
		t.Error("future number")
	}
}

// Packets of a keyframe that came before its first packet can be had through Pending.
func TestPendingAfterLateStart(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 9))
	l := newLayers(r, true)[0]
	var all []packet
	for n := range 10 {
		all = append(all, l.frame(r, n, int64(n))...)
	}
	var s Stream
	s.Reset(0, 0)
	s.Target(l.ssrc, 2)
	for i := 1; i < 5; i++ {
		if _, ok := s.mapped(&all[i].in); ok {
			t.Fatal("forwarded before the keyframe's start")
		}
	}
	if _, ok := s.mapped(&all[0].in); !ok {
		t.Fatal("no switch")
	}
	if out, ok := s.mapped(&all[5].in); !ok || out.Seq != 5 {
		t.Fatal(out)
	}
	for i := uint16(1); i < 5; i++ {
		ssrc, seq, ok := pending(&s, i)
		if !ok || ssrc != l.ssrc || seq != all[i].in.Seq {
			t.Fatal(i, ssrc, seq, ok)
		}
		if out, ok := s.mapped(&all[i].in); !ok || out.Seq != i {
			t.Fatal(i, out, ok)
		}
		if _, _, ok := pending(&s, i); ok {
			t.Error("still pending")
		}
	}
}

// one makes a one-packet VP8 frame; n is its number in all numberings.
func one(ssrc uint32, n int, tid uint8, sync, key bool) *In {
	v := &codec.VP8{Start: true, Keyframe: key, HasPictureID: true, Long: true, PictureID: uint16(n) & 0x7fff, HasTID: true, TID: tid, LayerSync: sync}
	return &In{SSRC: ssrc, Seq: uint16(n), TS: uint32(n) * 3000, Start: true, Keyframe: key, VP8: v, ClockRate: 90000, Arrival: int64(n) * 33e6}
}

func TestSwitchNeedsFirstPacket(t *testing.T) {
	var s Stream
	s.Reset(0, 0)
	s.Target(1, 2)
	in := one(1, 5, 0, false, true)
	in.Start = false
	if _, ok := s.mapped(in); ok || !s.WantsKeyframe() {
		t.Error("switched in the middle of a keyframe")
	}
	in.Start, in.Keyframe = true, false
	if _, ok := s.mapped(in); ok {
		t.Error("switched without a keyframe")
	}
	in.Keyframe, in.Padding = true, true
	if _, ok := s.mapped(in); ok || s.Current() != 0 {
		t.Error("switched at padding")
	}
}

// What belongs to the layer before a switch is gone with it.
func TestSwitchDropsTheOldLayer(t *testing.T) {
	var s Stream
	s.Window = 16
	s.Reset(0, 0)
	s.Target(1, 2)
	s.mapped(one(1, 0, 0, false, true))
	s.mapped(one(1, 10, 0, false, false)) // 1 to 9 are missing: their slots say so
	if _, seq, ok := pending(&s, 5); !ok || seq != 5 {
		t.Fatal("5 is awaited")
	}
	s.Target(2, 2)
	out, ok := s.mapped(one(2, 20, 0, false, true))
	if !ok || out.Seq != 11 {
		t.Fatal(out, ok)
	}
	if _, _, ok := pending(&s, 5); ok {
		t.Error("the old layer is still awaited")
	}
	if _, ok := s.mapped(one(1, 5, 0, false, false)); ok {
		t.Error("late packet of the old layer forwarded")
	}
	old := one(2, 19, 0, false, false)
	old.VP8 = nil // without pictures only the numbers can tell
	if _, ok := s.mapped(old); ok {
		t.Error("the number before the switch")
	}
	for n := 19; n > 4; n-- { // also those whose slots say "missing" from the layer before
		if _, ok := s.mapped(one(2, n, 0, false, false)); ok {
			t.Errorf("%d is from before the switch", n)
		}
	}
	in := one(2, 21, 0, false, false)
	in.VP8.PictureID = 15
	if _, ok := s.mapped(in); ok {
		t.Error("picture from before the switch")
	}
	if ssrc, seq, _, ok := s.Back(10); !ok || ssrc != 1 || seq != 10 {
		t.Error("what was sent of the old layer can still be asked for")
	}
}

// Frames that were missing are judged when they come, by the limit that held at their place.
func TestLateFrames(t *testing.T) {
	var s Stream
	s.Reset(0, 0)
	s.Target(1, 0)
	is := func(want bool, in *In) {
		t.Helper()
		if _, ok := s.mapped(in); ok != want {
			t.Errorf("frame %d: %v", in.Seq, ok)
		}
	}
	is(true, one(1, 0, 0, false, true))
	is(true, one(1, 4, 0, false, false))
	is(false, one(1, 1, 2, false, false)) // late and not wanted
	is(false, one(1, 1, 2, false, false))
	is(true, one(1, 3, 0, false, false)) // late and wanted
	s.Target(1, 2)
	is(true, one(1, 8, 2, true, false))   // raised here
	is(false, one(1, 6, 2, false, false)) // before the raise
	is(true, one(1, 7, 0, false, false))
	is(true, one(1, 12, 2, false, false))
	s.Target(1, 0)
	is(true, one(1, 10, 2, false, false)) // before the lowering
	is(true, one(1, 16, 0, false, false))
	is(false, one(1, 14, 1, false, false)) // behind it
}

func TestJumpWithPictures(t *testing.T) {
	var s Stream
	s.Window = 32
	s.Reset(0, 0)
	s.Target(1, 2)
	s.mapped(one(1, 0, 0, false, true))
	first, _ := s.mapped(one(1, 1, 0, false, false))
	out, ok := s.mapped(one(1, 101, 0, false, false)) // beyond the window of numbers, not beyond that of pictures
	if !ok || out.Seq != first.Seq+1 || out.PictureID != first.PictureID+1 || out.TS != first.TS+100*3000 {
		t.Errorf("%+v after %+v", out, first)
	}
	in := one(1, 1000, 0, false, false) // time went back, too
	in.TS = 5
	if o, ok := s.mapped(in); !ok || o.Seq != out.Seq+1 || int32(o.TS-out.TS) <= 0 {
		t.Errorf("%+v after %+v", o, out)
	}
}

func TestTemporalRaiseWaitsForSync(t *testing.T) {
	var s Stream
	s.Reset(0, 0)
	s.Target(1, 0)
	send := func(n int, tid uint8, sync, key bool) bool {
		v := codec.VP8{Start: true, Keyframe: key, HasPictureID: true, Long: true, PictureID: uint16(n), HasTID: true, TID: tid, LayerSync: sync}
		in := In{SSRC: 1, Seq: uint16(n), TS: uint32(n) * 3000, Start: true, Keyframe: key, VP8: &v, ClockRate: 90000}
		_, ok := s.mapped(&in)
		return ok
	}
	if !send(0, 0, false, true) || send(1, 1, true, false) {
		t.Fatal("base layer only")
	}
	s.Target(1, 2)
	if send(2, 2, false, false) || send(3, 1, false, false) || !send(4, 1, true, false) || !send(5, 1, false, false) || send(6, 2, false, false) {
		t.Error("raise to 1 at the sync frame only")
	}
	if !send(7, 2, true, false) || !send(8, 2, false, false) {
		t.Error("raise to 2 at the sync frame")
	}
	s.Target(1, 0)
	if send(9, 1, true, false) || !send(10, 0, false, false) {
		t.Error("lowering counts at once")
	}
	s.Target(1, 2)
	if !send(11, 0, false, true) || !send(12, 2, false, false) {
		t.Error("a keyframe raises")
	}
}

// Streams without picture ids keep frames whole by their timestamps.
// TestEase: until the keyframe of a lower layer is there, only the lowest temporal layer of the old one goes on, without a gap in the numbers.
func TestEase(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	ls := newLayers(r, true)
	s := &Stream{}
	s.Reset(1, 1)
	s.Target(102, All)
	s.Ease() // nothing is forwarded yet
	seq, any := uint16(0), false
	now, n := int64(0), 0
	step := func() (got map[uint32][]uint8) {
		got = map[uint32][]uint8{}
		for _, l := range ls {
			for _, p := range l.frame(r, n, now) {
				out, ok := s.mapped(&p.in)
				if !ok {
					continue
				}
				if any && out.Seq != seq+1 {
					t.Fatalf("%d after %d", out.Seq, seq)
				}
				seq, any = out.Seq, true
				got[l.ssrc] = append(got[l.ssrc], p.tid)
			}
		}
		n, now = n+1, now+33e6
		return got
	}
	highest := func(frames int, ssrc uint32) (tid uint8) {
		t.Helper()
		count := 0
		for range frames {
			got := step()
			if len(got) > 1 || len(got) == 1 && got[ssrc] == nil {
				t.Fatalf("%v", got)
			}
			for _, x := range got[ssrc] {
				tid = max(tid, x)
				count++
			}
		}
		if count == 0 {
			t.Fatal("nothing goes on")
		}
		return tid
	}
	if tid := highest(12, 102); tid != 2 {
		t.Errorf("temporal layer %d", tid)
	}
	s.Target(100, All)
	s.Ease()
	if tid := highest(12, 102); tid != 0 {
		t.Errorf("temporal layer %d while the path is too narrow", tid)
	}
	s.Target(102, All) // changed its mind
	if tid := highest(12, 102); tid != 2 {
		t.Errorf("temporal layer %d afterwards", tid)
	}
	s.Target(100, All)
	s.Ease()
	ls[0].key = true
	if tid := highest(12, 100); tid != 2 {
		t.Errorf("temporal layer %d of the lower layer", tid)
	}
	s.Ease() // nothing is waited for
	if tid := highest(12, 100); tid != 2 {
		t.Errorf("temporal layer %d of the lower layer", tid)
	}
}

func TestNoPictureID(t *testing.T) {
	var s Stream
	s.Reset(0, 0)
	s.Target(1, 0)
	next := uint16(0)
	for n := range 100 {
		tid := pattern[n%4]
		for k := range 2 {
			if n == 50 && k == 1 {
				s.Target(1, 2)
			}
			v := codec.VP8{Start: k == 0, Keyframe: n == 0 && k == 0, HasTID: true, TID: tid, LayerSync: true}
			in := In{SSRC: 1, Seq: uint16(n*2 + k), TS: uint32(n) * 3000, Start: k == 0, Keyframe: v.Keyframe, VP8: &v, ClockRate: 90000}
			out, ok := s.mapped(&in)
			if want := tid == 0 || n > 50; ok != want {
				t.Fatalf("frame %d packet %d tid %d: %v", n, k, tid, ok)
			}
			if ok && (out.Seq != next || out.PatchVP8) {
				t.Fatal(out, next)
			}
			if ok {
				next++
			}
		}
	}
}

func TestNoAllocs(t *testing.T) {
	var s Stream
	s.Reset(0, 0)
	s.Target(1, 1)
	n := uint16(0)
	if a := testing.AllocsPerRun(2000, func() {
		v := codec.VP8{Start: true, Keyframe: true, HasPictureID: true, Long: true, PictureID: n & 0x7fff, HasTL0: true, HasTID: true, TID: uint8(n & 1)}
		in := In{SSRC: 1, Seq: n, TS: uint32(n) * 3000, Start: true, Keyframe: true, VP8: &v, ClockRate: 90000}
		out, _ := s.mapped(&in)
		_, _, _, _ = s.Back(out.Seq)
		n++
	}); a != 0 {
		t.Errorf("%v allocations", a)
	}
}

func FuzzMap(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12})
	f.Fuzz(func(t *testing.T, b []byte) {
		var s Stream
		s.Window = 32
		s.Reset(1, 1)
		used := map[uint16]bool{}
		for len(b) >= 6 && len(used) < 30000 {
			v := codec.VP8{Start: b[0]&1 != 0, Keyframe: b[0]&2 != 0, HasPictureID: b[0]&4 != 0, Long: b[0]&8 != 0, HasTL0: b[0]&16 != 0, HasTID: b[0]&32 != 0,
				PictureID: uint16(b[1]) | uint16(b[0]>>6)<<8, TL0: b[1], TID: b[2] & 3, LayerSync: b[2]&4 != 0}
			if !v.Long {
				v.PictureID &= 0x7f
			}
			in := In{SSRC: uint32(b[2]>>3)%3 + 1, Seq: uint16(b[3])<<8 | uint16(b[4]), TS: uint32(b[4]) << 24, Start: v.Start, Keyframe: v.Keyframe,
				Padding: b[2]&64 != 0, VP8: &v, ClockRate: 90000, Arrival: int64(b[5]) << 50}
			if b[5]&7 == 0 {
				s.Target(uint32(b[5]>>3)%4, b[5]>>6)
			}
			if out, ok := s.mapped(&in); ok {
				if used[out.Seq] {
					t.Fatalf("number %d twice", out.Seq)
				}
				used[out.Seq] = true
				if ssrc, seq, o, ok := s.Back(out.Seq); ok && (ssrc != in.SSRC || seq != in.Seq || o != out) {
					t.Fatalf("Back(%d) = %d %d %+v", out.Seq, ssrc, seq, o)
				}
			}
			b = b[6:]
		}
	})
}

func BenchmarkMap(b *testing.B) {
	var s Stream
	var out Out
	s.Reset(0, 0)
	s.Target(1, 2)
	b.ReportAllocs()
	for i := range b.N {
		v := codec.VP8{Start: true, Keyframe: i == 0, HasPictureID: true, Long: true, PictureID: uint16(i) & 0x7fff, HasTL0: true, HasTID: true}
		in := In{SSRC: 1, Seq: uint16(i), TS: uint32(i) * 3000, Start: true, Keyframe: i == 0, VP8: &v, ClockRate: 90000}
		s.Map(&in, &out)
	}
}

// pending is the incoming packet for which an outgoing number is kept.
func pending(s *Stream, outSeq uint16) (ssrc uint32, seq uint16, ok bool) {
	o := s.seqs.at(outSeq)
	if o == nil || o.state != missing || s.cur == 0 {
		return 0, 0, false
	}
	return s.cur, o.seq, true
}

// mapped is Map with what it says returned.
func (s *Stream) mapped(in *In) (out Out, ok bool) {
	ok = s.Map(in, &out)
	return out, ok
}
