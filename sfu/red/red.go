// Package red reads and writes redundant audio (RFC 2198): a packet that repeats the payloads of the packets before it, so that the loss of
// one or two in a row is not heard.
//
// Primary takes the newest block out, for receivers without RED. A Ring keeps the payloads of the newest packets of a source, and Append
// makes a redundant payload with them; it is the same for all receivers, since blocks tell their times as distances. No goroutine, lock or
// clock; a Ring is for one user at a time.
package red

import "encoding/binary"

// Limits of a block: the header has 10 bits for its length and 14 for its distance in time (RFC 2198 §3).
const (
	maxBlock  = 1<<10 - 1
	maxOffset = 1<<14 - 1
	// maxDistance is how many packets back a block can be.
	maxDistance = 2
	// maxKept is the longest payload that is repeated: Opus at 128 kb/s has 320 bytes in 20 ms. Longer ones would not fit a datagram twice.
	maxKept = 480
	// ringSize leaves room for packets that change places.
	ringSize = 2 * maxDistance
)

// Primary returns the primary block of a payload and its payload type, nil when it is malformed. Redundant blocks have headers of four
// bytes with their lengths, the primary has one of one byte and what is left.
func Primary(b []byte) (payload []byte, pt uint8) {
	skip := 0
	for len(b) > 0 && b[0]&0x80 != 0 {
		if len(b) < 4 {
			return nil, 0
		}
		skip += int(b[2]&3)<<8 | int(b[3])
		b = b[4:]
	}
	if len(b) < 1+skip {
		return nil, 0
	}
	return b[1+skip:], b[0] & 0x7f
}

// SetPT gives all blocks of a well-formed payload the payload type pt.
func SetPT(b []byte, pt uint8) {
	for len(b) >= 4 && b[0]&0x80 != 0 {
		b[0] = 0x80 | pt
		b = b[4:]
	}
	if len(b) > 0 && b[0]&0x80 == 0 {
		b[0] = pt
	}
}

// Ring keeps the newest payloads of a source. The zero value is ready.
type Ring struct {
	kept [ringSize]block
}

type block struct {
	any  bool
	seq  uint16
	ts   uint32
	n    int
	data [maxKept]byte
}

// Put keeps a payload for the packets that follow. Longer ones than are repeated, and those from before the kept ones, are not kept.
func (r *Ring) Put(seq uint16, ts uint32, payload []byte) {
	b := &r.kept[seq%ringSize]
	if b.any && int16(seq-b.seq) <= 0 && int16(b.seq-seq) < 64 {
		return
	}
	*b = block{any: len(payload) > 0 && len(payload) <= maxKept, seq: seq, ts: ts, n: len(payload)}
	copy(b.data[:], payload)
}

// Append appends the redundant payload of packet seq to dst, with up to distance kept blocks of packets before it, oldest first. ok is
// false, and dst as it was, when there is none to repeat or the result would not fit dst's capacity.
func (r *Ring) Append(dst []byte, pt uint8, seq uint16, ts uint32, payload []byte, distance int) (out []byte, ok bool) {
	var use [maxDistance]*block
	n, size := 0, 1+len(payload)
	for d := min(distance, maxDistance); d > 0; d-- {
		b := &r.kept[(seq-uint16(d))%ringSize]
		if off := ts - b.ts; !b.any || b.seq != seq-uint16(d) || off == 0 || off > maxOffset {
			continue
		}
		use[n] = b
		n++
		size += 4 + b.n
	}
	if n == 0 || len(payload) > maxBlock || len(dst)+size > cap(dst) {
		return dst, false
	}
	for _, b := range use[:n] {
		dst = binary.BigEndian.AppendUint32(dst, 1<<31|uint32(pt&0x7f)<<24|(ts-b.ts)<<10|uint32(b.n))
	}
	dst = append(dst, pt&0x7f)
	for _, b := range use[:n] {
		dst = append(dst, b.data[:b.n]...)
	}
	return append(dst, payload...), true
}
