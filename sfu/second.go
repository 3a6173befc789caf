package sfu

import "slices"

// Second sendings. To receivers that lose packets (lossMeter.level) two kinds of packets go over RTX a second time, unasked and a tick later, since
// packets are lost in a row:
//
//   - the last one of a picture. A receiver notices a lost packet by the next one that it gets: by the next picture here, 33 ms later or more, and with
//     the round trip on top the repair comes when the picture should have been shown long ago. So what was lost of a picture is known, or repaired, before
//     the next one comes. The idea is that of TCP's tail loss probe (RFC 8985 §7);
//   - repetitions that were asked for: one that is lost again would come a round trip later.
const (
	// tailShare bounds what the last packets of pictures may cost: a byte for so many of the stream. At 2 Mbit/s that is nearly all of them; streams of
	// one packet a picture would be doubled without.
	tailShare = 8
	// tailSaved bounds what a stream saves up that repeats little, in its bytes: a keyframe or a second of pictures.
	tailSaved = 64 << 10
	// maxSeconds bounds what waits for one receiver's next tick: a picture of each of so many sources. Further ones are not repeated.
	maxSeconds = 64
)

// second is a packet that is to be sent a second time.
type second struct {
	o   *send
	seq uint16
	why repeatReason
	at  int64 // when it was sent
}

// keepTail notes that the packet of n bytes that was sent on o as seq ended a picture.
func (sh *shard) keepTail(m *media, o *send, seq uint16, n int) {
	saved := int32(o.octets - o.tailAt)
	if o.kind != Video || o.rtxSSRC == 0 || saved < 0 {
		return
	}
	o.tailAt = o.octets - uint32(min(saved, tailSaved)) + uint32(tailShare*n)
	sh.keepSecond(m, o, seq, asTail)
}

// keepSecond notes what is to be sent a second time.
func (sh *shard) keepSecond(m *media, o *send, seq uint16, why repeatReason) {
	if len(m.seconds) == maxSeconds {
		return
	}
	m.seconds = append(m.seconds, second{o, seq, why, sh.clock})
	sh.press()
}

// sendSeconds sends them. On a path that is too slow for the media they would only wait as well.
func (sh *shard) sendSeconds(e *Endpoint, now int64) {
	m := &e.m
	if len(m.seconds) == 0 {
		return
	}
	n := 0
	for ; n < len(m.seconds) && m.seconds[n].at < now; n++ {
		x := &m.seconds[n]
		if m.pacer.head != nil || m.est.Congested() {
			continue
		}
		tr, orig, w := sh.sentAs(e, x.o, x.seq, x.why)
		if tr != nil && (x.why == asSecond || x.o.answer(now, x.seq, m)) {
			sh.repeatOf(tr, orig, &w)
		}
	}
	m.seconds = slices.Delete(m.seconds, 0, n) // and lets go of the streams
	sh.urgent = sh.urgent || len(m.seconds) > 0
}
