package rtc

import (
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"time"
)

// What is sent. Sizes are of RTP payloads.
const (
	audioEvery   = 20 * time.Millisecond
	audioPayload = 100              // with header and tag about the 112 to 140 bytes of Opus at 32 kbit/s
	maxPayload   = 1160             // of a video packet: 1200 with the RTP header, extensions and the tag
	keyFactor    = 4                // how much larger a camera's keyframe is than its other frames
	screenFactor = 12               // the same of a shared screen
	maxFrame     = 60               // packets of a frame
	maxRun       = 65_000           // bytes of packets that leave in one run (UDP_SEGMENT takes what fits into one datagram, and 64 packets)
	pictureMost  = maxFrame * 1_500 // bytes that a picture can have on the wire
)

// codec is what the payloads look like.
type codec uint8

const (
	codecNone codec = iota
	codecOpus
	codecVP8
	codecVP9
	codecRTX
)

func codecOf(name string) codec {
	switch strings.ToLower(name) {
	case "opus":
		return codecOpus
	case "vp8":
		return codecVP8
	case "vp9":
		return codecVP9
	case "rtx":
		return codecRTX
	}
	return codecNone
}

// filler is what payloads are filled with behind their stamps: noise, the same in every run.
var filler = makeFiller() // a constant

func makeFiller() []byte {
	b := make([]byte, 8192)
	r := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	}
	return b
}

// fillerOf is what fills the packet of a layer with that number; it is longer than any.
func fillerOf(counter uint32) []byte { return filler[int(counter*61)%(len(filler)-maxPayload-64):] }

// part is one packet to be: where it stands in its picture.
type part struct {
	key, first, last bool // of the frame (VP9: of the layer frame)
	end              bool // last packet of the picture: the RTP marker
	sid              uint8
	size             int // payload bytes
}

// Temporal layers of four frames of L1T3, and which of eight refer to the base layer only (the Y bit of RFC 7741 §4.2), as libwebrtc sends.
var (
	temporal  = [4]uint8{0, 2, 1, 2}                                          // constant
	layerSync = [8]bool{false, true, true, false, false, false, false, false} // constant
)

// picture plans the packets of the next picture of a layer: packets of equal size, as libwebrtc makes them. SVC is three spatial layers in one
// stream that share the bit rate as 1:3:10.
func (l *outLayer) picture(to []part) []part {
	if l.codec == codecOpus {
		return append(to, part{first: true, last: true, end: true, size: audioPayload})
	}
	key := l.wantKey
	l.wantKey = false
	total := l.Bitrate / 8 / max(l.FrameRate, 1)
	if key {
		l.phase = 0
		l.keyframes++
		if l.screen {
			total *= screenFactor
		} else {
			total *= keyFactor
		}
	}
	if l.codec == codecVP9 || temporal[l.phase%4] == 0 {
		l.tl0++
	}
	if l.spatial <= 1 {
		to = cut(to, key, 0, min(total, maxFrame*maxPayload))
	} else {
		for sid, share := range [3]int{1, 3, 10} {
			to = cut(to, key, uint8(sid), min(total*share/14, maxFrame/3*maxPayload))
		}
	}
	to[len(to)-1].end = true
	return to
}

func cut(to []part, key bool, sid uint8, bytes int) []part {
	n := max((bytes+maxPayload-1)/maxPayload, 1)
	each := max((bytes+n-1)/n, minVideo)
	for i := range n {
		to = append(to, part{key: key, first: i == 0, last: i == n-1, sid: sid, size: each})
	}
	return to
}

const (
	vp8Head  = 6 + 10          // descriptor with picture id, TL0PICIDX and TID; frame header of a keyframe (RFC 6386 §9.1)
	vp9Head  = 5 + 1 + 3*4 + 1 // descriptor with the scalability structure of three layers; first byte of a frame header
	minVideo = vp9Head + stampSize
)

// begin writes the payload of a packet into b, which has its size, as far as the stamp, and returns where that is.
func (l *outLayer) begin(b []byte, p *sent) int {
	copy(b[:min(len(b), minVideo)], fillerOf(p.counter))
	switch l.codec {
	case codecVP8:
		return l.beginVP8(b, p)
	case codecVP9:
		return l.beginVP9(b, p)
	}
	b[0] = 0x78 // TOC: CELT, 20 ms, mono (RFC 6716 §3.1)
	return 1
}

func (l *outLayer) beginVP8(b []byte, p *sent) int {
	tid, sync := temporal[p.phase%4], layerSync[p.phase%8]
	b[0] = 0x80 // X
	if p.first {
		b[0] |= 0x10 // S
	}
	if tid == 2 {
		b[0] |= 0x20 // N: nothing refers to it
	}
	b[1] = 0xe0 // I, L, T
	b[2], b[3] = 0x80|byte(p.pic>>8), byte(p.pic)
	b[4], b[5] = p.tl0, tid<<6
	if sync {
		b[5] |= 0x20
	}
	h := b[6:vp8Head]
	if !p.first {
		return vp8Head
	}
	if !p.key {
		h[0] |= 1
		return vp8Head
	}
	h[0] = 0x10
	h[3], h[4], h[5] = 0x9d, 0x01, 0x2a
	binary.LittleEndian.PutUint16(h[6:], uint16(l.Width))
	binary.LittleEndian.PutUint16(h[8:], uint16(l.Height))
	return vp8Head
}

// beginVP9 writes the descriptor of RFC 9628 §4.2 in non-flexible mode with one temporal layer, and the first byte of a frame header.
func (l *outLayer) beginVP9(b []byte, p *sent) int {
	b[0] = 0x80 | 0x20 // I, L
	if !p.key {
		b[0] |= 0x40 // P: inter-picture prediction
	}
	if p.first {
		b[0] |= 0x08 // B
	}
	if p.last {
		b[0] |= 0x04 // E
	}
	if p.sid == l.spatial-1 {
		b[0] |= 0x01 // Z: not a reference for upper layers
	}
	b[1], b[2] = 0x80|byte(p.pic>>8), byte(p.pic)
	b[3] = p.sid << 1
	if p.key && p.sid > 0 {
		b[3] |= 1 // D: depends on the layer below, in K-SVC only in keyframes
	}
	b[4] = p.tl0
	n := 5
	if p.key && p.first && p.sid == 0 {
		b[0] |= 0x02 // V: the sizes of all spatial layers follow
		b[n] = byte(l.spatial-1)<<5 | 0x10
		n++
		for s := range l.spatial {
			down := l.spatial - 1 - s
			binary.BigEndian.PutUint16(b[n:], uint16(l.Width>>down))
			binary.BigEndian.PutUint16(b[n+2:], uint16(l.Height>>down))
			n += 4
		}
	}
	b[n] = 0x86 // frame marker, profile 0, shown
	if p.key {
		b[n] = 0x82
	}
	return n + 1
}

// sent is all that a packet was made of.
type sent struct {
	part
	seq, pic    uint16
	tl0, phase  uint8 // phase modulo 8
	ts, counter uint32
	at          int64
}

// advance goes on to the next picture.
func (l *outLayer) advance() {
	if l.codec == codecOpus {
		l.ts += 960
		return
	}
	l.phase++
	l.pic = (l.pic + 1) & 0x7fff
	l.ts += uint32(90000 / max(l.FrameRate, 1))
}
