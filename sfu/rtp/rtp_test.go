package rtp

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"testing"

	prtcp "github.com/pion/rtcp"
	prtp "github.com/pion/rtp"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestParseErrors(t *testing.T) {
	for _, c := range []struct {
		name, hex string
		want      error
	}{
		{"empty", "", ErrShort},
		{"11 bytes", "8060000100000001000000", ErrShort},
		{"version 1", "406000010000000100000002", ErrVersion},
		{"csrc missing", "816000010000000100000002", ErrShort},
		{"extension header missing", "906000010000000100000002", ErrExtension},
		{"extension too long", "906000010000000100000002bede000110", ErrExtension},
		{"padding, no payload", "a06000010000000100000002", ErrPadding},
		{"padding zero", "a0600001000000010000000200", ErrPadding},
		{"padding too long", "a0600001000000010000000202", ErrPadding},
		{"plain", "806000010000000100000002", nil},
		{"padding only", "a0600001000000010000000201", nil},
	} {
		var h Header
		if err := h.Parse(unhex(t, c.hex)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
}

func TestHeaderAgainstPion(t *testing.T) {
	for _, two := range []bool{false, true} {
		p := prtp.Packet{Header: prtp.Header{Version: 2, Marker: true, PayloadType: 100, SequenceNumber: 0xfffe, Timestamp: 0xdeadbeef,
			SSRC: 0x01020304, CSRC: []uint32{7, 8}}, Payload: []byte{1, 2, 3, 4, 5}}
		if two {
			p.Header.Extension, p.Header.ExtensionProfile = true, profileTwoByte
			must(t, p.Header.SetExtension(200, bytes.Repeat([]byte{9}, 20)))
		}
		must(t, p.Header.SetExtension(1, []byte{0x85}))
		must(t, p.Header.SetExtension(5, []byte{1, 2}))
		b, err := p.Marshal()
		must(t, err)
		b[0] |= 0x20 // padding of 3
		b = append(b, 0, 0, 3)
		var h Header
		must(t, h.Parse(b))
		if h.Seq != 0xfffe || h.Timestamp != 0xdeadbeef || h.SSRC != 0x01020304 || !h.Marker || h.PayloadType != 100 || h.CSRCs != 2 {
			t.Errorf("header %+v", h)
		}
		if got := b[h.PayloadOff:h.PayloadEnd]; !bytes.Equal(got, p.Payload) {
			t.Errorf("payload %x", got)
		}
		if got := h.Ext(b, 1); !bytes.Equal(got, []byte{0x85}) {
			t.Errorf("ext 1 %x", got)
		}
		if got := h.Ext(b, 5); !bytes.Equal(got, []byte{1, 2}) {
			t.Errorf("ext 5 %x", got)
		}
		if got := h.Ext(b, 200); len(got) != map[bool]int{true: 20}[two] {
			t.Errorf("ext 200 %x", got)
		}
		if h.Ext(b, 9) != nil {
			t.Error("ext 9 is not there")
		}
	}
}

func TestAppendHeader(t *testing.T) {
	h := &OutHeader{Marker: true, PT: 96, Seq: 65535, TS: 1, SSRC: 2}
	for _, c := range []struct {
		name string
		exts []Ext
		hex  string
	}{
		{"none", nil, "80e0ffff0000000100000002"},
		{"unused place", []Ext{{}}, "80e0ffff0000000100000002"},
		{"one byte", []Ext{{5, []byte{1, 2}}, {}, {3, []byte{1, 2, 3}}}, "90e0ffff0000000100000002bede0002510102320102" + "0300"},
		{"two byte by id", []Ext{{15, []byte{1}}}, "90e0ffff00000001000000021000" + "0001" + "0f010100"},
		{"two byte by length 0", []Ext{{1, nil}}, "90e0ffff00000001000000021000" + "0001" + "01000000"},
	} {
		got := AppendHeader(nil, h, c.exts)
		if hex.EncodeToString(got) != c.hex {
			t.Errorf("%s: %x\nwant %s", c.name, got, c.hex)
		}
		var p Header
		must(t, p.Parse(got))
		for _, e := range c.exts {
			if e.ID != 0 && !bytes.Equal(p.Ext(got, e.ID), e.Data) {
				t.Errorf("%s: ext %d reads back as %x", c.name, e.ID, p.Ext(got, e.ID))
			}
		}
	}
}

func TestIsRTCP(t *testing.T) {
	for b1 := 0; b1 < 256; b1++ {
		if got, want := IsRTCP([]byte{0x80, byte(b1)}), b1 >= 192 && b1 <= 223; got != want {
			t.Errorf("%d: %v", b1, got)
		}
	}
	if IsRTCP([]byte{0x80}) || IsRTCP([]byte{0, 200}) {
		t.Error("short or STUN taken for RTCP")
	}
}

func TestExtValues(t *testing.T) {
	if l, v, ok := AudioLevel([]byte{0x85}); l != 5 || !v || !ok {
		t.Error(l, v, ok)
	}
	if _, _, ok := AudioLevel(nil); ok {
		t.Error("no level in nothing")
	}
	var a [3]byte
	for _, now := range []int64{0, 1, 999_999_999, 1_500_000_000, 63_999_999_999, 64_000_000_000, 1 << 62} {
		PutAbsSendTime(&a, now)
		got := int64(a[0])<<16 | int64(a[1])<<8 | int64(a[2])
		want := (now % 64_000_000_000) * (1 << 18) / 1_000_000_000
		if now > 1<<40 { // the product above would not fit
			want = (now%64_000_000_000/1000)*(1<<18)/1_000_000 + 0
			if got-want > 1 || want-got > 1 {
				t.Errorf("%d: %d want about %d", now, got, want)
			}
			continue
		}
		if got != want {
			t.Errorf("%d: %d want %d", now, got, want)
		}
	}
}

func TestSeq(t *testing.T) {
	var u Unwrapper
	if u.Peek(9) != 1<<16|9 {
		t.Error("peek before the first")
	}
	base := u.Unwrap(65534)
	for i, c := range []struct {
		seq uint16
		d   int64
	}{{65535, 1}, {1, 3}, {0, 2}, {65000, -534}, {2, 4}, {32768, 32770}, {65000, 65002}, {0, 65538}} {
		if p := u.Peek(c.seq) - base; p != c.d {
			t.Errorf("peek %d: %d, want %d", i, p, c.d)
		}
		if got := u.Unwrap(c.seq) - base; got != c.d {
			t.Errorf("%d: %d, want %d", i, got, c.d)
		}
	}
}

func TestUnwrapRTX(t *testing.T) {
	if osn, rest, ok := UnwrapRTX([]byte{1, 2, 3}); osn != 0x102 || !bytes.Equal(rest, []byte{3}) || !ok {
		t.Error(osn, rest, ok)
	}
	for n := range 3 {
		if _, _, ok := UnwrapRTX(make([]byte, n)); ok {
			t.Errorf("%d bytes accepted", n)
		}
	}
}

// What built makes, and the tests below look for.
var (
	builtBlocks = []ReportBlock{{SSRC: 9, Fraction: 255, Lost: -2, HighestSeq: 0x1ffff, Jitter: 3, LSR: 4, DLSR: 5}, {SSRC: 10, Lost: 0x7fffff}}
	builtLost   = []uint16{65535, 0, 15, 16, 1000}
)

// built is a compound of one of each that we build, and a REMB, which we only read.
func built(t *testing.T) []byte {
	b := AppendSR(nil, 1, 0x1122334455667788, 7, 8, 9, builtBlocks)
	b = AppendRR(b, 1, builtBlocks)
	b = AppendSDESCname(b, 1, "abcde")
	b = AppendNACK(b, 1, 2, builtLost)
	b = AppendPLI(b, 1, 3)
	b = AppendFIR(b, 1, 4, 200)
	return append(b, remb(t, 2_500_000)...)
}

func remb(t testing.TB, bps float32) []byte {
	b, err := (&prtcp.ReceiverEstimatedMaximumBitrate{SenderSSRC: 1, Bitrate: bps, SSRCs: []uint32{5, 6}}).Marshal()
	must(t, err)
	return b
}

// The builders' output is read by pion's parsers.
func TestBuildAgainstPion(t *testing.T) {
	b := built(t)
	ps, err := prtcp.Unmarshal(b)
	must(t, err)
	if len(ps) != 7 {
		t.Fatalf("%d packets", len(ps))
	}
	sr := ps[0].(*prtcp.SenderReport)
	if sr.NTPTime != 0x1122334455667788 || sr.RTPTime != 7 || sr.PacketCount != 8 || sr.OctetCount != 9 || len(sr.Reports) != 2 ||
		sr.Reports[0].TotalLost != 0xfffffe || sr.Reports[0].FractionLost != 255 {
		t.Errorf("%+v", sr)
	}
	if s := ps[2].(*prtcp.SourceDescription); s.Chunks[0].Items[0].Text != "abcde" || s.Chunks[0].Source != 1 {
		t.Errorf("%+v", s)
	}
	var lost []uint16
	for _, n := range ps[3].(*prtcp.TransportLayerNack).Nacks {
		lost = append(lost, n.PacketList()...)
	}
	if !reflect.DeepEqual(lost, builtLost) {
		t.Errorf("nack %v", lost)
	}
	if p := ps[4].(*prtcp.PictureLossIndication); p.MediaSSRC != 3 {
		t.Errorf("%+v", p)
	}
	if p := ps[5].(*prtcp.FullIntraRequest); p.FIR[0] != (prtcp.FIREntry{SSRC: 4, SequenceNumber: 200}) {
		t.Errorf("%+v", p)
	}
}

// TestWalk: what was built is read as it was meant.
func TestWalk(t *testing.T) {
	b := built(t)
	var types []uint8
	must(t, Walk(b, func(p RTCP) bool {
		types = append(types, p.Type)
		switch p.Type {
		case TypeSR, TypeRR:
			var got []ReportBlock
			EachReportBlock(p, func(r ReportBlock) { got = append(got, r) })
			if !reflect.DeepEqual(got, builtBlocks) {
				t.Errorf("blocks %+v", got)
			}
			if p.Type == TypeSR {
				if ntp, ts, pk, oc, ok := SR(p.Body); ntp != 0x1122334455667788 || ts != 7 || pk != 8 || oc != 9 || !ok {
					t.Error("SR", ntp, ts, pk, oc, ok)
				}
			}
		case TypeRTPFB:
			media, fci, ok := Feedback(p.Body)
			var got []uint16
			EachNACK(fci, func(s uint16) { got = append(got, s) })
			if media != 2 || !ok || !reflect.DeepEqual(got, builtLost) {
				t.Error("NACK", media, got)
			}
		case TypePSFB:
			media, fci, _ := Feedback(p.Body)
			switch p.Count {
			case FmtPLI:
				if media != 3 {
					t.Error("PLI", media)
				}
			case FmtFIR:
				EachFIR(fci, func(s uint32, n uint8) {
					if s != 4 || n != 200 {
						t.Error("FIR", s, n)
					}
				})
			case FmtAFB:
				if bps, ok := REMB(fci); bps != 2_500_000 || !ok {
					t.Error("REMB", bps)
				}
			}
		}
		return true
	}))
	if !bytes.Equal(types, []byte{200, 201, 202, 205, 206, 206, 206}) {
		t.Error(types)
	}
}

// TestBuildLimits: without a loss there is no NACK, and more blocks than one report holds make two.
func TestBuildLimits(t *testing.T) {
	if got := AppendNACK(nil, 1, 2, nil); got != nil {
		t.Errorf("empty NACK %x", got)
	}
	many := AppendRR(nil, 1, make([]ReportBlock, 32))
	n := 0
	must(t, Walk(many, func(p RTCP) bool { n++; return true }))
	if n != 2 {
		t.Errorf("32 blocks in %d reports", n)
	}
}

func TestWalkErrors(t *testing.T) {
	for _, c := range []struct {
		name, hex string
		want      error
	}{
		{"empty", "", ErrShort},
		{"3 bytes", "80c800", ErrShort},
		{"version", "00c80000", ErrVersion},
		{"too long", "80c80001", ErrRTCP},
		{"padding in header", "a0cb000101020304" + "", nil},
		{"padding too big", "a0cb000101020305", ErrPadding},
		{"padding zero", "a0cb000101020300", ErrPadding},
		{"bye of nobody", "80cb0000", nil},
	} {
		if err := Walk(unhex(t, c.hex), func(RTCP) bool { return true }); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	n := 0
	two := AppendPLI(AppendPLI(nil, 1, 2), 1, 3)
	must(t, Walk(two, func(RTCP) bool { n++; return false }))
	if n != 1 {
		t.Error("walk goes on after false")
	}
}

func TestNoAllocs(t *testing.T) {
	exts := []Ext{{5, []byte{1, 2}}, {3, []byte{1, 2, 3}}, {1, []byte{9}}}
	buf := make([]byte, 0, 1500)
	pkt := AppendHeader(nil, &OutHeader{PT: 96}, exts)
	comp := AppendNACK(AppendPLI(AppendSR(nil, 1, 2, 3, 4, 5, make([]ReportBlock, 2)), 1, 2), 1, 2, []uint16{1, 2, 3})
	seqs := []uint16{1, 2, 3}
	sum := 0
	if n := testing.AllocsPerRun(200, func() {
		var h Header
		if h.Parse(pkt) != nil || h.Ext(pkt, 1) == nil {
			sum++
		}
		b := AppendHeader(buf, &OutHeader{PT: 96}, exts)
		b = AppendNACK(b, 1, 2, seqs)
		_ = Walk(comp, func(p RTCP) bool {
			EachReportBlock(p, func(r ReportBlock) { sum += int(r.SSRC) })
			if _, fci, ok := Feedback(p.Body); ok {
				EachNACK(fci, func(s uint16) { sum += int(s) })
			}
			return true
		})
		sum += len(b)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func FuzzHeader(f *testing.F) {
	f.Add(AppendHeader(nil, &OutHeader{PT: 96}, []Ext{{5, []byte{1, 2}}}))
	f.Add(AppendHeader(nil, &OutHeader{PT: 96}, []Ext{{200, []byte{1, 2}}}))
	f.Add([]byte{0xa0, 0x60, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		var h Header
		if h.Parse(b) != nil {
			return
		}
		if h.PayloadOff < headerSize || h.PayloadOff > h.PayloadEnd || h.PayloadEnd > len(b) {
			t.Fatalf("bounds %+v of %d", h, len(b))
		}
		for id := range 256 {
			_ = h.Ext(b, uint8(id))
		}
		_, _, _ = UnwrapRTX(b[h.PayloadOff:h.PayloadEnd])
	})
}

func FuzzWalk(f *testing.F) {
	f.Add(AppendSR(nil, 1, 2, 3, 4, 5, make([]ReportBlock, 2)))
	f.Add(AppendNACK(AppendPLI(AppendFIR(nil, 1, 2, 3), 1, 2), 1, 2, []uint16{1, 2, 3}))
	f.Add(append(AppendSDESCname(nil, 1, "x"), remb(f, 1<<40)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		n := 0
		err := Walk(b, func(p RTCP) bool {
			n += len(p.Raw)
			EachReportBlock(p, func(ReportBlock) {})
			_, _, _, _, _ = SR(p.Body)
			if _, fci, ok := Feedback(p.Body); ok {
				EachNACK(fci, func(uint16) {})
				EachFIR(fci, func(uint32, uint8) {})
				_, _ = REMB(fci)
			}
			return true
		})
		if err == nil && n != len(b) {
			t.Fatalf("walked %d of %d bytes", n, len(b))
		}
	})
}

func BenchmarkParse(b *testing.B) {
	pkt := append(AppendHeader(nil, &OutHeader{PT: 96}, []Ext{{5, []byte{1, 2}}, {3, []byte{1, 2, 3}}}), make([]byte, 1100)...)
	b.ReportAllocs()
	for b.Loop() {
		var h Header
		if h.Parse(pkt) != nil || h.Ext(pkt, 3) == nil {
			b.Fatal()
		}
	}
}

// TestAppendLike: the header like another one is what AppendHeader makes of the same extensions.
func TestAppendLike(t *testing.T) {
	for _, exts := range [][]Ext{nil, {{5, []byte{1, 2}}, {3, []byte{9}}}, {{20, []byte{1, 2}}, {3, []byte{9}}}} {
		like := AppendHeader(nil, &OutHeader{Padding: true, PT: 96, Seq: 1, TS: 2, SSRC: 3}, exts)
		h := &OutHeader{Marker: true, PT: 111, Seq: 65535, TS: 1 << 31, SSRC: 0xfedcba98}
		if got, want := AppendLike([]byte{7}, like, h), AppendHeader([]byte{7}, h, exts); !bytes.Equal(got, want) {
			t.Errorf("%v:\n%x, not\n%x", exts, got, want)
		}
		if len(exts) > 0 && !bytes.HasPrefix(like[FirstExt(like):], exts[0].Data) {
			t.Errorf("%x: the first element is not at %d", like, FirstExt(like))
		}
	}
}

func BenchmarkAppendHeader(b *testing.B) {
	exts := []Ext{{5, []byte{1, 2}}, {3, []byte{1, 2, 3}}, {10, []byte{'v', '1'}}}
	buf := make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		_ = AppendHeader(buf, &OutHeader{PT: 96}, exts)
	}
}

func TestPutPlayoutDelay(t *testing.T) {
	var b [3]byte
	if PutPlayoutDelay(&b, 0x123, 0xabc); b != [3]byte{0x12, 0x3a, 0xbc} {
		t.Errorf("%x", b)
	}
}
