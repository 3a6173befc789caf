package fec

import (
	"encoding/binary"
	"math"
)

// Sizes of groups.
const (
	// minGroup and maxGroup bound the packets that share a repair packet: it costs 33 % at most, 4 % at least.
	minGroup, maxGroup = 3, 24
	// lossShare is the expected loss in a group: with 0.6, two of one group are lost in about a tenth of the groups that have a loss.
	lossShare = 0.6
	// shortTrip is a round trip, ns, within which repetitions come in time: there protection is halved.
	shortTrip = 40e6
	// maxAge is how long a group is filled, ns; an older one is closed with what it has at the end of a frame. Repetitions would be there sooner.
	maxAge = 80e6
	// rest is the pause, ns, after which a group is closed: more than two frames at 30 a second. Nothing that follows will tell the receiver soon that
	// its last packet is missing.
	rest = 70e6
	// closeBy is how long two groups in turn may take to fill, ns.
	closeBy = 60e6
)

const (
	rtpHeader = 12
	// maxRecovery is the longest packet that is protected.
	maxRecovery = 1500
	// window is how many sequence numbers a mask of 46 bits covers.
	window = 46
	// maxHeader is the header of a repair packet with such a mask.
	maxHeader = 24
)

// MaxPayload is the longest payload that Append writes.
const MaxPayload = maxHeader + maxRecovery - rtpHeader

// group is packets that share a repair packet.
type group struct {
	n       int
	base    uint16 // sequence number of the first
	mask    uint64 // bit i: base+i is in it
	began   int64
	last    int64
	head    [8]byte // XOR of the recovery fields
	longest int
	body    [maxRecovery - rtpHeader]byte // XOR of all behind the fixed header
}

// Encoder protects one SSRC. The zero value protects nothing before Tune.
type Encoder struct {
	size     int
	groups   [2]group
	turn     int     // the group of the next packet
	two      bool    // groups are filled in turn
	interval float64 // ns between packets, smoothed
	at       int64
	ready    [2]bool
}

// Group is the size of groups that suits a path: loss in 0..1, round trip in ns, 0: not known. 0: protection is not worth its bytes.
func Group(loss float64, rtt int64) int {
	if loss <= 0 {
		return 0
	}
	n := lossShare / loss
	if rtt > 0 && rtt < shortTrip {
		n *= 2
	}
	return int(math.Round(min(max(n, minGroup), maxGroup)))
}

// Tune sets how many packets share a repair packet from now on; 0 ends protection, and forgets what was collected.
func (e *Encoder) Tune(size int) {
	if e.size = size; size == 0 {
		e.reset()
	}
}

// reset forgets what was collected.
func (e *Encoder) reset() {
	e.groups[0].clear()
	e.groups[1].clear()
	e.ready = [2]bool{}
	e.turn, e.two, e.at = 0, false, 0
}

func (g *group) clear() {
	if g.n == 0 {
		return
	}
	clear(g.body[:g.longest])
	g.n, g.mask, g.longest, g.head = 0, 0, 0, [8]byte{}
}

// Add takes a packet that was just sent: its RTP header with all extensions, and its payload as it is before SRTP. True: call Append.
func (e *Encoder) Add(now int64, header, payload []byte) bool {
	n := len(header) - rtpHeader + len(payload)
	if e.size == 0 || n < 0 || n > maxRecovery-rtpHeader {
		return false
	}
	if e.at != 0 {
		e.interval += (float64(min(now-e.at, maxAge)) - e.interval) / 16
	}
	e.at = now
	g := &e.groups[e.turn]
	if seq := binary.BigEndian.Uint16(header[2:]); g.n > 0 && (seq-g.base >= window) {
		e.ready[e.turn] = true // an old one, or a jump: what it has is closed, and this packet is not in it
		return true
	}
	g.add(now, header, payload)
	if g.n >= e.size || header[1]&0x80 != 0 && now-g.began >= maxAge {
		e.ready[e.turn] = true
	}
	if e.two {
		e.turn ^= 1
	}
	if e.groups[0].n == 0 || e.groups[1].n == 0 || e.ready[0] || e.ready[1] {
		e.two = 2*float64(e.size)*e.interval < closeBy
	}
	return e.ready[0] || e.ready[1]
}

// add XORs a packet into the group.
func (g *group) add(now int64, header, payload []byte) {
	seq := binary.BigEndian.Uint16(header[2:])
	if g.n == 0 {
		g.base, g.began = seq, now
	}
	g.n++
	g.last = now
	g.mask |= 1 << (seq - g.base)
	rest := header[rtpHeader:]
	n := len(rest) + len(payload)
	g.head[0] ^= header[0]
	g.head[1] ^= header[1]
	g.head[2] ^= byte(n >> 8)
	g.head[3] ^= byte(n)
	for i := range 4 {
		g.head[4+i] ^= header[4+i]
	}
	xor(g.body[:], rest)
	xor(g.body[len(rest):], payload)
	g.longest = max(g.longest, n)
}

// xor adds src to dst.
func xor(dst, src []byte) {
	i := 0
	for ; i+8 <= len(src); i += 8 {
		binary.NativeEndian.PutUint64(dst[i:], binary.NativeEndian.Uint64(dst[i:])^binary.NativeEndian.Uint64(src[i:]))
	}
	for ; i < len(src); i++ {
		dst[i] ^= src[i]
	}
}

// Expired says whether a group has waited too long for more packets. True: call Append.
func (e *Encoder) Expired(now int64) bool {
	for i := range e.groups {
		if g := &e.groups[i]; g.n > 0 && now-g.last >= rest {
			e.ready[i] = true
		}
	}
	return e.ready[0] || e.ready[1]
}

// Append adds the payload of a repair packet for the next group that is complete to dst, and begins that group anew; ssrc is of the protected
// stream. It is not ok when there is none.
func (e *Encoder) Append(dst []byte, ssrc uint32) (out []byte, ok bool) {
	for i := range e.groups {
		if !e.ready[i] {
			continue
		}
		e.ready[i] = false
		g := &e.groups[i]
		if g.n == 0 {
			continue
		}
		dst = g.append(dst, ssrc)
		g.clear()
		return dst, true
	}
	return dst, false
}

// append writes the header (draft-ietf-payload-flexible-fec-scheme-03 §4.2) and the XOR.
func (g *group) append(dst []byte, ssrc uint32) []byte {
	dst = append(dst, g.head[0]&0x3f, g.head[1]) // R and F are 0: a flexible mask; then P, X, CC, M and PT
	dst = append(dst, g.head[2:]...)
	dst = append(dst, 1, 0, 0, 0) // one SSRC
	dst = binary.BigEndian.AppendUint32(dst, ssrc)
	dst = binary.BigEndian.AppendUint16(dst, g.base)
	// The first packet is the most significant bit; a k bit before each part says that it is the last one.
	var first uint16
	var more uint32
	for i := range 15 {
		first |= uint16(g.mask>>i&1) << (14 - i)
	}
	for i := range 31 {
		more |= uint32(g.mask>>(15+i)&1) << (30 - i)
	}
	if more == 0 {
		dst = binary.BigEndian.AppendUint16(dst, first|1<<15)
	} else {
		dst = binary.BigEndian.AppendUint16(dst, first)
		dst = binary.BigEndian.AppendUint32(dst, more|1<<31)
	}
	return append(dst, g.body[:g.longest]...)
}
