package sfu

import "konzil/sfu/rtp"

// Probes. When a better layer is wanted than the estimate allows, the estimator (bwe) asks for a short burst at a higher rate. The media
// that flows meanwhile is part of it; what is missing are packets that the receiver has got already, repeated over RTX, which repair
// something if they are lucky, and else padding on the same SSRC. Receivers without RTX are not probed: their estimate grows slowly
// without.

const (
	// fillBack is how far back packets are repeated to fill a probe: the last ones, so that they are surely in the history.
	fillBack = 64
	// padSize is the most padding that a packet can hold (RFC 3550 §5.1).
	padSize = 255
)

// probing is the probe to one receiver; its shard guards it.
type probing struct {
	id    uint8 // 0: none
	began int64
	bytes int   // sent since then, media included
	out   *send // whose packets are repeated
	back  uint16
}

// probes sends what the receiver's probe needs in this tick.
func (sh *shard) probes(e *Endpoint, now int64) {
	m := &e.m
	p, ok := m.est.Due(now)
	if !ok {
		m.probe.id = 0
		return
	}
	sh.urgent = true
	b := &m.probe
	if b.id != p.ID {
		if *b = (probing{id: p.ID, began: now, out: m.filler()}); b.out == nil {
			return
		}
		sh.count.inc(cProbes)
	}
	if b.out == nil {
		return
	}
	due := int(p.Rate*float64(now-b.began+int64(tick))/8e9) - b.bytes
	for due > 0 {
		n := sh.fill(e, b)
		if n == 0 {
			return
		}
		due -= n
	}
}

// filler is the stream that probes to m are filled from: one with repair flow that is being sent, else one that was. A receiver of which all video was
// taken would get none back without.
func (m *media) filler() *send {
	var best *send
	for _, o := range m.sends {
		if o.kind != Video || o.rtxSSRC == 0 || !o.active || m.rtx[o.codec] == noPT {
			continue
		}
		sent := o.src != nil
		if best == nil || sent && best.src == nil || sent == (best.src != nil) && o.packets > best.packets {
			best = o
		}
	}
	return best
}

// fill sends one packet of a probe and returns its size, 0 when nothing could be sent.
func (sh *shard) fill(e *Endpoint, b *probing) int {
	m, o := &e.m, b.out
	if m.sealer == nil || m.pacer.bucket.Full() || m.pacer.head != nil {
		return 0 // what waits fills the probe
	}
	before := b.bytes
	for range 4 { // some numbers belong to nothing
		if o.src == nil {
			break
		}
		seq := o.stream.Newest() - b.back
		b.back = (b.back + 1) % fillBack
		tr, orig, w := sh.sentAs(e, o, seq, forProbe)
		if tr == nil {
			continue
		}
		if !sh.repeatOf(tr, orig, &w) {
			return maxPacket // it is counted when it comes
		}
		if n := b.bytes - before; n > 0 {
			return n
		}
	}
	sh.pad(e, o)
	return b.bytes - before
}

// pad sends a packet of padding only on a repair flow (RFC 4588 has no use for it: receivers drop it after they have reported it).
func (sh *shard) pad(e *Endpoint, o *send) {
	o.rtxSeq++
	index, ok := o.rtxIndex.Next(o.rtxSeq)
	if !ok {
		sh.count.inc(cDropNonce)
		return
	}
	p := &sh.pkt
	p.level, p.orientation, p.dd, p.ddOut = nil, nil, nil, nil
	sh.rtxb = append(sh.rtxb[:0], make([]byte, padSize)...)
	sh.rtxb[padSize-1] = padSize
	h := rtp.OutHeader{Padding: true, PT: e.m.rtx[o.codec], Seq: o.rtxSeq, SSRC: o.rtxSSRC}
	if sh.emit(e, o, p, sh.rtxb, &h, index, false) {
		sh.count.inc(cProbePackets)
	}
}

// remb takes a receiver's own estimate (draft-alvestrand-rmcat-remb-03).
func (sh *shard) remb(e *Endpoint, fci []byte, now int64) {
	if bps, ok := rtp.REMB(fci); ok && e.m.est != nil {
		sh.count.inc(cREMBIn)
		e.m.est.OnREMB(now, bps)
	}
}
