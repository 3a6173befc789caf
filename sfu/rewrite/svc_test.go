package rewrite

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"konzil/sfu/dd"
	"konzil/sfu/dd/ddtest"
)

// svcSender sends three spatial layers in one SSRC, as VP9 or with dependency descriptors.
type svcSender struct {
	dd       *ddtest.Sender // nil: VP9
	flexible bool
	full     bool // all pictures predict between spatial layers, else key pictures only
	st       *dd.Structure
	ssrc     uint32
	seq      uint16
	pic      uint16
	mask     uint16
	tl0      uint8
	ts0      uint32
	phase    int
}

// svcPacket is an In with what the test knows about it.
type svcPacket struct {
	in       In
	v        SVC
	pic      int
	key      bool
	number   uint16
	chains   [3]uint8
	sid, tid uint8
}

func (s *svcSender) picture(r *rand.Rand, n int, key bool) []svcPacket {
	if key {
		s.phase = 0
	}
	phase := s.phase % 4
	tid := pattern[phase]
	if tid == 0 {
		s.tl0++
	}
	s.phase++
	s.pic = (s.pic + 1) & s.mask
	var frames []ddtest.Frame
	if s.dd != nil {
		frames = s.dd.Picture(key)
	}
	var ps []svcPacket
	for sid := range uint8(3) {
		count := 1 + r.IntN(3)
		for i := range count {
			p := svcPacket{pic: n, key: key, sid: sid, tid: tid, number: s.pic}
			p.v = SVC{Number: s.pic, Mask: s.mask, SID: sid, TID: tid, Start: i == 0, End: i == count-1, Key: key && sid == 0}
			if f := frames; f != nil {
				p.number, p.chains = f[sid].Number, f[sid].Chains
				s.describe(&p.v, f[sid].DD(i == 0, i == count-1))
			} else if s.flexible {
				if !key {
					p.v.Refs[0], p.v.NumRefs = [4]uint16{4, 1, 2, 1}[phase], 1
				}
			} else {
				p.v.HasTL0, p.v.TL0, p.v.SwitchUp = true, s.tl0, true
			}
			p.in = In{SSRC: s.ssrc, Seq: s.seq, TS: s.ts0 + uint32(n)*3000, Marker: sid == 2 && i == count-1, Start: sid == 0 && i == 0,
				Keyframe: key && sid == 0 && i == 0, ClockRate: 90000, Arrival: int64(n) * 33_333_333}
			s.seq++
			ps = append(ps, p)
		}
	}
	return ps
}

// describe does what a caller of Map does with a descriptor.
func (s *svcSender) describe(v *SVC, b []byte) {
	var fresh *dd.Structure
	if len(b) > 3 {
		fresh = new(dd.Structure)
	}
	d, ok := dd.Parse(b, s.st, fresh)
	if !ok {
		panic("refused")
	}
	if d.Attached {
		s.st = fresh
	}
	f := &d.Frame
	n, lowest := s.st.Apart(s.st.All())
	*v = SVC{Number: d.Number, Mask: 0xffff, SID: f.SID, TID: f.TID, Start: d.Start, End: d.End, Key: f.SID == lowest && f.NumRefs == 0, Apart: n, Refs: f.Refs,
		NumRefs: f.NumRefs, DD: s.st, Present: f.Present, Switch: f.Switch, Active: s.st.All(), Attached: d.Attached, HasActive: d.HasActive}
}

func svcSenders(r *rand.Rand, kind int) []*svcSender {
	var out []*svcSender
	for i := range 2 {
		s := &svcSender{ssrc: uint32(100 + i), seq: uint16(65536 - r.IntN(300)), ts0: r.Uint32(), mask: 0x7fff, pic: uint16(r.Uint32()) & 0x7fff,
			tl0: uint8(r.Uint32()), full: kind%2 == 0}
		switch kind {
		case 0, 1:
			s.dd = &ddtest.Sender{Full: s.full, Offset: uint8(r.IntN(64)), Number: uint16(r.Uint32())}
		case 2:
			s.flexible = true
		case 3:
			s.mask, s.pic = 0x7f, s.pic&0x7f
		}
		out = append(out, s)
	}
	return out
}

// refs are the frames that a frame needs, as layer*pictures.
func (p *svcPacket) refs(full bool, phase int) (need [][2]int) {
	if p.key {
		if p.sid > 0 {
			need = append(need, [2]int{p.pic, int(p.sid) - 1})
		}
		return need
	}
	need = append(need, [2]int{p.pic - [4]int{4, 1, 2, 1}[phase], int(p.sid)})
	if full && p.sid > 0 {
		need = append(need, [2]int{p.pic, int(p.sid) - 1})
	}
	return need
}

// In order and without loss, whatever layers are asked for: no gaps, pictures whole and ended by a marker, all references
// forwarded, and what is asked for is reached.
func TestSVCInOrder(t *testing.T) {
	for seed := range uint64(24) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { svcInOrder(t, seed) })
	}
}

func svcInOrder(t *testing.T, seed uint64) {
	kind := int(seed % 4)
	r := rand.New(rand.NewPCG(seed, 21))
	ss := svcSenders(r, kind)
	var s Stream
	s.Reset(uint16(65000+seed), 1)
	wantSeq := uint16(65000 + seed)
	want := limit{}
	target := -1
	askedAt, reached, reachedDown, marked := 0, 0, 0, 0
	sent := [2]map[[2]int]bool{{}, {}}
	phase := [2]int{}
	var last Out
	lastIn, any := uint16(0), false
	lastPic, lastMarker, lastSrc := -1, true, -1
	for n := range 1500 {
		if r.IntN(40) == 0 {
			want = limit{uint8(r.IntN(4)), uint8(r.IntN(4))}
			if target < 0 || r.IntN(4) == 0 {
				target = r.IntN(2)
			}
			s.TargetSVC(ss[target].ssrc, want.sid, want.tid)
			askedAt = n
		}
		for si, x := range ss {
			key := n == 0 || s.WantsKeyframe() && target == si && r.IntN(6) == 0
			if key {
				phase[si] = 0
			}
			ph := phase[si] % 4
			phase[si]++
			top := -1
			wasCurrent := s.Current() == x.ssrc
			for _, p := range x.picture(r, n, key) {
				p.in.SVC = &p.v
				out, ok := s.mapped(&p.in)
				if !ok {
					continue
				}
				if out.Seq != wantSeq {
					t.Fatalf("picture %d: seq %d, want %d", n, out.Seq, wantSeq)
				}
				wantSeq++
				top = max(top, int(p.sid))
				for _, need := range p.refs(x.full, ph) {
					if !sent[si][need] {
						t.Fatalf("picture %d S%dT%d refers to %v, which was left out", n, p.sid, p.tid, need)
					}
				}
				sent[si][[2]int{n, int(p.sid)}] = true
				if lastPic == n && lastSrc == si && lastMarker {
					t.Fatalf("picture %d goes on behind its marker", n)
				}
				if (lastPic != n || lastSrc != si) && !lastMarker {
					t.Fatalf("picture %d has no end", lastPic)
				}
				if any && lastSrc == si {
					if d := (out.PictureID - last.PictureID) & p.v.Mask; d != (p.number-lastIn)&p.v.Mask {
						t.Fatalf("picture %d: number %d after %d, incoming %d after %d", n, out.PictureID, last.PictureID, p.number, lastIn)
					}
				} else if any && (out.PictureID-last.PictureID)&p.v.Mask != 1 {
					t.Fatalf("picture %d: number %d after %d at a switch", n, out.PictureID, last.PictureID)
				}
				if p.v.HasTL0 && any && out.TL0 != last.TL0 && out.TL0 != last.TL0+1 {
					t.Fatalf("TL0 %d after %d", out.TL0, last.TL0)
				}
				if out.Marker && !p.in.Marker {
					marked++
				}
				if out.WriteActive && out.Active == 0 {
					t.Fatal("no decode target active")
				}
				if ssrc, seq, o, ok := s.Back(out.Seq); !ok || ssrc != p.in.SSRC || seq != p.in.Seq || o != out {
					t.Fatalf("Back(%d) = %d %d %+v %v, want %+v", out.Seq, ssrc, seq, o, ok, out)
				}
				last, lastIn, any, lastPic, lastMarker, lastSrc = out, p.number, true, n, out.Marker, si
			}
			if si != target || !wasCurrent {
				continue
			}
			// Down at once, up after a while.
			if top > int(want.sid) && n > askedAt {
				t.Fatalf("picture %d: S%d is above S%d", n, top, want.sid)
			} else if top == int(want.sid) {
				reachedDown++
			}
			if n > askedAt+200 && pattern[ph] == 0 && top != int(min(want.sid, 2)) {
				t.Fatalf("picture %d: S%d of S%d is all that came since %d", n, top, want.sid, askedAt)
			}
			if n > askedAt+200 && (top >= 0) != (pattern[ph] <= want.tid) {
				t.Fatalf("picture %d: T%d of T%d came: %v", n, pattern[ph], want.tid, top >= 0)
			}
			if top == int(min(want.sid, 2)) {
				reached++
			}
		}
	}
	if reached < 200 || reachedDown < 50 || marked < 50 || s.switches < 2 {
		t.Fatalf("reached %d, %d, marked %d, %d switches: too little to prove anything", reached, reachedDown, marked, s.switches)
	}
}

// With loss, reordering and duplicates numbers stay unique, and Back is the inverse of Map.
func TestSVCImpaired(t *testing.T) {
	for seed := range uint64(24) {
		r := rand.New(rand.NewPCG(seed, 22))
		x := svcSenders(r, int(seed%4))[0]
		var all []svcPacket
		for n := range 1200 {
			all = append(all, x.picture(r, n, n == 0 || r.IntN(60) == 0)...)
		}
		mixed := append([]svcPacket{all[0]}, shuffle(r, all[1:])...)
		var s Stream
		s.Reset(uint16(seed*1000), 7)
		s.TargetSVC(x.ssrc, 1, 1)
		used := map[uint16]int{}
		got := 0
		for i := range mixed {
			p := &mixed[i]
			if r.IntN(90) == 0 {
				s.TargetSVC(x.ssrc, uint8(r.IntN(3)), uint8(r.IntN(3)))
			}
			p.in.SVC = &p.v
			out, ok := s.mapped(&p.in)
			if !ok {
				continue
			}
			got++
			if at, again := used[out.Seq]; again && i-at < 5000 {
				t.Fatalf("seed %d: number %d twice", seed, out.Seq)
			}
			used[out.Seq] = i
			if want := s.svc.off + p.number; out.PictureID != want&p.v.Mask {
				t.Fatalf("seed %d: number %d, want %d", seed, out.PictureID, want)
			}
			if ssrc, seq, o, ok := s.Back(out.Seq); !ok || ssrc != p.in.SSRC || seq != p.in.Seq || o != out {
				t.Fatalf("seed %d: Back(%d) = %d %d %+v %v", seed, out.Seq, ssrc, seq, o, ok)
			}
		}
		if got < 1000 {
			t.Fatalf("seed %d: only %d packets", seed, got)
		}
	}
}

// shuffle loses some packets, brings half of those back late, and delays others.
func shuffle(r *rand.Rand, in []svcPacket) []svcPacket {
	slots := make([][]svcPacket, len(in)+200)
	for i, p := range in {
		at := i
		switch r.IntN(20) {
		case 0:
			continue
		case 1:
			at += 50 + r.IntN(50)
		case 2, 3, 4:
			at += r.IntN(12)
		case 5:
			slots[at+3] = append(slots[at+3], p)
		}
		slots[at] = append(slots[at], p)
	}
	var out []svcPacket
	for _, s := range slots {
		out = append(out, s...)
	}
	return out
}

// feed maps all packets of a picture and returns the layers that went on.
func (s *Stream) feed(t *testing.T, ps []svcPacket) (layers string) {
	t.Helper()
	for i := range ps {
		ps[i].in.SVC = &ps[i].v
		if out, ok := s.mapped(&ps[i].in); ok {
			if ps[i].v.Start {
				layers += fmt.Sprint(ps[i].sid)
			}
			if out.Marker {
				layers += "."
			}
		}
	}
	return layers
}

// A stream begins at a keyframe, goes down with the next picture, up with a keyframe, and asks for it only when the layer is there.
func TestSVCSteps(t *testing.T) {
	for kind := range 4 {
		r := rand.New(rand.NewPCG(5, 5))
		x := svcSenders(r, kind)[0]
		var s Stream
		s.Reset(0, 0)
		s.TargetSVC(x.ssrc, 1, All)
		x.picture(r, 0, true) // not seen by the stream
		n := 0
		is := func(want string, key, wants bool) {
			t.Helper()
			n++
			if got := s.feed(t, x.picture(r, n, key)); got != want || s.WantsKeyframe() != wants {
				t.Errorf("kind %d picture %d: %q, want %q; wants a keyframe: %v", kind, n, got, want, s.WantsKeyframe())
			}
		}
		is("", false, true)
		is("01.", true, false)
		is("01.", false, false)
		s.TargetSVC(x.ssrc, 0, All)
		is("0.", false, false)
		s.TargetSVC(x.ssrc, 2, All)
		is("0.", false, true)
		is("012.", true, false)
		is("012.", false, false)
		s.TargetSVC(x.ssrc, All, All)
		is("012.", false, false) // nothing more is there, so no keyframe is needed
		s.TargetSVC(x.ssrc, 2, 0)
		for _, w := range []string{"", "012.", "", "", "", "012."} { // phase 3, then 0 1 2 3 0
			is(w, false, false)
		}
		s.TargetSVC(x.ssrc, 2, 2)
		after := [3]string{"", "012.", "012."} // T2, T1, T2: the first one refers to T0 only, but nothing says so
		if kind == 2 {
			after[0] = "012." // in flexible mode its reference does
		}
		for _, w := range after {
			is(w, false, false)
		}
	}
}

// What goes down in the middle of a picture goes down with the next one: the picture needs its end.
func TestSVCDownInPicture(t *testing.T) {
	for kind := range 4 {
		r := rand.New(rand.NewPCG(6, 6))
		x := svcSenders(r, kind)[0]
		var s Stream
		s.Reset(0, 0)
		s.TargetSVC(x.ssrc, 2, 2)
		s.feed(t, x.picture(r, 0, true))
		ps := x.picture(r, 1, false)
		for i := range ps {
			ps[i].in.SVC = &ps[i].v
			if i == 1 {
				s.TargetSVC(x.ssrc, 0, 2)
			}
			if out, ok := s.mapped(&ps[i].in); !ok || out.Marker != (i == len(ps)-1) {
				t.Errorf("kind %d packet %d: %v %+v", kind, i, ok, out)
			}
		}
		if got := s.feed(t, x.picture(r, 2, false)); got != "0." {
			t.Errorf("kind %d: %q", kind, got)
		}
	}
}

// The receiver is told which decode targets it gets: with the structure, and on some packets behind a change.
func TestSVCActiveTargets(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	x := svcSenders(r, 1)[0]
	var s Stream
	s.Reset(0, 0)
	s.TargetSVC(x.ssrc, 1, 2)
	told := func(key bool, n int) (masks []uint32) {
		ps := x.picture(r, n, key)
		for i := range ps {
			ps[i].in.SVC = &ps[i].v
			if out, ok := s.mapped(&ps[i].in); ok && out.WriteActive {
				masks = append(masks, out.Active)
			}
		}
		return masks
	}
	if m := told(true, 0); len(m) == 0 || m[0] != 0b111111 {
		t.Errorf("with the structure: %b", m)
	}
	for n := range 20 {
		told(false, 1+n)
	}
	if m := told(false, 30); m != nil {
		t.Errorf("without a change: %b", m)
	}
	s.TargetSVC(x.ssrc, 0, 2)
	if m := told(false, 31); len(m) == 0 || m[0] != 0b111 {
		t.Errorf("after a change: %b", m)
	}
	s.TargetSVC(x.ssrc, 2, 2)
	told(true, 32)
	for n := range 20 {
		told(false, 33+n)
	}
	if m := told(true, 60); m != nil {
		t.Errorf("a structure alone means all: %b", m)
	}
}

func TestSVCNoAllocs(t *testing.T) {
	r := rand.New(rand.NewPCG(8, 8))
	for kind := range 4 {
		x := svcSenders(r, kind)[0]
		var all []svcPacket
		for n := range 400 {
			all = append(all, x.picture(r, n, n%50 == 0)...)
		}
		var s Stream
		s.Reset(0, 0)
		s.TargetSVC(x.ssrc, 1, 1)
		i := 0
		if a := testing.AllocsPerRun(1000, func() {
			p := &all[i]
			p.in.SVC = &p.v
			out, _ := s.mapped(&p.in)
			_, _, _, _ = s.Back(out.Seq)
			i++
		}); a != 0 {
			t.Errorf("kind %d: %v allocations", kind, a)
		}
	}
}

func FuzzMapSVC(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14})
	f.Add([]byte{0x0f, 0, 1, 0, 1, 0, 8, 0x07, 1, 2, 0, 2, 0, 9})
	x := &svcSender{dd: &ddtest.Sender{}}
	x.describe(&SVC{}, x.dd.Picture(true)[0].DD(true, false))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s Stream
		s.Window = 32
		s.Reset(1, 1)
		used := map[uint16]bool{}
		for ; len(b) >= 7 && len(used) < 30000; b = b[7:] {
			v := SVC{Start: b[0]&1 != 0, End: b[0]&2 != 0, Key: b[0]&4 != 0, SwitchUp: b[0]&8 != 0, HasTL0: b[0]&16 != 0, TL0: b[1], SID: b[0] >> 6,
				TID: b[1] >> 5, Mask: [4]uint16{0, 0x7f, 0x7fff, 0xffff}[b[2]&3], Number: uint16(b[3])<<8 | uint16(b[1]), NumRefs: b[2] >> 2 & 3}
			v.Number &= v.Mask
			v.Refs = [dd.MaxRefs]uint16{uint16(b[3]), uint16(b[4]) << 4, 3}
			if v.Mask == 0xffff {
				v.DD, v.Present, v.Switch, v.Active, v.Attached = x.st, uint32(b[3])<<1|1, uint32(b[4]), 0x1ff, b[0]&32 != 0
			}
			in := In{SSRC: uint32(b[2]>>5)%3 + 1, Seq: uint16(b[4])<<8 | uint16(b[5]), TS: uint32(b[5]) << 24, Start: v.Start, Keyframe: v.Key, SVC: &v,
				ClockRate: 90000, Arrival: int64(b[5]) << 50}
			if b[6]&7 == 0 {
				s.TargetSVC(uint32(b[6]>>3)%4, b[6]>>6, b[5]>>6)
			}
			if out, ok := s.mapped(&in); ok {
				if used[out.Seq] {
					t.Fatalf("number %d twice", out.Seq)
				}
				used[out.Seq] = true
				if out.PatchSVC && out.PictureID&^v.Mask != 0 {
					t.Fatalf("number %x beyond %x", out.PictureID, v.Mask)
				}
				if ssrc, seq, o, ok := s.Back(out.Seq); ok && (ssrc != in.SSRC || seq != in.Seq || o != out) {
					t.Fatalf("Back(%d) = %d %d %+v", out.Seq, ssrc, seq, o)
				}
			}
		}
	})
}

// TestApart: of layers that do not refer to each other (S3T3) one goes on alone; another one, also a lower one, is entered at a keyframe, which is asked
// for. Temporal layers of it come and go in between.
func TestApart(t *testing.T) {
	for _, described := range []bool{false, true} {
		t.Run(fmt.Sprint(described), func(t *testing.T) { apart(t, described) })
	}
}

func apart(t *testing.T, described bool) {
	r := rand.New(rand.NewPCG(4, 4))
	s := &svcSender{flexible: true, ssrc: 7, mask: 0x7fff}
	if described {
		s.dd = &ddtest.Sender{Apart: true}
	}
	var out Stream
	out.Reset(100, 1000)
	now := uint8(All)
	seq := uint16(100)
	for n := range 160 {
		want := []uint8{All, 0, 2, 1}[n/40]
		most := uint8(All)
		if n%40 >= 20 && n%40 < 30 {
			most = 0
		}
		out.TargetSVC(7, want, most)
		key := n%40 == 10 || n == 0
		if one := min(want, 2); n%40 > 0 && n%40 < 10 && now != All && one != now && !out.WantsKeyframe() {
			t.Fatalf("picture %d: layer %d is wanted instead of %d, and no keyframe asked for", n, want, now)
		}
		if n%40 > 10 && out.WantsKeyframe() {
			t.Fatalf("picture %d: a keyframe is still asked for", n)
		}
		if key {
			now = min(want, 2)
		}
		got := 0
		ps := s.picture(r, n, key)
		for _, p := range ps {
			p.in.SVC = &p.v
			if p.v.Key && !described {
				p.v.Apart = 3
			}
			o, ok := out.mapped(&p.in)
			if !ok {
				continue
			}
			got++
			if o.Seq != seq {
				t.Fatalf("picture %d: number %d, want %d", n, o.Seq, seq)
			}
			seq++
			if o.Marker != p.v.End {
				t.Fatalf("picture %d: marker %v", n, o.Marker)
			}
			if p.sid != now {
				t.Fatalf("picture %d: layer %d, want %d alone", n, p.sid, now)
			}
			if o.WriteActive && o.Active&^s.st.Only(now, All) != 0 {
				t.Fatalf("picture %d: targets %b, of layer %d", n, o.Active, now)
			}
		}
		// A higher temporal layer may wait for a frame that can be entered.
		if must := ps[0].tid == 0 || most == All && (n%40 < 20 || n%40 > 34); must != (got > 0) && (must || most == 0) {
			t.Fatalf("picture %d of temporal layer %d: %d packets", n, ps[0].tid, got)
		}
	}
}
