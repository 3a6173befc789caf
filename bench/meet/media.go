package meet

import (
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/webrtc/v4"
)

// What the generators send: Opus at 20 ms, and VP8 at 30 frames/s in the sizes and rates that a browser uses for 720p simulcast.
const (
	audioEvery = 20 * time.Millisecond
	videoEvery = time.Second / 30
	audioBytes = 80   // about 32 kb/s
	mtu        = 1100 // payload bytes of a video packet
	keyFactor  = 4    // how much larger a keyframe is
)

type size struct {
	rid           string
	width, height int
	bps           int
}

var cameraSizes = []size{{"l", 320, 180, 150_000}, {"m", 640, 360, 500_000}, {"h", 1280, 720, 1_500_000}}
var desktopSizes = []size{{"", 1920, 1080, 1_000_000}}

// Sent counts what the client has sent.
type Sent struct {
	AudioPackets, AudioBytes, VideoPackets, VideoBytes, Keyframes uint64

	Ticks, Skipped uint64 // of the generators: skipped ones came too late to be made up for
}

type sentCounter struct{ audioPackets, audioBytes, videoPackets, videoBytes, keyframes, ticks, skipped atomic.Uint64 }

func (s *sentCounter) snapshot() Sent {
	return Sent{s.audioPackets.Load(), s.audioBytes.Load(), s.videoPackets.Load(), s.videoBytes.Load(), s.keyframes.Load(), s.ticks.Load(), s.skipped.Load()}
}

// audioGen makes Opus-like packets. Each speaks in turn, so that the dominant speaker changes: a talk spurt of some seconds, then a pause.
type audioGen struct {
	track   *webrtc.TrackLocalStaticRTP
	levelID uint8 // header extension, 0: none
	sender  uint32
	seq     uint16
	ts      uint32
	counter uint32
	sent    *sentCounter
	speaks  func(now time.Time) bool
}

func newAudioGen(t *webrtc.TrackLocalStaticRTP, sender uint32, sent *sentCounter) *audioGen {
	return &audioGen{track: t, sender: sender, seq: uint16(rand.Uint32()), ts: rand.Uint32(), sent: sent}
}

func (g *audioGen) packet(now time.Time) *rtp.Packet {
	level := byte(90 + rand.IntN(10))
	if g.speaks(now) {
		level = byte(20+rand.IntN(15)) | 0x80
	}
	p := &rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: g.seq, Timestamp: g.ts}, Payload: make([]byte, audioBytes)}
	if g.levelID != 0 {
		_ = p.SetExtension(g.levelID, []byte{level}) // one byte under a valid id cannot fail
	}
	p.Payload[0] = 0x78 // TOC: CELT, 20 ms, mono (RFC 6716 §3.1)
	putStamp(p.Payload[audioOff:], g.sender, g.counter, now)
	g.seq++
	g.ts += 960
	g.counter++
	return p
}

func (g *audioGen) tick(now time.Time) error {
	p := g.packet(now)
	if err := g.track.WriteRTP(p); err != nil {
		return err
	}
	g.sent.audioPackets.Add(1)
	g.sent.audioBytes.Add(uint64(len(p.Payload)))
	return nil
}

// layerGen makes one simulcast layer of VP8 with three temporal layers (L1T3).
type layerGen struct {
	size
	track   *webrtc.TrackLocalStaticRTP
	ssrc    uint32
	sender  uint32
	seq     uint16
	ts      uint32
	pic     uint16
	tl0     uint8
	phase   int
	counter uint32
	want    atomic.Bool // a keyframe was asked for
	off     bool        // constraint says no
	sent    *sentCounter
}

// Temporal layers of four frames, and which of eight refer to the base layer only (the Y bit, RFC 7741 §4.2).
var temporal = [4]uint8{0, 2, 1, 2}
var layerSync = [8]bool{false, true, true, false, false, false, false, false}

func newLayerGen(s size, t *webrtc.TrackLocalStaticRTP, sender uint32, sent *sentCounter) *layerGen {
	l := &layerGen{size: s, track: t, sender: sender, seq: uint16(rand.Uint32()), ts: rand.Uint32(), pic: uint16(rand.Uint32()) & 0x7fff,
		tl0: uint8(rand.Uint32()), sent: sent}
	l.want.Store(true)
	return l
}

// frame makes the packets of the next frame.
func (l *layerGen) frame(now time.Time) []*rtp.Packet {
	key := l.want.Swap(false)
	if key {
		l.phase = 0
		l.sent.keyframes.Add(1)
	}
	tid, sync := temporal[l.phase%4], layerSync[l.phase%8]
	l.phase++
	if tid == 0 {
		l.tl0++
	}
	l.pic = (l.pic + 1) & 0x7fff
	bytes := l.bps / 8 / 30
	if key {
		bytes *= keyFactor
	}
	n := max((bytes+mtu-1)/mtu, 1)
	each := max(bytes/n, stampOff+stampSize)
	out := make([]*rtp.Packet, n)
	for i := range out {
		b := make([]byte, 6+each)
		b[0] = 0x80 // X
		if i == 0 {
			b[0] |= 0x10 // S
		}
		b[1] = 0xe0 // I, L, T
		b[2], b[3] = 0x80|byte(l.pic>>8), byte(l.pic)
		b[4] = l.tl0
		b[5] = tid << 6
		if sync {
			b[5] |= 0x20
		}
		l.header(b[6:], key, i == 0)
		putStamp(b[6+stampOff:], l.sender, l.counter, now)
		l.counter++
		out[i] = &rtp.Packet{Header: rtp.Header{Version: 2, Marker: i == n-1, SequenceNumber: l.seq, Timestamp: l.ts}, Payload: b}
		l.seq++
	}
	l.ts += 3000
	return out
}

// header writes the uncompressed part of a VP8 frame (RFC 6386 §9.1).
func (l *layerGen) header(b []byte, key, first bool) {
	if !first {
		return
	}
	if !key {
		b[0] = 0x11 // inter frame, shown
		return
	}
	b[0] = 0x10
	b[3], b[4], b[5] = 0x9d, 0x01, 0x2a
	b[6], b[7] = byte(l.width), byte(l.width>>8)
	b[8], b[9] = byte(l.height), byte(l.height>>8)
}

// tick sends the next frame, or passes it over when nobody wants this layer.
func (l *layerGen) tick(now time.Time, on bool) error {
	if !on {
		l.off = true
		l.ts += 3000
		return nil
	}
	if l.off { // begin again with a picture that needs no other
		l.off = false
		l.want.Store(true)
	}
	for _, p := range l.frame(now) {
		if err := l.track.WriteRTP(p); err != nil {
			return err
		}
		l.sent.videoPackets.Add(1)
		l.sent.videoBytes.Add(uint64(len(p.Payload)))
	}
	return nil
}

// allowed says whether a layer is sent under the bridge's constraint: 0 nothing, negative everything, else what is not taller; the
// lowest layer always.
func allowed(height, maxHeight int, lowest bool) bool {
	return maxHeight < 0 || maxHeight > 0 && (lowest || height <= maxHeight)
}
