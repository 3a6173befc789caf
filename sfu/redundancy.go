package sfu

import (
	"konzil/sfu/red"
)

// lossMeter says how lossy the path to a receiver is, from transport feedback, or receiver reports where there is none.
type lossMeter struct {
	rate   float64 // of the newest packets, 0..1
	some   int64   // loss counts as worth redundancy until then
	heavy  int64   // and as worth twice as much
	late   int64   // and pictures as worth waiting for
	judged int64   // packets that rate is made of, at most lossWindow
}

const (
	// lossWindow is how many packets the rate looks back.
	lossWindow = 200
	// lossSome and lossHeavy are the rates from which redundancy is added; it stays for lossHold (ns), since loss comes in bursts.
	lossSome, lossHeavy = 0.01, 0.08
	lossHold            = 10e9
)

// note takes the fate of packets.
func (l *lossMeter) note(lost, total int, now int64) {
	if total <= 0 {
		return
	}
	l.judged = min(l.judged+int64(total), lossWindow)
	l.rate += (float64(lost)/float64(total) - l.rate) * min(1, float64(total)/float64(l.judged))
	if l.judged < lossWindow/4 {
		return // a single one says nothing
	}
	if l.rate >= lossSome {
		l.some = now + lossHold
	}
	if l.rate >= lossLate {
		l.late = now + lossHold
	}
	if l.rate >= lossHeavy {
		l.heavy = now + lossHold
	}
}

// noteLoss takes the fate of packets to m's receiver, and does about it what is not decided packet by packet.
func (m *media) noteLoss(lost, total int, now int64) {
	m.loss.note(lost, total, now)
	if lossy := m.loss.level(now) > 0; lossy != m.lossy {
		m.lossy = lossy
		for _, o := range m.sends {
			o.tailAt = o.octets
		}
	}
	m.judgePlayout(now)
}

// level is how many packets back audio is worth repeating: 0, 1 or 2.
func (l *lossMeter) level(now int64) int {
	switch {
	case now < l.heavy:
		return 2
	case now < l.some:
		return 1
	}
	return 0
}

// redRoom is room for the redundant payloads of one batch.
const redRoom = 32 << 10

// redFor is how long a source's payloads are kept after a receiver has last wanted redundancy, ns.
const redFor = 5e9

// sealedFor is how long a source counts as encrypted end to end after a packet that looks so, ns: a receiver opens the whole payload, and could not
// open one with more in it.
const sealedFor = 1e9

// prepareRED makes the redundant form of an audio packet, once for all receivers that want it, and keeps its payload for those that follow.
func (sh *shard) prepareRED(p *packet, tr *track, now int64) {
	if p.codec != codecOpus || p.in.Padding || now > tr.src.redUntil.Load() {
		return
	}
	if looksSealed(p.payload) {
		tr.sealedUntil = now + sealedFor
	}
	if now < tr.sealedUntil {
		return
	}
	distance := 1
	if now < tr.src.redDeep.Load() {
		distance = 2
	}
	if tr.kept == nil {
		tr.kept = new(red.Ring) // at the first loss that a receiver of the source sees
	}
	if out, ok := tr.kept.Append(sh.redb[len(sh.redb):len(sh.redb):min(cap(sh.redb), len(sh.redb)+maxRED)], 0, p.hdr.Seq, p.hdr.Timestamp, p.payload, distance); ok {
		sh.redb = sh.redb[:len(sh.redb)+len(out)]
		p.red = out
	}
	tr.kept.Put(p.hdr.Seq, p.hdr.Timestamp, p.payload)
}

// wantRED notes that a receiver of src is better off with so many packets repeated.
func (src *source) wantRED(distance int, now int64) {
	src.redUntil.Store(now + redFor)
	if distance > 1 {
		src.redDeep.Store(now + redFor)
	}
}

// maxRED bounds a redundant payload, so that the packet fits a datagram with all extensions.
const maxRED = 1100

// looksSealed says whether a payload ends like a frame that lib-jitsi-meet encrypted: the length of the initialisation vector, 12, and the index of
// the key, of which there are 16. One of 4096 others does, too.
func looksSealed(b []byte) bool {
	return len(b) > 12+2+16 && b[len(b)-2] == 12 && b[len(b)-1] < 16
}

// audioFor chooses the form in which a receiver gets an audio packet (RFC 2198): as it is when it can take that; the primary block alone when it has no
// RED; with the packets before it when it has RED and loses packets. pt is noPT when it can take none.
func (sh *shard) audioFor(p *packet, m *media) (pt uint8, payload []byte) {
	opus, asRED := m.out[codecOpus], m.out[codecRED]
	payload = p.payload
	switch {
	case p.codec == codecOpus:
		if asRED == noPT || m.loss.level(sh.clock) == 0 {
			return opus, payload
		}
		p.tr.src.wantRED(m.loss.level(sh.clock), sh.clock)
		if p.red == nil {
			return opus, payload
		}
		payload = p.red
	case asRED == noPT || p.made && m.loss.level(sh.clock) == 0:
		payload, _ = red.Primary(payload) // nil when it is malformed
		return opus, payload
	case p.made:
		p.tr.src.wantRED(m.loss.level(sh.clock), sh.clock)
	}
	if opus != noPT {
		red.SetPT(payload, opus)
	}
	if p.red != nil || p.made {
		sh.count.inc(cREDOut)
	}
	return asRED, payload
}

// asRED is the packet with its redundant payload, for another shard, which can take that out again.
func (sh *shard) asRED(p *packet) []byte {
	sh.copied = append(append(sh.copied[:0], p.raw[:p.hdr.PayloadOff]...), p.red...)
	sh.copied[0] &^= 0x20 // padding stays behind
	return sh.copied
}
