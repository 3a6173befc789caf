package translator

import (
	"encoding/binary"
	"hash/crc32"
)

// kind is what a datagram is by its first bytes.
type kind uint8

const (
	unknown kind = iota
	stunMsg      // 0..3 with the magic cookie
	dtlsMsg      // 20..63
	zrtp         // 16..19 with the magic cookie
	rtp          // RTP or SRTP
	rtcp         // RTCP or SRTCP
)

const (
	zrtpCookie = 0x5A525450 // "ZRTP", RFC 6189 §5
	stunCookie = 0x2112A442 // RFC 8489 §5
	// zrtpMin is a ZRTP packet with the shortest message: header 12, message 12, CRC 4.
	zrtpMin = 28
	rtpMin  = 12
	dtlsMin = 13 // a record's header (RFC 6347 §4.1)
	rtcpMin = 8
)

// classify reads no more than the first bytes (RFC 7983 §7, RFC 5761 §4).
func classify(b []byte) kind {
	if len(b) < rtcpMin {
		return unknown
	}
	switch c := b[0]; {
	case c < 4:
		if len(b) >= 20 && binary.BigEndian.Uint32(b[4:]) == stunCookie {
			return stunMsg
		}
	case c >= 16 && c < 20:
		if len(b) >= zrtpMin && binary.BigEndian.Uint32(b[4:]) == zrtpCookie {
			return zrtp
		}
	case c >= 20 && c < 64:
		if len(b) >= dtlsMin {
			return dtlsMsg
		}
	case c >= 128 && c < 192:
		if b[1] >= 192 && b[1] < 224 {
			return rtcp
		}
		if len(b) >= rtpMin && len(b) >= rtpMin+4*int(c&15) {
			return rtp
		}
	}
	return unknown
}

// a constant table
var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// plausible is a closer look at a packet that would latch a port: whole by its own account.
func plausible(k kind, b []byte) bool {
	switch k {
	case zrtp:
		n := len(b) - 4 // RFC 6189 §5: CRC as SCTP's, RFC 4960 appendix B, which puts it in little endian
		sum := crc32.Checksum(b[:n], castagnoli)
		return binary.LittleEndian.Uint32(b[n:]) == sum || binary.BigEndian.Uint32(b[n:]) == sum
	case rtp:
		n := headerLen(b)
		return n > 0 && len(b) > n
	case rtcp: // the first packet of a compound is in clear only up to its SSRC; its length is that of the plain
		return len(b) >= 4*(1+int(binary.BigEndian.Uint16(b[2:])))
	default:
		return false
	}
}

// headerLen is the length of an RTP packet's header with its extension, which is clear in SRTP; -1 when the packet is shorter.
func headerLen(b []byte) int {
	n := rtpMin + 4*int(b[0]&15)
	if b[0]&0x10 != 0 {
		if len(b) < n+4 {
			return -1
		}
		n += 4 + 4*int(binary.BigEndian.Uint16(b[n+2:]))
	}
	if len(b) < n {
		return -1
	}
	return n
}
