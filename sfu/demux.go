package sfu

import (
	"net/netip"

	"konzil/internal/udpio"
)

// class is what a datagram is by its first byte (RFC 7983 §7).
type class uint8

const (
	classUnknown class = iota
	classSTUN          // 0..3
	classDTLS          // 20..63
	classMedia         // 128..191: RTP and RTCP
)

func classOf(pkt []byte) class {
	if len(pkt) == 0 {
		return classUnknown
	}
	switch b := pkt[0]; {
	case b < 4:
		return classSTUN
	case b >= 20 && b < 64:
		return classDTLS
	case b >= 128 && b < 192:
		return classMedia
	}
	return classUnknown
}

// minMedia is the smallest RTP or RTCP packet with protection that is looked at.
const minMedia = 12

// batch is the scratch of one socket goroutine.
type batch struct {
	stun  stunIO
	w     *udpio.Writer // of the socket, for answers to STUN
	owner [udpio.ReadBatch * udpio.MaxSegments]*transport
}

// demux sorts one receive batch. Media of this shard's endpoints is forwarded in place and flushed at the end; what belongs
// to another shard is handed over.
func (sh *shard) demux(b *batch, local int, pkts []udpio.Packet) {
	r := &sh.s.routes
	mine := false
	var bytes uint64
	r.mu.RLock()
	for i := range pkts {
		b.owner[i] = nil
		bytes += uint64(len(pkts[i].Data))
		if c := classOf(pkts[i].Data); c == classMedia || c == classDTLS {
			b.owner[i] = r.byAddr[pkts[i].From]
		}
	}
	r.mu.RUnlock()
	sh.count.add(cPacketsIn, uint64(len(pkts)))
	sh.count.add(cBytesIn, bytes)
	for i := range pkts {
		p := &pkts[i]
		t := b.owner[i]
		if classOf(p.Data) == classMedia && t != nil && t.sh == sh && len(p.Data) >= minMedia {
			mine = true
			continue
		}
		b.owner[i] = nil
		if sh.s.toGuest(local, p.From, p.Data) {
			continue
		}
		if t, ok := sh.s.route(&sh.count, &b.stun, t, local, p.From, p.Data); ok {
			sh.count.inc(cHandedOver)
			t.sh.inbox.raw(t.sh, t, p.Data)
		}
		if len(b.stun.out.List) >= stunSends {
			sh.sendSTUN(b, local)
		}
	}
	if len(b.stun.out.List) > 0 {
		sh.sendSTUN(b, local)
	}
	if !mine {
		return
	}
	now := sh.s.now()
	sh.mu.Lock()
	sh.clock = now
	for i := range pkts {
		if t := b.owner[i]; t != nil {
			b.owner[i] = nil // who has left, and their packets' history, shall not hang on a quiet socket
			sh.media(t, pkts[i].Data, now)
		}
	}
	sh.end(now)
}

// route handles everything but media: STUN goes to its agent, which leaves what has to be sent in io, DTLS to the transport that ICE validated the address for
// (a ClientHello from anywhere else is dropped: it could race the real one). For media it returns the owner.
func (s *SFU) route(c *counters, io *stunIO, t *transport, local int, from netip.AddrPort, pkt []byte) (*transport, bool) {
	switch classOf(pkt) {
	case classSTUN:
		s.stun(c, io, local, from, pkt)
	case classDTLS:
		c.inc(cDTLSIn)
		switch {
		case t == nil:
			c.inc(cDropUnknownAddr)
		case !t.pushDTLS(pkt):
			c.inc(cDropDTLSQueue)
		default:
			t.heard.Store(s.now())
		}
	case classMedia:
		if t == nil {
			c.inc(cDropUnknownAddr)
			return nil, false
		}
		if len(pkt) < minMedia {
			c.inc(cDropMalformed)
			return nil, false
		}
		return t, true
	default:
		c.inc(cDropUnknownByte)
	}
	return nil, false
}
