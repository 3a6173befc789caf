package rtp

import "encoding/binary"

// Sizes and profile numbers of the header (RFC 3550 §5.1, RFC 8285 §4.2, §4.3).
const (
	headerSize = 12 // without CSRCs and extension

	profileOneByte = 0xBEDE // one-byte header extensions
	profileTwoByte = 0x1000 // two-byte header extensions; the low 4 bits are free for the application
)

// Header is the parsed head of an RTP packet. Offsets count from the first byte of the packet.
type Header struct {
	Padding, Marker bool
	PayloadType     uint8
	Seq             uint16
	Timestamp, SSRC uint32
	CSRCs           int    // number of contributing sources
	ExtProfile      uint16 // 0 when there is no extension block
	ExtOff, ExtLen  int    // the extension elements, without their 4-byte block header
	PayloadOff      int
	PayloadEnd      int // without padding
}

// Parse reads the header of packet b and checks all bounds, so that b[PayloadOff:PayloadEnd] and Ext are safe afterwards.
// It overwrites every field of h. On an error (one of the Err constants) h is not usable.
func (h *Header) Parse(b []byte) error {
	if len(b) < headerSize {
		return ErrShort
	}
	if b[0]>>6 != 2 {
		return ErrVersion
	}
	*h = Header{
		Padding:     b[0]&0x20 != 0,
		Marker:      b[1]&0x80 != 0,
		PayloadType: b[1] & 0x7f,
		Seq:         binary.BigEndian.Uint16(b[2:]),
		Timestamp:   binary.BigEndian.Uint32(b[4:]),
		SSRC:        binary.BigEndian.Uint32(b[8:]),
		CSRCs:       int(b[0] & 0x0f),
		PayloadEnd:  len(b),
	}
	off := headerSize + 4*h.CSRCs
	if off > len(b) {
		return ErrShort
	}
	if b[0]&0x10 != 0 {
		if off+4 > len(b) {
			return ErrExtension
		}
		h.ExtProfile = binary.BigEndian.Uint16(b[off:])
		h.ExtOff = off + 4
		h.ExtLen = 4 * int(binary.BigEndian.Uint16(b[off+2:]))
		off = h.ExtOff + h.ExtLen
		if off > len(b) {
			return ErrExtension
		}
	}
	h.PayloadOff = off
	if h.Padding {
		// The last byte counts the padding, itself included; 0 is illegal (RFC 3550 §5.1).
		if off == len(b) {
			return ErrPadding
		}
		n := int(b[len(b)-1])
		if n == 0 || off+n > len(b) {
			return ErrPadding
		}
		h.PayloadEnd = len(b) - n
	}
	return nil
}

// Ext returns the data of the header extension with the given id (1..14 in one-byte form, 1..255 in two-byte form), or nil
// when the packet does not carry it. An element of length 0 (two-byte form) is an empty, non-nil slice. h must have parsed b.
func (h *Header) Ext(b []byte, id uint8) []byte {
	if h.ExtLen == 0 || id == 0 {
		return nil
	}
	e := b[h.ExtOff : h.ExtOff+h.ExtLen]
	if h.ExtProfile == profileOneByte {
		return extOneByte(e, id)
	}
	if h.ExtProfile&0xfff0 == profileTwoByte {
		return extTwoByte(e, id)
	}
	return nil
}

// extOneByte searches elements in one-byte form, RFC 8285 §4.2.
func extOneByte(e []byte, id uint8) []byte {
	for i := 0; i < len(e); {
		if e[i] == 0 { // padding
			i++
			continue
		}
		eid, n := e[i]>>4, int(e[i]&0x0f)+1
		i++
		if eid == 0 || eid == 15 || i+n > len(e) {
			return nil // both ids end the processing of the block
		}
		if eid == id {
			return e[i : i+n : i+n]
		}
		i += n
	}
	return nil
}

// extTwoByte searches elements in two-byte form, RFC 8285 §4.3.
func extTwoByte(e []byte, id uint8) []byte {
	for i := 0; i < len(e); {
		if e[i] == 0 { // padding
			i++
			continue
		}
		if i+2 > len(e) {
			return nil
		}
		eid, n := e[i], int(e[i+1])
		i += 2
		if i+n > len(e) {
			return nil
		}
		if eid == id {
			return e[i : i+n : i+n]
		}
		i += n
	}
	return nil
}

// IsRTCP tells RTCP from RTP on a common port: payload types 64..95 with the marker bit are RTCP packet types 192..223
// (RFC 5761 §4).
func IsRTCP(b []byte) bool {
	return len(b) >= 2 && b[0]>>6 == 2 && b[1] >= 192 && b[1] <= 223
}

// OutHeader is what AppendHeader writes.
type OutHeader struct {
	Marker  bool
	Padding bool // the caller appends the padding and its count
	PT      uint8
	Seq     uint16
	TS      uint32
	SSRC    uint32
}

// Ext is one header extension element to write. One with id 0 is left out, so that a fixed array can have unused places.
type Ext struct {
	ID   uint8
	Data []byte // at most 255 bytes; longer elements are left out
}

// put writes all but the extensions. extended is 0x10 if there are any.
func (h *OutHeader) put(b []byte, extended byte) {
	var b0, b1 byte = 0x80 | extended, h.PT & 0x7f
	if h.Marker {
		b1 |= 0x80
	}
	if h.Padding {
		b0 |= 0x20
	}
	_ = b[headerSize-1]
	b[0], b[1] = b0, b1
	binary.BigEndian.PutUint16(b[2:], h.Seq)
	binary.BigEndian.PutUint32(b[4:], h.TS)
	binary.BigEndian.PutUint32(b[8:], h.SSRC)
}

// AppendLike appends a header with the extensions of another one that AppendHeader wrote.
func AppendLike(dst, like []byte, h *OutHeader) []byte {
	at := len(dst)
	dst = append(dst, like...)
	h.put(dst[at:], like[0]&0x10)
	return dst
}

// FirstExt is where the data of the first extension element stands in a header that AppendHeader wrote with one.
func FirstExt(header []byte) int {
	at := headerSize + 4 + 1
	if binary.BigEndian.Uint16(header[headerSize:]) == profileTwoByte {
		at++
	}
	return at
}

// AppendHeader appends an RTP header with the given extensions to dst and returns the longer slice. It uses the one-byte form when
// all ids are 1..14 and all data 1..16 bytes long, else the two-byte form (RFC 8285 §4.1.2). The block is padded to 4 bytes.
func AppendHeader(dst []byte, h *OutHeader, exts []Ext) []byte {
	at := len(dst)
	dst = append(dst, make([]byte, headerSize)...)
	h.put(dst[at:], 0)
	n, one := 0, true
	for i := range exts {
		e := &exts[i]
		if e.ID == 0 || len(e.Data) > 255 {
			continue
		}
		n++
		one = one && e.ID <= 14 && len(e.Data) >= 1 && len(e.Data) <= 16
	}
	if n == 0 {
		return dst
	}
	dst[at] |= 0x10
	profile := uint16(profileTwoByte)
	if one {
		profile = profileOneByte
	}
	dst = append(dst, byte(profile>>8), byte(profile), 0, 0)
	body := len(dst)
	for i := range exts {
		e := &exts[i]
		if e.ID == 0 || len(e.Data) > 255 {
			continue
		}
		if one {
			dst = append(dst, e.ID<<4|byte(len(e.Data)-1))
		} else {
			dst = append(dst, e.ID, byte(len(e.Data)))
		}
		dst = append(dst, e.Data...)
	}
	for (len(dst)-body)%4 != 0 {
		dst = append(dst, 0)
	}
	binary.BigEndian.PutUint16(dst[body-2:], uint16((len(dst)-body)/4))
	return dst
}

// UnwrapRTX splits the payload of a retransmission into the original sequence number and the original payload (RFC 4588 §4).
// ok is false when there is no original payload, as in padding-only probes on the repair stream.
func UnwrapRTX(payload []byte) (osn uint16, rest []byte, ok bool) {
	if len(payload) <= 2 {
		return 0, nil, false
	}
	return binary.BigEndian.Uint16(payload), payload[2:], true
}
