package packed

import (
	"bytes"
	"testing"
)

func TestRoundTrip(t *testing.T) {
	b := String(Numbers(String([]byte{7}, "one"), 0, 1<<40), []byte("two"))
	r := Reader{Rest: b}
	if r.Byte() != 7 || string(r.Bytes()) != "one" || r.Number() != 0 || r.Number() != 1<<40 || string(r.Bytes()) != "two" || r.Bad || len(r.Rest) != 0 {
		t.Errorf("%+v of %x", r, b)
	}
	for n := range b { // cut anywhere it is bad, and stays so
		r := Reader{Rest: b[:n]}
		r.Byte()
		r.Bytes()
		r.Number()
		r.Number()
		r.Bytes()
		if !r.Bad || r.Byte() != 0 || r.Number() != 0 || r.Bytes() != nil {
			t.Errorf("%d bytes: %+v", n, r)
		}
	}
}

// FuzzReader: what is read, written again, is what was read.
func FuzzReader(f *testing.F) {
	f.Add([]byte{1, 2, 'a', 'b', 0x80, 1})
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		r := Reader{Rest: b}
		first, s, n := r.Byte(), r.Bytes(), r.Number()
		if r.Bad {
			return
		}
		again := Reader{Rest: Numbers(String([]byte{first}, s), n)}
		if again.Byte() != first || !bytes.Equal(again.Bytes(), s) || again.Number() != n || again.Bad || len(again.Rest) != 0 {
			t.Fatalf("%x", b)
		}
	})
}
