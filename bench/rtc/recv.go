package rtc

import (
	"encoding/binary"
	"net/netip"
	"time"
)

const (
	// sampleLow and sampleSpan: every 64th packet on average is decrypted, with jitter so that no place in a frame is preferred.
	sampleLow, sampleSpan = 48, 33
	// maxMissing bounds the gaps of one stream that are asked for again; older ones are lost.
	maxMissing = 128
	// recentStreams of a transport are found without its map.
	recentStreams = 64
	// leap is a step of the sequence number that is a new start, not a loss.
	leap = 1000
	// keySearch bounds how many packets of a new video stream are decrypted while no keyframe comes.
	keySearch = 5000
	// maxEarly bounds the media packets that wait for the keys of their transport; more are dropped and counted as strange.
	maxEarly = 512
	// paddingMost is the longest packet of padding only: 255 bytes, the longest header with extensions, and the tag.
	paddingMost = 255 + 12 + 64 + 16
)

// maskBytes: a bit for each payload type.
const maskBytes = 128 / 8

// everyType is all payload types.
var everyType = func() (m [maskBytes]byte) { // constant
	for i := range m {
		m[i] = 0xff
	}
	return m
}()

// earlyPacket is media that came while the end of the handshake was still on its way through our own goroutines: the server is done first, and a
// client that reads one packet after another, as browsers do, has the keys by then.
type earlyPacket struct {
	b       []byte
	size    int
	at      int64
	sampled bool
}

// inStream is one SSRC that comes in.
type inStream struct {
	// What each packet touches, in one line of the cache.
	ssrc    uint32
	codec   codec
	pt      uint8
	all     bool // decrypt everything
	left    int16
	twccOff int32
	hi      int64 // extended sequence numbers: the highest
	got     uint64
	bytes   uint64
	pad     uint64 // packets of padding only

	first   int64
	missing []gap

	seen     bool   // a stamp was read
	src      uint64 // stamp.source of the last one
	plain    bool
	counter  uint32
	at       int64  // extended sequence number of the last stamp
	atPad    uint64 // pad then
	hidden   uint64 // packets that the source sent and that have no place in the sequence numbers
	switches uint64
	searched int
	keyAt    int64 // where a keyframe began, -1: none yet
	keyCame  int64 // when its first packet came
	keyDone  bool

	// Receiver report (RFC 3550 §6.4.1).
	rrHi, rrGot uint64
	srAt        int64
	srMid       uint32
	pliAt       int64
}

// gap is a packet that has not come.
type gap struct {
	seq   int64
	at    int64 // when it was missed, then when it was asked for last
	tries uint8
}

// arrival is one entry of transport-wide feedback: when in units of its deltas, and the number in the lowest 16 bits.
type arrival int64

func newArrival(seq uint16, at int64) arrival { return arrival(at/twccUnit<<16 | int64(seq)) }

func (a arrival) seq() uint16 { return uint16(a) }

// at is ns since 1970, a multiple of twccUnit.
func (a arrival) at() int64 { return int64(a>>16) * twccUnit }

// packet takes one datagram. at is the kernel's receive time; from is the zero address when it can only be the other side.
func (t *Transport) packet(b []byte, at int64, from netip.AddrPort) {
	if len(b) == 0 {
		return
	}
	switch c := b[0]; { // RFC 7983
	case c >= 128 && c < 192:
		t.media(b, len(b), at, false)
	case c < 4:
		t.stun(b, from)
	case c >= 20 && c < 64:
		if t.pipe != nil {
			t.pipe.push(b)
		}
	default:
		t.sh.count.Strange++
	}
}

// media takes an RTP or RTCP packet of a size, of which b may be the head only. sampled says that it is to be verified.
func (t *Transport) media(b []byte, size int, at int64, sampled bool) {
	if t.state == stateDTLS && len(t.early) < maxEarly {
		t.early = append(t.early, earlyPacket{append([]byte(nil), b...), size, at, sampled})
		return
	}
	if t.state != stateUp || len(b) < 12 {
		t.sh.count.Strange++
		return
	}
	if b[1] < 192 || b[1] > 223 {
		t.rtp(b, size, at, sampled)
	} else if len(b) == size {
		t.rtcp(b, at)
	}
}

// rtp counts a packet, and looks into it when its turn has come.
func (t *Transport) rtp(b []byte, size int, at int64, sampled bool) {
	sh := t.sh
	if f := sh.eng.cfg.Lose; f != nil && f() {
		sh.count.Thrown++
		return
	}
	ssrc := binary.BigEndian.Uint32(b[8:])
	st := t.last
	if st == nil || st.ssrc != ssrc {
		st = t.stream(ssrc, at)
		t.last = st
	}
	if pt := b[1] & 127; pt != st.pt {
		st.pt, st.codec = pt, t.codecs[pt]
		st.all = st.codec == codecRTX || (st.codec == codecVP8 || st.codec == codecVP9) && !st.keyDone
	}
	seq := binary.BigEndian.Uint16(b[2:])
	n := st.hi + 1
	if uint16(n) == seq && st.got+st.pad > 0 {
		st.hi = n
		st.got++
	} else {
		n = st.odd(seq, at, sh)
		if t.lacks = t.lacks || len(st.missing) > 0; n < 0 {
			return
		}
	}
	st.bytes += uint64(size)
	t.bytes += uint64(size)
	sh.count.Packets++
	if t.twccID != 0 && b[0]&0x10 != 0 {
		t.arrive(st, b, at)
	}
	if len(b) < size {
		return
	}
	st.left--
	if st.left < 0 || sampled || st.all || b[0]&0x20 != 0 && len(b) <= paddingMost {
		if st.left < 0 {
			st.left = int16(sampleLow + sh.rng.IntN(sampleSpan))
		}
		t.verify(st, b, n, at)
	}
}

// stream finds the one of an SSRC, or makes it.
func (t *Transport) stream(ssrc uint32, at int64) *inStream {
	i := ssrc % recentStreams
	for _, k := range [...]uint32{i, i ^ 1} {
		if st := t.recent[k]; st != nil && st.ssrc == ssrc {
			return st
		}
	}
	st := t.streams[ssrc]
	if st == nil {
		st = t.newStream(ssrc, at)
	}
	if t.recent[i] != nil {
		t.recent[i^1] = t.recent[i]
	}
	t.recent[i] = st
	return st
}

func (t *Transport) newStream(ssrc uint32, at int64) *inStream {
	st := &inStream{ssrc: ssrc, pt: 255, keyAt: -1}
	t.streams[ssrc] = st
	t.list = append(t.list, st)
	t.keepWhole(at)
	return st
}

// settleAfter is how long all packets of a transport are kept whole after a stream began: others may begin, and the keyframe of each is
// looked for from its first packet.
const settleAfter = int64(2 * time.Second)

// keepWhole lets the tap keep every packet whole from now on.
func (t *Transport) keepWhole(now int64) {
	t.wholeAt = now
	if t.heads {
		t.heads = false
		t.sh.tap.want(t.slot(), everyType)
	}
}

// settle lets the tap keep the headers only, but for samples, when nothing is looked for in the payloads any more.
func (t *Transport) settle(now int64) {
	if t.heads || t.deep || now-t.wholeAt < settleAfter {
		return
	}
	for _, st := range t.list {
		if st.all && st.codec != codecRTX {
			return
		}
	}
	var types [maskBytes]byte
	for pt, c := range t.codecs {
		if c == codecRTX { // they name what they repair
			types[pt/8] |= 1 << (pt % 8)
		}
	}
	t.heads = true
	t.sh.tap.want(t.slot(), types)
}

// odd takes a packet that is not the next one. It returns its extended sequence number, -1 when it does not count.
func (st *inStream) odd(seq uint16, at int64, sh *shard) int64 {
	if st.got+st.pad == 0 {
		st.first = 1<<16 + int64(seq)
		st.hi = st.first
		st.got++
		return st.hi
	}
	d := int64(int16(seq - uint16(st.hi)))
	switch {
	case d > leap || d < -leap:
		sh.count.Leaps++
		st.first += d - 1 // as if nothing was between
		st.hi += d
		st.got++
		st.missing = st.missing[:0]
		return st.hi
	case d > 0:
		for s := st.hi + 1; s < st.hi+d; s++ {
			if len(st.missing) == maxMissing {
				copy(st.missing, st.missing[1:])
				st.missing = st.missing[:maxMissing-1]
			}
			st.missing = append(st.missing, gap{seq: s, at: at})
		}
		st.hi += d
		st.got++
		return st.hi
	}
	n := st.hi + d
	for i := range st.missing {
		if st.missing[i].seq == n {
			if st.missing[i].tries > 0 { // what had to be asked for was not delivered
				sh.count.Recovered++
				st.missing = append(st.missing[:i], st.missing[i+1:]...)
				return -1
			}
			st.missing = append(st.missing[:i], st.missing[i+1:]...)
			st.got++
			sh.count.Late++
			return n
		}
	}
	sh.count.Duplicates++
	return -1
}

// arrive notes the transport-wide sequence number.
func (t *Transport) arrive(st *inStream, b []byte, at int64) {
	off := int(st.twccOff)
	want := t.twccID<<4 | 1
	if off == 0 || off+3 > len(b) || b[off] != want {
		if off = extension(b, t.twccID, 2); off == 0 {
			if t.heads && len(b) >= 16 && len(b) < 16+4*int(b[0]&15)+4*int(binary.BigEndian.Uint16(b[14:])) {
				t.deep = true
				t.keepWhole(at)
			}
			return
		}
		st.twccOff = int32(off)
	}
	if n := len(t.arrivals); n < maxArrivals {
		seq := binary.BigEndian.Uint16(b[off+1:])
		t.disorder = t.disorder || n > 0 && int16(seq-t.arrivals[n-1].seq()) <= 0
		t.arrivals = append(t.arrivals, newArrival(seq, at))
	}
}

// extension finds a one-byte header extension of that length (RFC 8285 §4.2): the place of its id byte, 0 when it is not there.
func extension(b []byte, id uint8, size int) int {
	p := 12 + 4*int(b[0]&15)
	if len(b) < p+4 || b[0]&0x10 == 0 || binary.BigEndian.Uint16(b[p:]) != 0xbede {
		return 0
	}
	end := min(p+4+4*int(binary.BigEndian.Uint16(b[p+2:])), len(b))
	for p += 4; p < end; {
		if b[p] == 0 {
			p++
			continue
		}
		n := int(b[p]&15) + 1
		if b[p]>>4 == id && n == size && p+1+n <= end {
			return p
		}
		p += 1 + n
	}
	return 0
}
