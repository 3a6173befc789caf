package rtc

import (
	"encoding/binary"
	"time"
)

// verify decrypts a packet and compares it with what was sent. n is its extended sequence number.
func (t *Transport) verify(st *inStream, b []byte, n, at int64) {
	sh := t.sh
	head := headLen(b)
	if head > len(b) {
		sh.count.Wrong.Rejected++
		return
	}
	p, err := t.in.rtp(sh.scratch[:0], b, head, uint32(n>>16)-1) // the first one is of round 0
	if err != nil {
		sh.count.Wrong.Rejected++
		return
	}
	sh.count.Verified++
	if b[0]&0x20 != 0 && len(p) > 0 {
		p = p[:max(len(p)-int(p[len(p)-1]), 0)]
	}
	if len(p) == 0 { // keeps its place in the numbering, nobody sent it
		st.got--
		st.pad++
		sh.count.Padding++
		return
	}
	if st.codec == codecRTX {
		t.repaired(p)
		return
	}
	off, ok := depayload(st.codec, p)
	var s stamp
	if !ok {
		sh.count.Wrong.Payload++
		return
	}
	if f := sh.eng.cfg.Corrupt; f != nil && f(p[off:]) {
		sh.count.Corrupted++
	}
	found, intact := s.read(p[off:])
	if !found || !intact {
		sh.count.Wrong.Payload++
		return
	}
	if s.room != t.peer.room || s.sender == t.peer.Number {
		sh.count.Wrong.Foreign++
		return
	}
	st.follow(&s, n, sh)
	kind := 1
	if st.codec == codecOpus {
		kind = 0
	}
	if at == 0 {
		at = time.Now().UnixNano()
	}
	if !st.all || s.flags&stampKey == 0 { // the keyframe that a stream begins with may be one that the server kept
		_ = sh.lat[kind].RecordValue(max(at-s.at, 0)) // only over a minute is not recorded
	}
	t.milestones(st, &s, n, at)
}

// headLen is how long the header of an RTP packet is (RFC 3550 §5.1), more than there is when that is cut short.
func headLen(b []byte) int {
	n := 12 + 4*int(b[0]&15)
	if b[0]&0x10 == 0 {
		return n
	}
	if n += 4; n > len(b) {
		return n
	}
	return n + 4*int(binary.BigEndian.Uint16(b[n-2:]))
}

// follow checks the order of what one source sent, and learns from its counter what a server's own numbering hides.
func (st *inStream) follow(s *stamp, n int64, sh *shard) {
	src := s.source()
	if !st.seen || st.src != src {
		if st.seen {
			st.switches++
		}
		st.seen, st.src = true, src
	} else if n > st.at {
		d := int64(int32(s.counter - st.counter))
		gone := d - (n - st.at) + int64(st.pad-st.atPad)
		if d <= 0 && s.flags&stampKey != 0 {
			// a keyframe that the server keeps for newcomers: what follows is compared with it
		} else if d <= 0 {
			sh.count.Wrong.Order++
		} else if gone > 0 && s.flags&stampPlain != 0 {
			st.hidden += uint64(gone)
		}
	} else {
		return // late
	}
	st.counter, st.at, st.atPad, st.plain = s.counter, n, st.pad, s.flags&stampPlain != 0
}

// milestones notes the first packet, the first complete keyframe, and the keyframe that Peer.Expect waits for.
func (t *Transport) milestones(st *inStream, s *stamp, n, at int64) {
	t.peer.firstPacket(st.codec, at)
	if st.codec == codecOpus || !st.all {
		return
	}
	st.searched++
	if s.flags&stampKey != 0 && s.flags&stampFirst != 0 {
		st.keyAt, st.keyCame = n, at
		if t.expect == int16(s.layer) && t.expectFrom == s.sender && s.at > t.expectAt {
			_ = t.sh.switched.RecordValue(at - t.expectAt)
			t.expect = -1
		}
	}
	if !st.keyDone && st.keyAt >= 0 && s.flags&stampKey != 0 && s.flags&stampLast != 0 && len(st.missing) == 0 {
		st.keyDone = true
		t.peer.stepAt("decodable video", st.keyCame)
		t.peer.stepAt("first keyframe", at)
	}
	if (st.keyDone || st.searched > keySearch) && t.expect < 0 {
		st.all = false
	}
}

// repaired takes a retransmission (RFC 4588 §4).
func (t *Transport) repaired(p []byte) {
	t.sh.count.RTX++
	if len(p) < 2 {
		return
	}
	osn := binary.BigEndian.Uint16(p)
	for _, st := range t.list {
		for i := range st.missing {
			if uint16(st.missing[i].seq) == osn && st.missing[i].tries > 0 {
				st.missing = append(st.missing[:i], st.missing[i+1:]...)
				t.sh.count.Recovered++
				return
			}
		}
	}
}

// depayload finds where a stamp stands in an RTP payload.
func depayload(c codec, p []byte) (off int, ok bool) {
	switch c {
	case codecOpus:
		return 1, len(p) > 1
	case codecVP8:
		n := vp8Descriptor(p)
		return n + 10, n > 0 && len(p) > n+10
	case codecVP9:
		n := vp9Descriptor(p)
		return n + 1, n > 0 && len(p) > n+1
	}
	return 0, false
}

// vp8Descriptor is the length of the payload descriptor of RFC 7741 §4.2, 0 when it is cut short.
func vp8Descriptor(p []byte) int {
	if len(p) == 0 {
		return 0
	}
	n := 1
	if p[0]&0x80 == 0 {
		return n
	}
	if len(p) < 4 {
		return 0
	}
	x := p[1]
	n++
	if x&0x80 != 0 { // I
		n++
		if p[2]&0x80 != 0 {
			n++
		}
	}
	if x&0x40 != 0 { // L
		n++
	}
	if x&0x30 != 0 { // T, K
		n++
	}
	if n > len(p) {
		return 0
	}
	return n
}

// vp9Descriptor is the length of the payload descriptor of RFC 9628 §4.2 without flexible mode, 0 when it is cut short.
func vp9Descriptor(p []byte) int {
	if len(p) < 4 {
		return 0
	}
	n := 1
	if p[0]&0x80 != 0 { // I
		n++
		if p[1]&0x80 != 0 {
			n++
		}
	}
	if p[0]&0x20 != 0 { // L
		n++
		if p[0]&0x10 == 0 { // not F
			n++
		}
	}
	if p[0]&0x02 != 0 { // V
		if n >= len(p) {
			return 0
		}
		s := p[n]
		layers := int(s>>5) + 1
		n++
		if s&0x10 != 0 {
			n += 4 * layers
		}
		if s&0x08 != 0 {
			if n >= len(p) {
				return 0
			}
			pics := int(p[n])
			n++
			for range pics {
				if n >= len(p) {
					return 0
				}
				n += 1 + int(p[n]>>2&3)
			}
		}
	}
	if n > len(p) {
		return 0
	}
	return n
}
