package nack

import "konzil/sfu/rtp"

// Stats counts one incoming stream for its receiver reports. The zero value is ready.
type Stats struct {
	seq     rtp.Unwrapper
	base    int64 // first extended number
	hi      int64
	n       int64 // received, duplicates included (RFC 3550 appendix A.3 counts them too)
	any     bool
	jitter  int64 // 16 times the jitter, in timestamp units
	transit uint32
	rate    uint32
	hasTr   bool

	priorExp, priorRecv int64

	srNTP uint32 // middle 32 bits
	srAt  int64
	hasSR bool
}

// Received counts a packet that arrived at arrival (ns) with its RTP timestamp and the stream's clock rate.
func (s *Stats) Received(seq uint16, ts uint32, arrival int64, clockRate uint32) {
	i := s.seq.Unwrap(seq)
	if !s.any {
		s.any, s.base, s.hi = true, i, i
	}
	if i > s.hi {
		s.hi = i
	}
	if i < s.base {
		s.base = i
	}
	s.n++
	if clockRate == 0 {
		return
	}
	if s.rate != clockRate { // another payload type: times are not comparable
		s.rate, s.hasTr = clockRate, false
	}
	// RFC 3550 appendix A.8, with the arrival in timestamp units modulo 2^32.
	r := int64(clockRate)
	transit := uint32(arrival/1e9*r+arrival%1e9*r/1e9) - ts
	if s.hasTr {
		d := int64(int32(transit - s.transit))
		if d < 0 {
			d = -d
		}
		s.jitter += d - (s.jitter+8)>>4
	}
	s.transit, s.hasTr = transit, true
}

// SenderReport notes a sender report of the stream that arrived now.
func (s *Stats) SenderReport(ntp uint64, now int64) {
	s.srNTP, s.srAt, s.hasSR = uint32(ntp>>16), now, true
}

// Report makes the report block for ssrc, and starts the next interval. Before the first packet it is empty but for the SSRC.
func (s *Stats) Report(now int64, ssrc uint32) rtp.ReportBlock {
	b := rtp.ReportBlock{SSRC: ssrc}
	if s.any {
		expected := s.hi - s.base + 1
		b.Lost = int32(min(max(expected-s.n, -0x800000), 0x7fffff))
		exp, recv := expected-s.priorExp, s.n-s.priorRecv
		s.priorExp, s.priorRecv = expected, s.n
		if lost := exp - recv; exp > 0 && lost > 0 {
			b.Fraction = uint8(min(lost*256/exp, 255))
		}
		b.HighestSeq = uint32(s.hi - s.base&^0xffff)
		b.Jitter = uint32(s.jitter >> 4)
	}
	if s.hasSR {
		b.LSR = s.srNTP
		d := max(now-s.srAt, 0)
		b.DLSR = uint32(min(d/1e9, 0xffff)<<16 + d%1e9<<16/1e9)
	}
	return b
}

// Packets is the total behind the reports.
func (s *Stats) Packets() int64 { return s.n }
