package codec

import (
	"bytes"
	"encoding/hex"
	"testing"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseVP8(t *testing.T) {
	for _, c := range []struct {
		name, hex string
		ok        bool
		want      VP8
	}{
		{"empty", "", false, VP8{}},
		{"descriptor only", "10", false, VP8{}},
		{"short delta", "1001", true, VP8{Start: true, HeaderLen: 1}},
		{"short key without dimensions", "1000", true, VP8{Start: true, Keyframe: true, HeaderLen: 1}},
		{"second partition", "1100", true, VP8{HeaderLen: 1}},
		{"continuation", "0000", true, VP8{HeaderLen: 1}},
		{"non reference", "3001", true, VP8{Start: true, NonRef: true, HeaderLen: 1}},
		{"short id", "90807f01", true, VP8{Start: true, HasPictureID: true, PictureID: 0x7f, PicOff: 2, HeaderLen: 3}},
		{"X cut", "9080", false, VP8{}},
		{"long id cut", "908080", false, VP8{}},
		{"tl0 cut", "904001", false, VP8{}},
		{"tid cut", "902001", false, VP8{}},
		{"all, key 1280x720", "90f0ffffaa6500000000" + "000000" + "00", true, VP8{}},
		{"key with dims", "90f0812381a5" + "1000009d012a0005d002", true, VP8{Start: true, Keyframe: true, HasPictureID: true, PictureID: 0x123,
			Long: true, HasTL0: true, TL0: 0x81, HasTID: true, TID: 2, LayerSync: true, HasKeyIdx: true, KeyIdx: 5, PicOff: 2, TL0Off: 4, HeaderLen: 6,
			Width: 1280, Height: 720}},
		{"scaling bits", "10" + "1000009d012a0045d0c2", true, VP8{Start: true, Keyframe: true, HeaderLen: 1, Width: 1280, Height: 720}},
	} {
		got, ok := ParseVP8(unhex(t, c.hex))
		if ok != c.ok {
			t.Errorf("%s: ok %v", c.name, ok)
			continue
		}
		if ok && c.want != (VP8{}) && got != c.want {
			t.Errorf("%s:\n got %+v\nwant %+v", c.name, got, c.want)
		}
	}
}

func TestPatchVP8(t *testing.T) {
	for _, c := range []struct{ in, out string }{
		{"90f0812381a501", "90f0aabbccA501"}, // long
		{"90f02381a501", "90f03bccA501"},     // short: low 7 bits of 0x2abb
		{"902081a501", "902081a501"},         // nothing to patch
		{"904081a501", "9040cca501"},         // only tl0
	} {
		b := unhex(t, c.in)
		d, ok := ParseVP8(b)
		if !ok {
			t.Fatal(c.in)
		}
		PatchVP8(b, &d, 0x2abb, 0xcc)
		if !bytes.Equal(b, unhex(t, c.out)) {
			t.Errorf("%s: %x want %s", c.in, b, c.out)
		}
	}
}

func TestParseVP9(t *testing.T) {
	for _, c := range []struct {
		name, hex string
		ok        bool
		want      VP9
	}{
		{"empty", "", false, VP9{}},
		{"key, no ids", "0800", true, VP9{Start: true, Keyframe: true, HeaderLen: 1}},
		{"layers, non flexible", "ac812334" + "0700", true, VP9{Start: true, End: true, HasPictureID: true, PictureID: 0x123, Long: true, HasLayers: true,
			TID: 1, SwitchUp: true, SID: 2, HasTL0: true, TL0: 7, PicOff: 1, TL0Off: 4, HeaderLen: 5}},
		{"flexible, predicted, 2 diffs", "d805030200", true, VP9{Start: true, Predicted: true, Flexible: true, HasPictureID: true, PictureID: 5, PicOff: 1,
			Refs: [3]uint8{1, 1}, NumRefs: 2, HeaderLen: 4}},
		{"flexible, three diffs, top layer", "fc8123" + "45" + "030508" + "00", true, VP9{Start: true, End: true, Predicted: true, Flexible: true, HasPictureID: true,
			PictureID: 0x123, Long: true, HasLayers: true, TID: 2, SID: 2, InterLayer: true, Refs: [3]uint8{1, 2, 4}, NumRefs: 3, PicOff: 1, HeaderLen: 7}},
		{"4 diffs", "d8050303030200", false, VP9{}},
		{"structure of 2 with sizes and group", "0a" + "38" + "0140" + "00b4" + "0280" + "0168" + "02" + "04aa" + "00" + "ff", true,
			VP9{Start: true, Keyframe: true, Spatial: 2, Width: 640, Height: 360, HasSizes: true,
				Widths: [8]uint16{320, 640}, Heights: [8]uint16{180, 360}, HeaderLen: 14}},
		{"structure cut", "0a380140", false, VP9{}},
		{"group cut", "0a0802", false, VP9{}},
		{"group runs over", "0a08010c", false, VP9{}},
	} {
		got, ok := ParseVP9(unhex(t, c.hex))
		if ok != c.ok || ok && got != c.want {
			t.Errorf("%s: %v\n got %+v\nwant %+v", c.name, ok, got, c.want)
		}
	}
}

func TestPatchVP9(t *testing.T) {
	for _, c := range []struct{ in, out string }{
		{"ac812334" + "0700", "acaabb34" + "cc00"}, // long
		{"ac2334" + "0700", "ac3b34" + "cc00"},     // short
		{"9c8123" + "00", "9caabb" + "00"},         // flexible: no TL0PICIDX
		{"0800", "0800"},                           // nothing to patch
	} {
		b := unhex(t, c.in)
		d, ok := ParseVP9(b)
		if !ok {
			t.Fatal(c.in)
		}
		PatchVP9(b, &d, 0x2abb, 0xcc)
		if !bytes.Equal(b, unhex(t, c.out)) {
			t.Errorf("%s: %x want %s", c.in, b, c.out)
		}
	}
}

func TestKeyframe(t *testing.T) {
	for _, c := range []struct {
		name, payload, dd string
		want              bool
	}{
		{"vp8", "1000", "", true}, {"vp8", "1001", "", false}, {"vp8", "", "", false},
		{"vp9", "0800", "", true}, {"vp9", "4800", "", false}, {"vp9", "0000", "", false},
		{"h264", "6500", "", true}, {"h264", "6700", "", true}, {"h264", "6100", "", false}, {"h264", "65", "", false},
		{"h264", "78" + "00026800" + "00026500", "", true}, {"h264", "78" + "00026800" + "00026100", "", false}, {"h264", "780000", "", false},
		{"h264", "78" + "ffff68", "", false},
		{"h264", "7c85", "", true}, {"h264", "7c05", "", false}, {"h264", "7c81", "", false},
		{"av1", "0800", "", true}, {"av1", "0000", "", false}, {"av1", "", "", false},
		{"av1", "0000", "80000180", true}, {"av1", "0800", "80000100", false}, {"av1", "0800", "800001", false}, {"av1", "0000", "00000180", false},
		{"opus", "", "", true},
	} {
		if got := Keyframe(c.name, unhex(t, c.payload), unhex(t, c.dd)); got != c.want {
			t.Errorf("%s %s %s: %v", c.name, c.payload, c.dd, got)
		}
	}
}

func TestNoAllocs(t *testing.T) {
	p := unhex(t, "90f0812381a51000009d012a0005d002")
	n := testing.AllocsPerRun(100, func() {
		d, _ := ParseVP8(p)
		PatchVP8(p, &d, 1, 2)
		_, _ = ParseVP9(p)
		_ = Keyframe("h264", p, nil)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzVP8(f *testing.F) {
	f.Add([]byte{0x90, 0xf0, 0x81, 0x23, 0x81, 0xa5, 0x10, 0, 0, 0x9d, 1, 0x2a, 0, 5, 0xd0, 2})
	f.Add([]byte{0x10, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		d, ok := ParseVP8(b)
		if !ok {
			return
		}
		if d.HeaderLen < 1 || d.HeaderLen >= len(b) {
			t.Fatalf("header of %d in %d", d.HeaderLen, len(b))
		}
		PatchVP8(b, &d, 0x1abc, 0x5a)
		e, ok := ParseVP8(b)
		if !ok || d.HasPictureID && e.PictureID&0x7f != 0x3c || d.HasTL0 && e.TL0 != 0x5a || e.TID != d.TID || e.Keyframe != d.Keyframe {
			t.Fatalf("patched %+v, was %+v", e, d)
		}
	})
}

func FuzzVP9(f *testing.F) {
	f.Add([]byte{0x0a, 0x38, 1, 0x40, 0, 0xb4, 2, 0x80, 1, 0x68, 2, 4, 0xaa, 0, 0xff})
	f.Add([]byte{0xd8, 5, 3, 2, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		d, ok := ParseVP9(b)
		if !ok {
			return
		}
		if d.HeaderLen < 1 || d.HeaderLen >= len(b) || d.Spatial > maxVP9Spatial || int(d.NumRefs) > len(d.Refs) {
			t.Fatalf("%+v of %d", d, len(b))
		}
		PatchVP9(b, &d, 0x1abc, 0x5a)
		e, ok := ParseVP9(b)
		if d.HasPictureID {
			d.PictureID = 0x1abc & 0x7f
			if d.Long {
				d.PictureID = 0x1abc
			}
		}
		if d.HasTL0 {
			d.TL0 = 0x5a
		}
		if !ok || e != d {
			t.Fatalf("patched %+v, want %+v", e, d)
		}
	})
}

func FuzzKeyframe(f *testing.F) {
	f.Add([]byte{0x78, 0, 2, 0x68, 0, 0, 2, 0x65, 0}, []byte{0x80, 0, 1, 0x80})
	f.Fuzz(func(t *testing.T, p, dd []byte) {
		for _, name := range []string{"vp8", "vp9", "h264", "av1"} {
			_ = Keyframe(name, p, dd)
		}
	})
}

func BenchmarkParseVP8(b *testing.B) {
	p := unhex(b, "90f0812381a51000009d012a0005d002")
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := ParseVP8(p); !ok {
			b.Fatal()
		}
	}
}
