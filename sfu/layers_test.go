package sfu

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/pion/rtp"
	"github.com/pion/srtp/v3"

	"konzil/internal/await"
	"konzil/internal/udpio"
	"konzil/sfu/codec"
	"konzil/sfu/dd"
	"konzil/sfu/dd/ddtest"
)

const extDD = 11

// svcEncoder sends three spatial and three temporal layers in one SSRC, as VP9 or AV1 in mode L3T3_KEY, or AV1 in mode S3T3.
type svcEncoder struct {
	av1 bool
	dd  ddtest.Sender
	seq uint16
	ts  uint32
	pic uint16
	tl0 uint8
	n   int
}

// picture is two packets of each layer, whose payloads end with S<sid>T<tid>.
func (v *svcEncoder) picture(key bool) []*rtp.Packet {
	key = key || v.n == 0
	if key {
		v.n = 0
	}
	tid := []uint8{0, 2, 1, 2}[v.n%4]
	if tid == 0 {
		v.tl0++
	}
	frames := v.dd.Picture(key)
	var out []*rtp.Packet
	for sid := range uint8(3) {
		for i := range 2 {
			p := &rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: v.seq, Timestamp: v.ts, Marker: sid == 2 && i == 1}}
			d := []byte{0, 1, 2, 3}
			if v.av1 {
				x := frames[sid].DD(i == 0, i == 1)
				if err := p.SetExtensionWithProfile(extDD, x, rtp.ExtensionProfileTwoByte); err != nil {
					panic(err)
				}
			} else {
				d = v.vp9(sid, tid, key, i)
			}
			d = append(d, make([]byte, 60<<sid)...)
			p.Payload = append(d, fmt.Sprintf("S%dT%d", sid, tid)...)
			out = append(out, p)
			v.seq++
		}
	}
	v.n++
	v.pic = (v.pic + 1) & 0x7fff
	v.ts += 1800
	return out
}

// vp9 is a payload descriptor in non-flexible mode (RFC 9628 §4.2).
func (v *svcEncoder) vp9(sid, tid uint8, key bool, i int) []byte {
	b := byte(0xa0) // I, L
	if !key {
		b |= 0x40
	}
	b |= [2]byte{0x08, 0x04}[i]
	l := tid<<5 | 0x10 | sid<<1
	if key && sid > 0 {
		l |= 1
	}
	d := []byte{b, 0x80 | byte(v.pic>>8), byte(v.pic), l, v.tl0}
	if key && sid == 0 && i == 0 {
		d[0] |= 2
		d = append(d, 2<<5|0x10)
		for k := range 3 {
			w, h := 320<<k, 180<<k
			d = append(d, byte(w>>8), byte(w), byte(h>>8), byte(h))
		}
	}
	return d
}

// svcBed has receivers of one sender with layers in one SSRC. The last two have no RTX, the very last no dependency descriptors.
type svcBed struct {
	*bed
	enc     *svcEncoder
	scratch batch
	list    []udpio.Packet
	mu      sync.Mutex
	got     [][]received
}

type received struct {
	raw   []byte
	p     rtp.Packet
	layer string
}

// osn is the original sequence number of a repair packet (RFC 4588 §4).
func (r *received) osn() uint16 { return uint16(r.p.Payload[0])<<8 | uint16(r.p.Payload[1]) }

func newSVCBed(t testing.TB, name string, receivers int, change func(*Config)) *svcBed {
	last, plain := fmt.Sprintf("to%d", receivers-1), fmt.Sprintf("to%d", receivers-2)
	name, mode, _ := strings.Cut(name, "/")
	b := &svcBed{enc: &svcEncoder{av1: name == "av1", seq: 65500, ts: 1 << 31, pic: 0x7ff0}, list: make([]udpio.Packet, 0, 64)}
	b.enc.dd.Apart = mode == "S3T3"
	b.enc.dd.Number = 65500
	b.bed = newBedOf(t, func(id string) EndpointConfig {
		c := endpointConfig(id)
		c.Codecs[1].Name = name
		if id == last || id == plain {
			c.Codecs = c.Codecs[:2]
		}
		if id != last {
			c.Extensions = append(c.Extensions, Extension{ID: extDD, URI: uriDD})
		}
		return c
	}, Source{Name: "from-v0", Kind: Video, SSRCs: []uint32{200}, RTX: []uint32{300}}, receivers, change)
	return b
}

// collect reads and opens what the receivers get.
func (b *svcBed) collect() {
	b.got = make([][]received, len(b.sinks))
	for i, s := range b.sinks {
		key, err := srtp.CreateContext(bedKeys.Key, bedKeys.Salt, srtp.ProtectionProfileAeadAes128Gcm)
		must(b.t, err)
		r := s.NewReader()
		go func() {
			for {
				ps, err := r.Read()
				if err != nil {
					return
				}
				for _, d := range ps {
					b.take(i, key, bytes.Clone(d.Data))
				}
			}
		}()
	}
}

func (b *svcBed) take(i int, key *srtp.Context, raw []byte) {
	plain, err := key.DecryptRTP(nil, raw, nil)
	x := received{raw: raw}
	if err != nil || x.p.Unmarshal(plain) != nil || len(x.p.Payload) < 4 {
		return
	}
	x.layer = string(x.p.Payload[len(x.p.Payload)-4:])
	b.mu.Lock()
	defer b.mu.Unlock()
	b.got[i] = append(b.got[i], x)
}

// of returns what receiver i got since place n.
func (b *svcBed) of(i, n int) []received {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.got[i][n:])
}

// step feeds a picture: a keyframe when the SFU wants one.
func (b *svcBed) step() {
	tr := b.track()
	b.from.sh.mu.Lock()
	key := tr.wantKey
	b.from.sh.mu.Unlock()
	b.feed(&b.scratch, b.picture(key), b.list)
}

func (b *svcBed) track() (tr *track) {
	b.c.do(func() { tr = b.from.sources["from-v0"].tracks[0] })
	return tr
}

func (b *svcBed) picture(key bool) (out [][]byte) {
	for _, p := range b.enc.picture(key) {
		out = append(out, b.protect(p, 200, ptVP8))
	}
	return out
}

// reach feeds pictures until each receiver's highest layer of the last 20 packets is as wanted.
func (b *svcBed) reach(want []string) {
	b.t.Helper()
	at := make([]int, len(want))
	for i := range want {
		at[i] = len(b.of(i, 0))
	}
	await.True(b.t, fmt.Sprint("layers ", want), func() bool {
		b.step()
		for i, w := range want {
			ps := b.of(i, at[i])
			if len(ps) < 40 {
				return false
			}
			top := ""
			for _, x := range ps[len(ps)-20:] {
				top = max(top, x.layer)
			}
			if top != w {
				return false
			}
		}
		return true
	})
}

// TestLayersOfOneSSRC gives three receivers other heights of the same SSRC, again and again.
func TestLayersOfOneSSRC(t *testing.T) {
	for _, name := range []string{"vp9", "av1", "av1/S3T3"} {
		for _, shards := range []int{1, 2} {
			t.Run(fmt.Sprint(name, shards), func(t *testing.T) {
				t.Parallel()
				b := newSVCBed(t, name, 4, func(c *Config) { c.Shards, c.ShardSpill = shards, 1 })
				b.collect()
				whole := "S0T2" // the last receiver wants 180 lines
				if name == "av1" {
					whole = "S2T2" // and cannot have them alone without the extension
				}
				for _, heights := range [][4]int{{180, 360, 720, 180}, {720, 180, 360, 180}, {360, 720, 180, 180}} {
					var want []string
					for i, h := range heights {
						b.to[i].SetConstraints(VideoConstraints{LastN: -1, Default: Constraint{MaxHeight: h}})
						want = append(want, map[int]string{180: "S0T2", 360: "S1T2", 720: "S2T2"}[h])
					}
					want[3] = whole
					b.reach(want)
				}
				for i := range b.to {
					b.check(i)
				}
				b.repeats()
			})
		}
	}
}

// check looks at all that a receiver got: one stream without gaps, pictures that end with a marker, numbers in step.
func (b *svcBed) check(i int) {
	b.t.Helper()
	ps := b.of(i, 0)
	var st dd.Structure
	structured, masked := false, false
	for k, x := range ps {
		ext := x.p.GetExtension(extDD)
		if has := b.enc.av1 && i != len(b.to)-1; has != (ext != nil) {
			b.t.Fatalf("receiver %d: dependency descriptor %x", i, ext)
		}
		if ext != nil {
			d, ok := dd.Parse(ext, &st, &st)
			if !ok {
				b.t.Fatalf("receiver %d packet %d: %x", i, k, ext)
			}
			structured = structured || d.Attached
			masked = masked || d.HasActive && d.Active != 0x1ff
		}
		if k == 0 {
			continue
		}
		last := ps[k-1]
		if b.enc.dd.Apart && x.p.Timestamp == last.p.Timestamp && x.layer != last.layer {
			b.t.Fatalf("receiver %d: %s and %s of one picture", i, last.layer, x.layer)
		}
		if x.p.SequenceNumber != last.p.SequenceNumber+1 {
			b.t.Fatalf("receiver %d: %d after %d", i, x.p.SequenceNumber, last.p.SequenceNumber)
		}
		if (x.p.Timestamp != last.p.Timestamp) != last.p.Marker {
			b.t.Fatalf("receiver %d packet %d: marker %v, timestamp %d after %d", i, k, last.p.Marker, x.p.Timestamp, last.p.Timestamp)
		}
		if !b.enc.av1 {
			d, ok := codec.ParseVP9(x.p.Payload)
			e, _ := codec.ParseVP9(last.p.Payload)
			step := (x.p.Timestamp - last.p.Timestamp) / 1800
			if !ok || uint32(d.PictureID-e.PictureID)&0x7fff != step || d.TL0-e.TL0 > 1 {
				b.t.Fatalf("receiver %d: %+v after %+v", i, d, e)
			}
		}
	}
	// Without RTX masks are not told: see forReceiver.
	if b.enc.av1 && i != len(b.to)-1 && (!structured || masked != (i < len(b.to)-2)) {
		b.t.Errorf("receiver %d: structure %v, mask %v", i, structured, masked)
	}
}

// repeats asks for packets again: over RTX, and without it the identical packet, because its index protects no other one.
func (b *svcBed) repeats() {
	b.t.Helper()
	for i, e := range b.to {
		plain := i >= len(b.to)-2
		ps := b.of(i, 0)
		n := len(ps)
		for _, x := range ps[n-20:] {
			e.sh.mu.Lock()
			e.m.resent = 0
			e.sh.resend(e, e.m.sends[200], x.p.SequenceNumber, e.sh.s.now())
			e.sh.flush()
			e.sh.mu.Unlock()
			b.from.sh.mu.Lock()
			b.from.sh.flush()
			b.from.sh.mu.Unlock()
			var r received
			await.True(b.t, "repeated packet", func() bool {
				for _, r = range b.of(i, n) { // behind what was still under way
					if plain && r.p.SequenceNumber == x.p.SequenceNumber || r.p.PayloadType == ptRTX && r.osn() == x.p.SequenceNumber {
						return true
					}
				}
				return false
			})
			if plain {
				if !bytes.Equal(r.raw, x.raw) {
					b.t.Fatalf("%x\nrepeated as %x", x.raw, r.raw)
				}
				continue
			}
			if !bytes.Equal(r.p.Payload[2:], x.p.Payload) || r.p.Marker != x.p.Marker ||
				r.p.Timestamp != x.p.Timestamp || !bytes.Equal(r.p.GetExtension(extDD), x.p.GetExtension(extDD)) {
				b.t.Fatalf("receiver %d: %v\nrepeated as %v", i, x.p, r.p)
			}
		}
	}
}

// TestLayersAllocateNothing is TestForwardAllocatesNothing with VP9 and AV1, whose receivers get three, two and one layers.
func TestLayersAllocateNothing(t *testing.T) {
	for _, name := range []string{"vp9", "av1"} {
		t.Run(name, func(t *testing.T) {
			b := newSVCBed(t, name, 4, nil)
			b.collect()
			for i, h := range []int{180, 360, 720, 720} {
				b.to[i].SetConstraints(VideoConstraints{LastN: -1, Default: Constraint{MaxHeight: h}})
			}
			b.reach([]string{"S0T2", "S1T2", "S2T2", "S2T2"})
			for _, s := range b.sinks {
				must(t, s.Close()) // what reads there would be counted
			}
			// Keyframes too: their structure is the same each time.
			var pics [][][]byte
			for i := range 300 {
				pics = append(pics, b.picture(i%40 == 0))
			}
			for range 20 {
				b.feed(&b.scratch, pics[0], b.list)
				pics = pics[1:]
			}
			before := b.s.Counters()
			i := 0
			n := testing.AllocsPerRun(200, func() {
				b.feed(&b.scratch, pics[i], b.list)
				i++
			})
			if sent := b.s.Counters()["packets_out"] - before["packets_out"]; sent < (2+4+6+6)*180 {
				t.Fatalf("only %d packets went out", sent)
			}
			if n != 0 {
				t.Fatalf("%v allocations a batch", n)
			}
		})
	}
}
