package sfu

import (
	"math/rand/v2"

	"konzil/sfu/fec"
	"konzil/sfu/rtp"
	"konzil/sfu/seal"
)

// Protection. A receiver that has negotiated flexfec-03 and loses packets gets repair packets with its video (package fec), so many that they suit its
// loss: where repetitions take a long round trip, most losses are then repaired before the picture waits for them. Repair packets are made
// for each receiver by itself, since header extensions and numbers are its own, from what emit sends; they have an SSRC of their own,
// which the receiver knows from a FEC-FR group (Source.FEC). Repetitions, repair flows and audio are not protected; audio has RED.
//
// Receivers without loss, and those that have not negotiated it, pay for one comparison a packet.

// protection is what protects one outgoing SSRC; the receiver's shard guards it.
type protection struct {
	ssrc  uint32
	seq   uint16
	ts    uint32 // of the newest packet that is protected
	index seal.Index
	enc   *fec.Encoder // nil: not needed
}

func newProtection(ssrc uint32) *protection {
	return &protection{ssrc: ssrc, seq: uint16(rand.Uint32N(1 << 14))}
}

// protect notes a packet that emit has just sent on o: header is in the arena, payload as it was before SRTP.
func (sh *shard) protect(e *Endpoint, o *send, h *rtp.OutHeader, header, payload []byte) {
	m, f := &e.m, o.protection
	if m.loss.level(sh.clock) == 0 {
		f.enc = nil
		return
	}
	if f.enc == nil {
		f.enc = new(fec.Encoder)
	}
	f.enc.Tune(fec.Group(m.loss.rate, m.rtt))
	f.ts = h.TS
	if f.enc.Add(sh.clock, header, payload) {
		sh.repair(e, o)
	}
}

// repair sends the repair packets that are complete.
func (sh *shard) repair(e *Endpoint, o *send) {
	m, f := &e.m, o.protection
	for {
		payload, ok := f.enc.Append(sh.fecb[:0], o.ssrc)
		if !ok {
			return
		}
		f.seq++
		index, ok := f.index.Next(f.seq)
		if !ok {
			sh.count.inc(cDropNonce)
			return
		}
		h := rtp.OutHeader{PT: m.out[codecFlexFEC], Seq: f.seq, TS: f.ts, SSRC: f.ssrc}
		if sh.emit(e, o, &sh.bare, payload, &h, index, false) {
			sh.count.inc(cFECOut)
			m.fecBytes += uint64(len(payload))
		}
	}
}

// repairLate sends what protects the tail of a burst. The caller holds sh.mu.
func (sh *shard) repairLate(e *Endpoint, now int64) {
	if e.m.out[codecFlexFEC] == noPT {
		return
	}
	for ssrc, o := range e.m.sends {
		if f := o.protection; f != nil && f.enc != nil && ssrc == o.ssrc && f.enc.Expired(now) {
			sh.repair(e, o)
		}
	}
}
