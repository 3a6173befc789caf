package codec

import (
	"encoding/hex"
	"testing"
)

// Parameter sets in the form of an encoder's, and cut ones (width -1).
var spsSamples = []struct {
	hex           string
	width, height int
}{
	{"6742c01f8c8d40501ed00f08846a", 640, 480},                                   // constrained baseline
	{"67640028acd940780227e5c05a808080a0000003002000000781e30632c0", 1920, 1080}, // high profile, cropped
	{"6742c015", -1, 0},
	{"67", -1, 0},
}

// bits writes a parameter set.
type bits struct {
	b []byte
	n int
}

func (w *bits) u(n int, v uint32) {
	for i := n - 1; i >= 0; i-- {
		if w.n%8 == 0 {
			w.b = append(w.b, 0)
		}
		w.b[w.n/8] |= byte(v>>i&1) << (7 - w.n%8)
		w.n++
	}
}

func (w *bits) ue(v uint32) {
	n := 0
	for v+1 >= 2<<n {
		n++
	}
	w.u(n, 0)
	w.u(n+1, v+1)
}

// sps makes a baseline parameter set of a size; odd multiples of 16 are cropped.
func sps(width, height int) []byte {
	var w bits
	w.u(8, 66)
	w.u(16, 0xc01f)
	w.ue(0)
	w.ue(0) // frame numbers
	w.ue(2) // order of output
	w.ue(1)
	w.u(1, 0)
	mw, mh := (width+15)/16, (height+15)/16
	w.ue(uint32(mw - 1))
	w.ue(uint32(mh - 1))
	w.u(1, 1)
	w.u(1, 1)
	if cw, ch := mw*16-width, mh*16-height; cw+ch > 0 {
		w.u(1, 1)
		w.ue(0)
		w.ue(uint32(cw / 2))
		w.ue(0)
		w.ue(uint32(ch / 2))
	} else {
		w.u(1, 0)
	}
	w.u(1, 0)
	w.u(1, 1)
	var out []byte // with emulation prevention
	zeros := 0
	for _, b := range append([]byte{0x67}, w.b...) {
		if zeros >= 2 && b <= 3 {
			out = append(out, 3)
			zeros = 0
		}
		if out = append(out, b); b == 0 {
			zeros++
		} else {
			zeros = 0
		}
	}
	return out
}

func TestH264Size(t *testing.T) {
	for _, s := range [][2]int{{1280, 720}, {320, 180}, {640, 360}, {1920, 1080}, {176, 144}, {3840, 2160}, {16, 16}} {
		p := sps(s[0], s[1])
		for name, pkt := range map[string][]byte{
			"alone":  p,
			"STAP-A": append(append([]byte{0x78, 0, 2, 0x09, 0x10, 0, byte(len(p))}, p...), 0, 2, 0x68, 0xce),
		} {
			if w, h, ok := H264Size(pkt); !ok || w != s[0] || h != s[1] {
				t.Errorf("%v %s %x: %d×%d, %v", s, name, pkt, w, h, ok)
			}
		}
	}
	for _, s := range spsSamples {
		b, err := hex.DecodeString(s.hex)
		if err != nil {
			t.Fatal(err)
		}
		w, h, ok := H264Size(b)
		if s.width > 0 && (w != s.width || h != s.height) || s.width < 0 && ok {
			t.Errorf("%s: %d×%d, %v", s.hex, w, h, ok)
		}
	}
	for _, p := range [][]byte{nil, {0x65, 1, 2}, {0x78}, {0x78, 0, 0, 1}, {0x78, 0, 9, 0x67}, {0x7c, 0x85, 1}} {
		if w, h, ok := H264Size(p); ok {
			t.Errorf("%x: %d×%d", p, w, h)
		}
	}
}

func FuzzH264(f *testing.F) {
	f.Add(sps(1280, 720))
	f.Add(append([]byte{0x78, 0, 14}, sps(640, 360)...))
	for _, s := range spsSamples {
		b, _ := hex.DecodeString(s.hex)
		f.Add(b)
	}
	f.Add([]byte{0x7c, 0x87, 1, 2})
	f.Fuzz(func(t *testing.T, p []byte) {
		if w, h, ok := H264Size(p); ok && (w <= 0 || h <= 0 || w > maxH264Side || h > maxH264Side) {
			t.Fatalf("%d×%d", w, h)
		}
		Keyframe("h264", p, nil)
	})
}
