package rtc

import (
	"encoding/binary"
	"slices"
)

const (
	// maxArrivals bounds what one feedback may be about; at 20k packets/s on one transport it is 100 ms.
	maxArrivals = 2048
	// twccUnit of receive deltas (draft-holmer-rmcat-transport-wide-cc-extensions-01 §3.1.5), and of the reference time.
	twccUnit = int64(250_000)
	twccRef  = int64(64_000_000)
)

// sendTWCC tells what has come since the last time. More than fits into a packet makes several.
func (t *Transport) sendTWCC() {
	a := t.arrivals
	if base := a[0].seq(); t.disorder {
		slices.SortStableFunc(a, func(x, y arrival) int { return int(int16(x.seq()-base)) - int(int16(y.seq()-base)) })
		a = slices.CompactFunc(a, func(x, y arrival) bool { return x.seq() == y.seq() })
		t.disorder = false
	}
	for len(a) > 0 {
		p := t.sh.plain[:8]
		p[0], p[1] = 0x80|fbTWCC, rtcpRTPFB
		binary.BigEndian.PutUint32(p[4:], t.own())
		var n int
		p, n = twccBody(p, a, t.anySSRC(), t.fbCount)
		t.fbCount++
		a = a[n:]
		t.sendRTCP(p)
	}
	t.arrivals = t.arrivals[:0]
}

// anySSRC is one that comes in: transport feedback must name one.
func (t *Transport) anySSRC() uint32 {
	if t.last != nil {
		return t.last.ssrc
	}
	return 0
}

// Symbols of packet status chunks; 0 is a packet that is missing.
const twccSmall, twccLarge = 1, 2

// twccRoom is the most symbols of one feedback: with 2 bytes of delta each and their chunks they fit into an MTU.
const twccRoom = 400

// twccBody appends a feedback on the first arrivals to p, which has the RTCP header and the sender's SSRC, and returns how many it took.
func twccBody(p []byte, a []arrival, media uint32, count uint8) ([]byte, int) {
	be := binary.BigEndian
	first := a[0].seq()
	ref := a[0].at() / twccRef
	at := ref * twccRef
	var sym [twccRoom]byte
	var delta [2 * twccRoom]byte
	n, d, taken := 0, 0, 0
	for _, x := range a {
		place := int(x.seq() - first)
		if place >= twccRoom || place < n {
			break
		}
		ticks := (x.at() - at) / twccUnit
		if ticks > 32767 || ticks < -32768 {
			if taken == 0 {
				ticks = 0 // cannot be: the reference is within 64 ms
			} else {
				break
			}
		}
		n = place // what is between stays missing
		at += ticks * twccUnit
		if ticks >= 0 && ticks < 256 {
			sym[n] = twccSmall
			delta[d] = byte(ticks)
			d++
		} else {
			sym[n] = twccLarge
			be.PutUint16(delta[d:], uint16(ticks))
			d += 2
		}
		n++
		taken++
	}
	p = be.AppendUint32(p, media)
	p = be.AppendUint16(p, first)
	p = be.AppendUint16(p, uint16(n))
	p = be.AppendUint32(p, uint32(ref)<<8|uint32(count))
	p = twccChunks(p, sym[:n])
	p = append(p, delta[:d]...)
	if pad := -len(p) & 3; pad > 0 {
		p[0] |= 0x20
		for i := range pad {
			p = append(p, byte((i+1)/pad*pad)) // zeros, and the count in the last
		}
	}
	return p, taken
}

// twccChunks appends the status chunks: a run where seven or more are alike, else a vector of seven two-bit symbols.
func twccChunks(p, sym []byte) []byte {
	for len(sym) > 0 {
		run := 1
		for run < len(sym) && sym[run] == sym[0] {
			run++
		}
		if run >= 7 || run == len(sym) {
			p = binary.BigEndian.AppendUint16(p, uint16(sym[0])<<13|uint16(run))
			sym = sym[run:]
			continue
		}
		v := uint16(0xc000)
		for i := range min(7, len(sym)) {
			v |= uint16(sym[i]) << (12 - 2*i)
		}
		p = binary.BigEndian.AppendUint16(p, v)
		sym = sym[min(7, len(sym)):]
	}
	return p
}
