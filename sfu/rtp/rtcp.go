package rtp

import "encoding/binary"

// RTCP packet types (RFC 3550 §12.1, RFC 4585 §6.1).
const (
	TypeSR    = 200
	TypeRR    = 201
	TypeSDES  = 202
	TypeRTPFB = 205
	TypePSFB  = 206
)

// Feedback message types: the Count of a TypeRTPFB or TypePSFB packet (RFC 4585 §6.2, §6.3, RFC 5104 §4.3.1).
const (
	FmtNACK = 1  // RTPFB
	FmtTWCC = 15 // RTPFB, draft-holmer-rmcat-transport-wide-cc-extensions-01
	FmtPLI  = 1  // PSFB
	FmtFIR  = 4  // PSFB
	FmtAFB  = 15 // PSFB, application layer: REMB
)

// RTCP is one packet of a compound. Body and Raw point into the compound.
type RTCP struct {
	Type  uint8
	Count uint8  // report blocks, source chunks or the feedback message type
	SSRC  uint32 // of the sender; 0 when the packet has none (a BYE or SDES that lists nobody)
	Body  []byte // after the sender's SSRC, without padding
	Raw   []byte // the whole packet
}

// Walk calls f for each packet of the compound b until f returns false. It returns ErrVersion, ErrRTCP or ErrPadding at the first
// malformed packet; f has then been called for those before. It does not demand that a compound starts with a report (RFC 5506).
func Walk(b []byte, f func(p RTCP) bool) error {
	if len(b) == 0 {
		return ErrShort
	}
	for len(b) > 0 {
		if len(b) < 4 {
			return ErrShort
		}
		if b[0]>>6 != 2 {
			return ErrVersion
		}
		n := 4 * (int(binary.BigEndian.Uint16(b[2:])) + 1)
		if n > len(b) {
			return ErrRTCP
		}
		p := RTCP{Type: b[1], Count: b[0] & 0x1f, Raw: b[:n:n]}
		end := n
		if b[0]&0x20 != 0 {
			pad := int(b[n-1])
			if pad == 0 || pad > n-4 {
				return ErrPadding
			}
			end -= pad
		}
		if end >= 8 {
			p.SSRC = binary.BigEndian.Uint32(b[4:])
			p.Body = b[8:end:end]
		}
		if !f(p) {
			return nil
		}
		b = b[n:]
	}
	return nil
}

// SR reads the sender information of a sender report from its body (RFC 3550 §6.4.1).
func SR(body []byte) (ntp uint64, rtpTS, packets, octets uint32, ok bool) {
	if len(body) < srInfo {
		return 0, 0, 0, 0, false
	}
	return binary.BigEndian.Uint64(body), binary.BigEndian.Uint32(body[8:]), binary.BigEndian.Uint32(body[12:]),
		binary.BigEndian.Uint32(body[16:]), true
}

const (
	srInfo     = 20 // bytes of sender information
	reportSize = 24 // bytes of a report block
)

// ReportBlock is the view of a receiver on one stream (RFC 3550 §6.4.1).
type ReportBlock struct {
	SSRC       uint32
	Fraction   uint8  // lost since the last report, in 1/256
	Lost       int32  // in all, 24 bits signed
	HighestSeq uint32 // with cycles
	Jitter     uint32 // in timestamp units
	LSR, DLSR  uint32 // middle 32 bits of the last SR's NTP time; delay since then in 1/65536 s
}

// EachReportBlock calls f for every report block of an SR or RR that is complete.
func EachReportBlock(p RTCP, f func(r ReportBlock)) {
	b := p.Body
	switch {
	case p.Type == TypeSR && len(b) >= srInfo:
		b = b[srInfo:]
	case p.Type == TypeRR:
	default:
		return
	}
	for i := 0; i < int(p.Count) && len(b) >= reportSize; i, b = i+1, b[reportSize:] {
		f(ReportBlock{
			SSRC:       binary.BigEndian.Uint32(b),
			Fraction:   b[4],
			Lost:       int32(binary.BigEndian.Uint32(b[4:])<<8) >> 8,
			HighestSeq: binary.BigEndian.Uint32(b[8:]),
			Jitter:     binary.BigEndian.Uint32(b[12:]),
			LSR:        binary.BigEndian.Uint32(b[16:]),
			DLSR:       binary.BigEndian.Uint32(b[20:]),
		})
	}
}

// Feedback splits the body of an RTPFB or PSFB packet into the media SSRC and the feedback control information (RFC 4585 §6.1).
// A PLI is complete with that: its target is media (RFC 4585 §6.3.1).
func Feedback(body []byte) (media uint32, fci []byte, ok bool) {
	if len(body) < 4 {
		return 0, nil, false
	}
	return binary.BigEndian.Uint32(body), body[4:], true
}

// EachNACK calls f for every sequence number that a generic NACK asks for (RFC 4585 §6.2.1).
func EachNACK(fci []byte, f func(seq uint16)) {
	for ; len(fci) >= 4; fci = fci[4:] {
		pid, mask := binary.BigEndian.Uint16(fci), binary.BigEndian.Uint16(fci[2:])
		f(pid)
		for ; mask != 0; mask >>= 1 {
			pid++
			if mask&1 != 0 {
				f(pid)
			}
		}
	}
}

// EachFIR calls f for every target of a full intra request with its command number (RFC 5104 §4.3.1.1).
func EachFIR(fci []byte, f func(ssrc uint32, seqnr uint8)) {
	for ; len(fci) >= 8; fci = fci[8:] {
		f(binary.BigEndian.Uint32(fci), fci[4])
	}
}

// REMB reads the bitrate, bits per second, of a receiver estimated maximum bitrate message (draft-alvestrand-rmcat-remb-03 §2.2).
func REMB(fci []byte) (bps uint64, ok bool) {
	if len(fci) < 8 || string(fci[:4]) != "REMB" {
		return 0, false
	}
	exp := fci[5] >> 2
	mantissa := uint64(fci[5]&3)<<16 | uint64(fci[6])<<8 | uint64(fci[7])
	if exp > 45 { // would not fit 64 bits with an 18-bit mantissa
		return 0, false
	}
	return mantissa << exp, true
}
