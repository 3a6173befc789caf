package rtc

import (
	"encoding/binary"
	"time"
)

const (
	reportEvery = int64(time.Second) // receiver and sender reports
	maxBlocks   = 31                 // report blocks of one packet (RFC 3550 §6.4)
	maxTries    = 10                 // times that a gap is asked for, as libwebrtc
	pliWait     = int64(300 * time.Millisecond)
	pliEvery    = int64(time.Second)
	maxRTCP     = 1200
	// rembFloor is the least that REMB says: a receiver on a fast network, as all of ours are.
	rembFloor = 8_000_000
)

// RTCP packet types and feedback formats (RFC 3550 §12.1, RFC 4585 §6).
const (
	rtcpSR, rtcpRR, rtcpRTPFB, rtcpPSFB = 200, 201, 205, 206
	fbNACK, fbTWCC                      = 1, 15
	fbPLI, fbFIR, fbALFB                = 1, 4, 15
)

// rtcp takes a compound packet.
func (t *Transport) rtcp(b []byte, at int64) {
	sh := t.sh
	sh.count.RTCP++
	if b[1] == rtcpRTPFB && b[0]&31 == fbTWCC { // we send on a schedule, whatever the path
		return
	}
	p, err := t.in.rtcp(sh.scratch[:0], b)
	if err != nil {
		sh.count.Wrong.Rejected++
		return
	}
	for len(p) >= 8 {
		n := 4 * (int(binary.BigEndian.Uint16(p[2:])) + 1)
		if n > len(p) {
			return
		}
		t.rtcpOne(p[:n], at)
		p = p[n:]
	}
}

func (t *Transport) rtcpOne(p []byte, at int64) {
	be := binary.BigEndian
	switch p[1] {
	case rtcpSR:
		if st := t.streams[be.Uint32(p[4:])]; st != nil && len(p) >= 28 {
			st.srAt, st.srMid = at, uint32(be.Uint64(p[8:])>>16)
		}
	case rtcpRTPFB:
		if p[0]&31 != fbNACK || len(p) < 16 {
			return
		}
		l := t.layer(be.Uint32(p[8:]))
		for q := p[12:]; l != nil && len(q) >= 4; q = q[4:] {
			seq, more := be.Uint16(q), be.Uint16(q[2:])
			t.sh.count.NACKed++
			l.again(seq)
			for i := range uint16(16) {
				if more>>i&1 != 0 {
					t.sh.count.NACKed++
					l.again(seq + i + 1)
				}
			}
		}
	case rtcpPSFB:
		switch p[0] & 31 {
		case fbPLI:
			if len(p) >= 12 {
				t.keyframe(be.Uint32(p[8:]))
			}
		case fbFIR:
			for q := p[min(12, len(p)):]; len(q) >= 8; q = q[8:] {
				t.keyframe(be.Uint32(q))
			}
		}
	}
}

func (t *Transport) layer(ssrc uint32) *outLayer {
	for _, o := range t.tracks {
		for _, l := range o.layers {
			if l.SSRC == ssrc {
				return l
			}
		}
	}
	return nil
}

func (t *Transport) keyframe(ssrc uint32) {
	if l := t.layer(ssrc); l != nil {
		l.wantKey = true
		t.sh.count.KeyframesAsked++
	}
}

// feedback sends what is due: transport-wide feedback each turn of the wheel, the rest each second.
func (t *Transport) feedback(now int64) {
	if len(t.arrivals) > 0 {
		t.sendTWCC()
	}
	t.nacks()
	if now < t.reportAt {
		return
	}
	t.reportAt += reportEvery
	if now > t.reportAt {
		t.reportAt = now + reportEvery
	}
	t.reports(now)
	t.plis(now)
	if t.remb && t.twccID == 0 && len(t.streams) > 0 {
		t.sendREMB(now)
	}
}

// own is the SSRC that our RTCP comes from.
func (t *Transport) own() uint32 {
	if len(t.tracks) > 0 {
		return t.tracks[0].layers[0].SSRC
	}
	return t.ssrc
}

func (t *Transport) sendRTCP(p []byte) {
	sh := t.sh
	binary.BigEndian.PutUint16(p[2:], uint16(len(p)/4-1))
	out, err := t.out.rtcp(sh.room(), p)
	if err != nil {
		sh.count.SendErrors++
		return
	}
	sh.count.SentRTCP++
	t.put(out, len(out), t.to)
}

// ntpEpoch is 1970 in seconds since 1900.
const ntpEpoch = 2208988800

func ntp(ns int64) uint64 {
	return (uint64(ns/1e9)+ntpEpoch)<<32 | uint64(ns%1e9)<<32/1e9
}

// reports sends sender reports, and receiver reports of all streams that have moved.
func (t *Transport) reports(now int64) {
	be := binary.BigEndian
	for _, o := range t.tracks {
		for _, l := range o.layers {
			if l.off || l.sentAt == 0 {
				continue
			}
			p := t.sh.plain[:28]
			p[0], p[1] = 0x80, rtcpSR
			be.PutUint32(p[4:], l.SSRC)
			be.PutUint64(p[8:], ntp(now))
			rate := uint64(90000)
			if l.codec == codecOpus {
				rate = 48000
			}
			be.PutUint32(p[16:], l.ts+uint32(uint64(max(now-l.sentAt, 0))*rate/1e9))
			be.PutUint32(p[20:], l.counter)
			be.PutUint32(p[24:], uint32(l.bytes))
			t.sendRTCP(p)
		}
	}
	p := t.sh.plain[:8]
	start := func() {
		p = t.sh.plain[:8]
		p[0], p[1] = 0x80, rtcpRR
		be.PutUint32(p[4:], t.own())
	}
	start()
	for _, st := range t.list {
		got := st.got + st.pad
		if got == st.rrGot {
			continue
		}
		p = st.block(p, now)
		p[0]++
		if p[0]&31 == maxBlocks {
			t.sendRTCP(p)
			start()
		}
	}
	if p[0]&31 != 0 {
		t.sendRTCP(p)
	}
}

// block appends a report block (RFC 3550 §6.4.1).
func (st *inStream) block(p []byte, now int64) []byte {
	be := binary.BigEndian
	got, hi := st.got+st.pad, uint64(st.hi-st.first+1)
	expected, came := hi-st.rrHi, got-st.rrGot
	st.rrHi, st.rrGot = hi, got
	frac := byte(0)
	if expected > came {
		frac = byte(min((expected-came)*256/expected, 255))
	}
	lost := uint64(0)
	if hi > got {
		lost = min(hi-got, 1<<23-1)
	}
	n := len(p)
	p = p[:n+24]
	be.PutUint32(p[n:], st.ssrc)
	be.PutUint32(p[n+4:], uint32(lost))
	p[n+4] = frac
	be.PutUint32(p[n+8:], uint32(st.hi-1<<16))
	be.PutUint32(p[n+12:], 0) // jitter: not measured without a look at each packet's time
	be.PutUint32(p[n+16:], st.srMid)
	be.PutUint32(p[n+20:], 0)
	if st.srAt != 0 {
		be.PutUint32(p[n+20:], uint32((now-st.srAt)*65536/1e9))
	}
	return p
}

// nacks asks for what is missing (RFC 4585 §6.2.1).
func (t *Transport) nacks() {
	if !t.lacks {
		return
	}
	t.lacks = false
	be := binary.BigEndian
	for _, st := range t.list {
		if len(st.missing) == 0 {
			continue
		}
		if st.codec == codecOpus || st.codec == codecRTX {
			st.missing = st.missing[:0]
			continue
		}
		p := t.sh.plain[:12]
		p[0], p[1] = 0x80|fbNACK, rtcpRTPFB
		be.PutUint32(p[4:], t.own())
		be.PutUint32(p[8:], st.ssrc)
		keep := st.missing[:0]
		for _, g := range st.missing {
			if g.tries >= maxTries {
				continue
			}
			if len(p)+4 <= maxRTCP {
				g.tries++
				t.sh.count.SentNACK++
				p = p[:len(p)+4]
				be.PutUint16(p[len(p)-4:], uint16(g.seq))
				be.PutUint16(p[len(p)-2:], 0)
			}
			keep = append(keep, g)
		}
		st.missing = keep
		t.lacks = t.lacks || len(keep) > 0
		if len(p) > 12 {
			t.sendRTCP(p)
		}
	}
}

// plis asks for the keyframes of video streams that have none yet.
func (t *Transport) plis(now int64) {
	be := binary.BigEndian
	for _, st := range t.list {
		if st.codec != codecVP8 && st.codec != codecVP9 || st.keyDone || st.got == 0 {
			continue
		}
		if st.pliAt == 0 {
			st.pliAt = now + pliWait - pliEvery
		}
		if now-st.pliAt < pliEvery {
			continue
		}
		st.pliAt = now
		p := t.sh.plain[:12]
		p[0], p[1] = 0x80|fbPLI, rtcpPSFB
		be.PutUint32(p[4:], t.own())
		be.PutUint32(p[8:], st.ssrc)
		t.sh.count.SentPLI++
		t.sendRTCP(p)
	}
}

// sendREMB says what may be sent to us (draft-alvestrand-rmcat-remb): half more than what came, and never little.
func (t *Transport) sendREMB(now int64) {
	rate := uint64(rembFloor)
	if d := now - t.rembAt; t.rembAt != 0 && d > 0 {
		rate = max(rate, (t.bytes-t.rembIn)*8*1e9/uint64(d)*3/2)
	}
	t.rembAt, t.rembIn = now, t.bytes
	be := binary.BigEndian
	p := t.sh.plain[:20]
	p[0], p[1] = 0x80|fbALFB, rtcpPSFB
	be.PutUint32(p[4:], t.own())
	be.PutUint32(p[8:], 0)
	copy(p[12:], "REMB")
	exp := uint64(0)
	for rate>>exp >= 1<<18 {
		exp++
	}
	n := 0
	for _, st := range t.list {
		if st.codec != codecRTX && n < 255 && len(p)+4 <= maxRTCP {
			p = p[:len(p)+4]
			be.PutUint32(p[len(p)-4:], st.ssrc)
			n++
		}
	}
	be.PutUint32(p[16:], uint32(n)<<24|uint32(exp)<<18|uint32(rate>>exp))
	t.sendRTCP(p)
}
