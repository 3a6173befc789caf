package dd_test

import (
	"bytes"
	"testing"

	"konzil/sfu/dd"
	"konzil/sfu/dd/ddtest"
)

// key parses the first packet of a keyframe of a sender.
func key(t testing.TB, s *ddtest.Sender) ([]byte, dd.Descriptor, *dd.Structure) {
	t.Helper()
	f := s.Picture(true)
	b := f[0].DD(true, false)
	st := new(dd.Structure)
	d, ok := dd.Parse(b, nil, st)
	if !ok {
		t.Fatalf("%x refused", b)
	}
	return b, d, st
}

func TestStructure(t *testing.T) {
	for _, full := range []bool{false, true} {
		_, d, st := key(t, &ddtest.Sender{Full: full, Offset: 60, Number: 65535})
		if !d.Keyframe() || !d.Start || d.End || d.Number != 65535 || d.Active != 0x1ff || d.HasActive || d.Frame.Switch != 0x1ff {
			t.Errorf("%+v", d)
		}
		if st.Templates != 15 || st.Targets != 9 || st.Chains != 3 || st.MaxSID != 2 || st.MaxTID != 2 || !st.HasSizes {
			t.Errorf("%+v", st)
		}
		for i := range 9 {
			if st.TargetSID[i] != uint8(i/3) || st.TargetTID[i] != uint8(i%3) || st.Protected[i] != uint8(i/3) {
				t.Errorf("target %d: S%dT%d, chain %d", i, st.TargetSID[i], st.TargetTID[i], st.Protected[i])
			}
			if st.Top(uint8(i/3), uint8(i%3)) != i {
				t.Errorf("top of target %d: %d", i, st.Top(uint8(i/3), uint8(i%3)))
			}
		}
		for i, w := range []uint16{320, 640, 1280} {
			if st.Width[i] != w || st.Height[i] != w*9/16 {
				t.Errorf("layer %d: %dx%d", i, st.Width[i], st.Height[i])
			}
		}
		for _, c := range []struct {
			sid, tid uint8
			mask     uint32
			top      int
		}{{0, 0, 1, 0}, {0, 2, 7, 2}, {1, 0, 1 | 8, 3}, {1, 1, 0b011011, 4}, {2, 2, 0x1ff, 8}, {255, 255, 0x1ff, 8}, {255, 0, 0b001001001, 6}} {
			if m := st.Within(c.sid, c.tid); m != c.mask || st.Top(c.sid, c.tid) != c.top {
				t.Errorf("S%dT%d: %b, %d", c.sid, c.tid, m, st.Top(c.sid, c.tid))
			}
		}
	}
}

func TestApart(t *testing.T) {
	for _, full := range []bool{false, true} {
		_, _, st := key(t, &ddtest.Sender{Full: full})
		if n, lowest := st.Apart(st.All()); n != 0 || lowest != 0 {
			t.Errorf("full %v: %d layers apart from %d on", full, n, lowest)
		}
	}
	_, _, st := key(t, &ddtest.Sender{Apart: true})
	for _, c := range []struct {
		active    uint32
		n, lowest uint8
	}{{0x1ff, 3, 0}, {0x3f, 2, 0}, {0x1f8, 3, 1}, {0x38, 2, 1}} {
		if n, lowest := st.Apart(c.active); n != c.n || lowest != c.lowest {
			t.Errorf("active %b: %d layers from %d on", c.active, n, lowest)
		}
	}
	if m := st.Only(1, 1); m != 0b011000 {
		t.Errorf("targets of S1T1: %b", m)
	}
}

// Every frame of some periods is read as it was meant, from any template offset.
func TestFrames(t *testing.T) {
	for offset := range uint8(64) {
		s := &ddtest.Sender{Full: offset%2 == 0, Offset: offset, Number: 65530}
		var st dd.Structure
		for n := range 9 {
			for i, f := range s.Picture(n == 0) {
				b := f.DD(true, true)
				d, ok := dd.Parse(b, &st, &st)
				if !ok || d.Number != f.Number || d.Frame.SID != f.SID || d.Frame.TID != f.TID || int(d.Frame.NumRefs) != len(f.Refs) ||
					d.Keyframe() != (n == 0 && i == 0) {
					t.Fatalf("%x: %v %+v", b, ok, d)
				}
				for k, r := range f.Refs {
					if d.Frame.Refs[k] != r {
						t.Fatalf("%x: refs %v", b, d.Frame.Refs)
					}
				}
				for k, c := range f.Chains {
					if d.Frame.Chains[k] != c {
						t.Fatalf("%x: chains %v", b, d.Frame.Chains)
					}
				}
			}
		}
	}
}

// custom is a frame of template 3 (S0T2) of L3T3_KEY with its own DTIs (all "required"), references 1 and 300, and chains 7, 8, 9.
func custom() []byte {
	var v []byte
	n := 0
	put := func(x uint32, k int) {
		for i := k - 1; i >= 0; i-- {
			if n%8 == 0 {
				v = append(v, 0)
			}
			v[n/8] |= byte(x>>i&1) << (7 - n%8)
			n++
		}
	}
	put(3, 8)
	put(77, 16)
	put(0b01111, 5)
	put(0b101, 9)
	put(1<<18-1, 18)
	put(1, 2)
	put(0, 4)
	put(3, 2)
	put(299, 12)
	put(0, 2)
	put(7, 8)
	put(8, 8)
	put(9, 8)
	return v
}

func TestCustom(t *testing.T) {
	_, _, st := key(t, &ddtest.Sender{})
	d, ok := dd.Parse(custom(), st, nil)
	f := d.Frame
	if !ok || f.SID != 0 || f.TID != 2 || f.Present != 0x1ff || f.Required != 0x1ff || f.Switch != 0 || f.NumRefs != 2 || f.Refs[0] != 1 ||
		f.Refs[1] != 300 || f.Chains[0] != 7 || f.Chains[2] != 9 || !d.HasActive || d.Active != 5 {
		t.Fatalf("%v %+v", ok, d)
	}
	out := dd.Append([]byte("head"), custom(), &d, st, 0b110000000011)
	if e, ok := dd.Parse(out[4:], st, nil); !ok || e.Active != 3 || e.Frame != f || string(out[:4]) != "head" {
		t.Fatalf("%v %+v", ok, e)
	}
}

// A mask of active decode targets can be written into every kind of packet, and nothing else changes.
func TestAppend(t *testing.T) {
	for _, own := range []uint32{0, 0x1f7} {
		s := &ddtest.Sender{Active: own, Offset: 11}
		var st dd.Structure
		for n := range 5 {
			for _, f := range s.Picture(n == 0) {
				b := f.DD(true, false)
				d, ok := dd.Parse(b, &st, &st)
				if !ok {
					t.Fatal("refused")
				}
				out := dd.Append(nil, b, &d, &st, 0b011011)
				var st2 dd.Structure
				e, ok := dd.Parse(out, &st, &st2)
				if !ok || !e.HasActive || e.Active != 0b011011 || e.Frame != d.Frame || e.Number != d.Number || e.Attached != d.Attached ||
					e.Start != d.Start || e.End != d.End {
					t.Fatalf("%x to %x: %v %+v", b, out, ok, e)
				}
				if e.Attached && !st2.Same(&st) {
					t.Fatal("the structure changed")
				}
				if back := dd.Append(nil, out, &e, &st, 0b011011); !bytes.Equal(back, out) {
					t.Fatalf("%x again is %x", out, back)
				}
			}
		}
	}
	b := []byte{0xc0, 1, 2}
	dd.SetNumber(b, 0x1234)
	if !bytes.Equal(b, []byte{0xc0, 0x12, 0x34}) {
		t.Errorf("%x", b)
	}
}

func TestRefused(t *testing.T) {
	b, _, st := key(t, &ddtest.Sender{})
	for n := range len(b) {
		if n != 3 { // three bytes are a descriptor without extended fields
			if _, ok := dd.Parse(b[:n], st, new(dd.Structure)); ok {
				t.Errorf("cut at %d of %d accepted", n, len(b))
			}
		}
	}
	c := custom()
	for n := 4; n < len(c); n++ {
		if _, ok := dd.Parse(c[:n], st, nil); ok {
			t.Errorf("custom cut at %d accepted", n)
		}
	}
	for _, x := range [][]byte{nil, {0x80}, {0x80, 0, 0}, {0xbf, 0, 0}, {15, 0, 0}} {
		if _, ok := dd.Parse(x, nil, nil); ok {
			t.Errorf("%x accepted without a structure", x)
		}
	}
	if _, ok := dd.Parse([]byte{15, 0, 0}, st, nil); ok {
		t.Error("template 15 of 15 accepted")
	}
	if _, ok := dd.Parse(b, st, nil); ok {
		t.Error("structure accepted with no place for it")
	}
}

func TestNoAllocs(t *testing.T) {
	s := &ddtest.Sender{}
	b, _, st := key(t, s)
	f := s.Picture(false)[2].DD(true, true)
	var fresh dd.Structure
	dst := make([]byte, 0, 256)
	if n := testing.AllocsPerRun(100, func() {
		d, ok := dd.Parse(b, st, &fresh)
		e, ok2 := dd.Parse(f, st, &fresh)
		if !ok || !ok2 || len(dd.Append(dst, b, &d, &fresh, 3)) == 0 || len(dd.Append(dst, f, &e, st, 3)) == 0 {
			t.Fatal("refused")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParse(f *testing.F) {
	for _, full := range []bool{false, true} {
		s := &ddtest.Sender{Full: full, Offset: 50, Active: 0x7f}
		for n := range 5 {
			for _, fr := range s.Picture(n == 0) {
				f.Add(fr.DD(true, false), uint32(0x1b))
			}
		}
	}
	f.Add(custom(), uint32(1))
	_, _, st := key(f, &ddtest.Sender{})
	f.Fuzz(func(t *testing.T, b []byte, mask uint32) {
		var fresh, again dd.Structure
		d, ok := dd.Parse(b, st, &fresh)
		if !ok {
			return
		}
		in := st
		if d.Attached {
			in = &fresh
		}
		if in.Targets < 1 || in.Targets > dd.MaxTargets || in.Templates < 1 || int(d.Frame.NumRefs) > dd.MaxRefs || d.Frame.Present&^in.All() != 0 {
			t.Fatalf("%+v", d)
		}
		out := dd.Append(nil, b, &d, in, mask)
		e, ok := dd.Parse(out, st, &again)
		if !ok || e.Active != mask&in.All() || e.Frame != d.Frame || e.Number != d.Number || e.Attached != d.Attached || d.Attached && !again.Same(&fresh) {
			t.Fatalf("%x became %x: %v\n%+v\n%+v", b, out, ok, d, e)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	s := &ddtest.Sender{}
	_, _, st := key(b, s)
	f := s.Picture(false)[2].DD(true, true)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := dd.Parse(f, st, nil); !ok {
			b.Fatal("refused")
		}
	}
}
