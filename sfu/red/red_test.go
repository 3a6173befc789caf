package red

import (
	"bytes"
	"fmt"
	"testing"
)

func TestPrimary(t *testing.T) {
	for _, c := range []struct {
		in   []byte
		want string
		bad  bool
	}{
		{in: []byte{111, 'a', 'b'}, want: "ab"},
		{in: []byte{0x80 | 111, 0, 0, 2, 111, 'o', 'l', 'n', 'e', 'w'}, want: "new"},
		{in: []byte{0x80 | 111, 0, 0, 2, 0x80 | 111, 0, 0, 1, 111, 'x', 'y', 'z', 'p'}, want: "p"},
		{in: []byte{0x80 | 111, 0, 0, 9, 111, 'x'}, bad: true},
		{in: []byte{0x80 | 111, 0, 0}, bad: true},
		{in: nil, bad: true},
	} {
		got, pt := Primary(c.in)
		if (got == nil) != c.bad || string(got) != c.want || !c.bad && pt != 111 {
			t.Errorf("%v: got %q, %d", c.in, got, pt)
		}
	}
}

// parse is the reader of the test: blocks with their distance.
func parse(b []byte) (out []string) {
	type head struct{ off, n int }
	var hs []head
	for b[0]&0x80 != 0 {
		hs = append(hs, head{int(b[1])<<6 | int(b[2])>>2, int(b[2]&3)<<8 | int(b[3])})
		b = b[4:]
	}
	b = b[1:]
	for _, h := range hs {
		out = append(out, fmt.Sprintf("%d:%s", h.off, b[:h.n]))
		b = b[h.n:]
	}
	return append(out, "0:"+string(b))
}

func TestAppend(t *testing.T) {
	var r Ring
	buf := make([]byte, 0, 1200)
	say := func(seq uint16) []byte { return []byte(fmt.Sprint("p", seq)) }
	for i, c := range []struct {
		seq      uint16
		distance int
		want     []string
	}{
		{65534, 2, nil},
		{65535, 2, []string{"960:p65534", "0:p65535"}},
		{0, 2, []string{"1920:p65534", "960:p65535", "0:p0"}},
		{1, 1, []string{"960:p0", "0:p1"}},
		{3, 2, []string{"1920:p1", "0:p3"}}, // 2 was lost
		{2, 2, []string{"1920:p0", "960:p1", "0:p2"}},
		{4, 0, nil},
		{40, 2, nil}, // too long ago
	} {
		ts := uint32(int16(c.seq)) * 960
		got, ok := r.Append(buf, 111, c.seq, ts, say(c.seq), c.distance)
		if ok != (c.want != nil) || ok && fmt.Sprint(parse(got)) != fmt.Sprint(c.want) {
			t.Errorf("%d: seq %d: %v %v, want %v", i, c.seq, ok, got, c.want)
		}
		if ok {
			if p, pt := Primary(got); string(p) != string(say(c.seq)) || pt != 111 {
				t.Errorf("seq %d: primary %q of type %d", c.seq, p, pt)
			}
			SetPT(got, 96)
			if p, pt := Primary(got); string(p) != string(say(c.seq)) || pt != 96 {
				t.Errorf("seq %d: primary %q of type %d", c.seq, p, pt)
			}
		}
		r.Put(c.seq, ts, say(c.seq))
	}
}

func TestAppendLimits(t *testing.T) {
	var r Ring
	long := make([]byte, maxKept+1)
	r.Put(1, 960, long)
	if _, ok := r.Append(make([]byte, 0, 2000), 111, 2, 1920, []byte("x"), 2); ok {
		t.Error("a long payload was repeated")
	}
	r.Put(3, 3*960, long[:maxKept])
	if _, ok := r.Append(make([]byte, 0, 400), 111, 4, 4*960, []byte("x"), 2); ok {
		t.Error("it does not fit")
	}
	if _, ok := r.Append(make([]byte, 0, 600), 111, 4, 3*960+1<<14, []byte("x"), 2); ok {
		t.Error("the distance does not fit 14 bits")
	}
	if n := testing.AllocsPerRun(100, func() { r.Put(5, 5*960, long[:100]) }); n != 0 {
		t.Error(n, "allocations")
	}
}

func FuzzPrimary(f *testing.F) {
	f.Add([]byte{111, 1})
	f.Add([]byte{0x80 | 111, 0x0f, 0x00, 2, 111, 'o', 'l', 'n', 'e', 'w'})
	f.Add([]byte{0x80 | 111, 0, 3, 0xff, 0x80, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, _ := Primary(b)
		if p != nil && !bytes.HasSuffix(b, p) {
			t.Fatal("not its own")
		}
		c := bytes.Clone(b)
		SetPT(c, 100)
		if q, _ := Primary(c); (q == nil) != (p == nil) || len(p) != len(q) {
			t.Fatalf("%v became %v by another type", p, q)
		}
		var r Ring
		r.Put(1, 0, b)
		if out, ok := r.Append(make([]byte, 0, 1400), 111, 2, 960, b, 2); ok {
			if q, _ := Primary(out); !bytes.Equal(q, b) {
				t.Fatalf("%v became %v", b, q)
			}
		}
	})
}
