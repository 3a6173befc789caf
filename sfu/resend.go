package sfu

import (
	"encoding/binary"

	"konzil/sfu/dd"
	"konzil/sfu/nack"
	"konzil/sfu/rewrite"
	"konzil/sfu/rtp"
)

// repeat says for whom a packet is sent again and how it was sent first.
type repeat struct {
	ep  *Endpoint
	out *send
	r   rewrite.Out
	seq uint16 // outgoing

	why repeatReason
}

// repeatReason is why a packet is sent again.
type repeatReason uint8

const (
	askedFor repeatReason = iota
	forProbe              // to fill a probe (probe.go)
	asTail                // it ended a picture (second.go)
	asSecond              // the first repetition may be lost (second.go)
)

// maxResends bounds the packets repeated to one receiver in one tick (10 ms), so that a hostile one cannot multiply its
// traffic: 100 are 96 Mb/s, more than any honest loss.
const maxResends = 100

// resend answers a NACK for one outgoing sequence number from the history of the source (RFC 4585 §6.2.1).
func (sh *shard) resend(e *Endpoint, o *send, seq uint16, now int64) {
	if e.m.resent >= maxResends {
		sh.count.inc(cNACKLimit)
		return
	}
	e.m.resent++
	switch tr, orig, w := sh.sentAs(e, o, seq, askedFor); {
	case tr == nil:
		sh.count.inc(cNACKMiss)
	case !o.answer(now, seq, &e.m):
		sh.count.inc(cNACKEarly)
	default:
		sh.repeatOf(tr, orig, &w)
	}
}

// sentAs finds what went out to e on o as seq; tr is nil when that is not known any more.
func (sh *shard) sentAs(e *Endpoint, o *send, seq uint16, why repeatReason) (tr *track, orig uint16, w repeat) {
	ssrc, orig, r, ok := o.stream.Back(seq)
	if !ok {
		return nil, 0, w
	}
	return e.conf.trackOf(ssrc), orig, repeat{ep: e, out: o, r: r, seq: seq, why: why}
}

// repeatOf sends a packet of tr again, whose history another shard may have. true: that was done at once.
func (sh *shard) repeatOf(tr *track, orig uint16, w *repeat) bool {
	if to := tr.ep.sh; to != sh {
		to.inbox.push(to, item{kind: itemRepeat, tr: tr, seq: orig, want: *w}, nil)
		return false
	}
	sh.repeat(tr, orig, w)
	return true
}

// answer says whether seq is to be sent again now, and notes it.
func (o *send) answer(now int64, seq uint16, m *media) bool {
	if o.answers == nil {
		o.answers = new(nack.Answers)
	}
	return o.answers.Due(now, seq, m.onItsWay())
}

// onItsWay is how long an answer is surely on its way, with the request for another one, ns: most of the round trip, or of the queue that has
// grown since that was measured.
func (m *media) onItsWay() int64 { return max(m.rtt, m.est.Queue()) * 3 / 4 }

// repeatFor looks a packet up for a receiver of another shard and sends it there.
func (sh *shard) repeatFor(it *item) {
	if it.tr.ep.m.gone || it.tr.hist == nil {
		return
	}
	pkt, ok := it.tr.hist.Get(it.seq)
	if !ok {
		sh.missed(&it.want)
		return
	}
	to := it.want.ep.sh
	to.inbox.push(to, item{kind: itemRepeat, tr: it.tr, codec: it.tr.codec, dd: it.tr.dd, want: it.want}, pkt)
}

// repeat looks a packet up and sends it again.
func (sh *shard) repeat(tr *track, orig uint16, w *repeat) {
	if tr.hist == nil {
		sh.missed(w)
		return
	}
	pkt, ok := tr.hist.Get(orig)
	if !ok {
		sh.missed(w)
		return
	}
	// The history is shared: the copy is patched, not the stored packet.
	sh.again(tr, append(sh.copied[:0], pkt...), tr.codec, tr.dd, w)
}

// missed counts a request for what is not there any more.
func (sh *shard) missed(w *repeat) {
	if w.why == askedFor {
		sh.count.inc(cNACKMiss)
	}
}

// again sends an old packet once more: over RTX (RFC 4588) when the receiver has it, else the identical packet. st is the structure
// that dependency descriptors go by.
func (sh *shard) again(tr *track, plain []byte, id codecID, st *dd.Structure, w *repeat) {
	e, o := w.ep, w.out
	m := &e.m
	if m.gone || m.sealer == nil {
		return
	}
	p := sh.reopen(tr, plain, id, st, w.r.Active)
	if p == nil || len(plain) == 0 {
		return
	}
	sh.forReceiver(p, m, o, &w.r)
	pt, rtx := m.out[p.codec], m.rtx[p.codec]
	if pt == noPT {
		return
	}
	h := rtp.OutHeader{Marker: w.r.Marker, PT: pt, Seq: w.seq, TS: w.r.TS, SSRC: o.ssrc}
	if o.rtxSSRC != 0 && rtx != noPT {
		h.PT, h.SSRC = rtx, o.rtxSSRC
		sh.wrapped(e, o, p, h, w)
		return
	}
	if w.why != askedFor {
		return
	}
	// The same index again is only safe with the same bytes.
	index, ok := o.index.Sent(w.seq)
	if !ok || o.exts == nil || !o.exts[w.seq%plainRing].used || o.exts[w.seq%plainRing].seq != w.seq {
		sh.count.inc(cNACKMiss)
		return
	}
	if sh.emit(e, o, p, p.payload, &h, index, true) {
		sh.count.inc(cRTXOut)
	}
}

// wrapped sends p over RTX with header h, whose number is the original's.
func (sh *shard) wrapped(e *Endpoint, o *send, p *packet, h rtp.OutHeader, w *repeat) {
	m := &e.m
	sh.rtxb = binary.BigEndian.AppendUint16(sh.rtxb[:0], w.seq)
	sh.rtxb = append(sh.rtxb, p.payload...)
	o.rtxSeq++
	index, ok := o.rtxIndex.Next(o.rtxSeq)
	if !ok {
		sh.count.inc(cDropNonce)
		return
	}
	h.Seq = o.rtxSeq
	if !sh.emit(e, o, p, sh.rtxb, &h, index, false) {
		return
	}
	if w.why == forProbe {
		sh.count.inc(cProbePackets)
		m.probBytes += uint64(len(sh.rtxb))
		return
	}
	m.rtxBytes += uint64(len(sh.rtxb))
	switch w.why {
	case asTail:
		sh.count.inc(cRTXTail)
	case asSecond:
		sh.count.inc(cRTXTwice)
	default:
		sh.count.inc(cRTXOut)
		if m.lossy {
			sh.keepSecond(m, o, w.seq, asSecond)
		}
	}
}
