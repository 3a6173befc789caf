// Package history keeps the newest packets of one incoming stream, so that any receiver's retransmission request can be answered
// (RFC 4585 §6.2.1, RFC 4588) from one shared copy.
//
// Put stores a decrypted packet under its own sequence number; Get finds it again until as many newer sequence numbers as the ring
// has slots have passed. All bytes live in one slab that is made once. A Ring has no lock, goroutine or clock and is for one user at
// a time; bytes from Get stay valid until the ring comes round to their slot.
package history

import "konzil/sfu/rtp"

// SlotSize is room for one packet: the largest UDP payload that fits an Ethernet frame.
const SlotSize = 1500

// Ring is a store of packets by sequence number. Use New.
type Ring struct {
	slab  []byte
	meta  []slot
	mask  int64
	bytes int // a slot's room
	seq   rtp.Unwrapper
	hi    int64
	any   bool

	tooLong uint64
}

type slot struct {
	index int64 // extended sequence number; 0: empty
	at    int64 // arrival, ns
	n     int32
}

// New makes a ring for size packets, which is rounded up to a power of two within 16..8192, of at most slotBytes each
// (<= 0: SlotSize).
func New(size, slotBytes int) *Ring {
	n := 16
	for n < size && n < 8192 {
		n <<= 1
	}
	if slotBytes <= 0 {
		slotBytes = SlotSize
	}
	return &Ring{slab: make([]byte, n*slotBytes), meta: make([]slot, n), mask: int64(n - 1), bytes: slotBytes}
}

// Put stores a copy of pkt. A packet older than the ring reaches back is dropped, one longer than a slot is counted and not stored.
func (r *Ring) Put(seq uint16, pkt []byte, now int64) {
	i := r.seq.Unwrap(seq)
	if !r.any || i > r.hi {
		r.hi, r.any = i, true
	}
	if i <= r.hi-int64(len(r.meta)) {
		return
	}
	s := &r.meta[i&r.mask]
	if len(pkt) > r.bytes {
		r.tooLong++
		*s = slot{}
		return
	}
	off := int(i&r.mask) * r.bytes
	*s = slot{index: i, at: now, n: int32(copy(r.slab[off:off+r.bytes], pkt))}
}

// Get returns the packet with that sequence number, if it is still there.
func (r *Ring) Get(seq uint16) ([]byte, bool) {
	b, _, ok := r.GetAt(seq)
	return b, ok
}

// GetAt is Get, and the time of arrival as given to Put.
func (r *Ring) GetAt(seq uint16) (pkt []byte, at int64, ok bool) {
	if !r.any {
		return nil, 0, false
	}
	i := r.seq.Peek(seq)
	s := &r.meta[i&r.mask]
	if s.index != i || i <= r.hi-int64(len(r.meta)) {
		return nil, 0, false
	}
	off := int(i&r.mask) * r.bytes
	return r.slab[off : off+int(s.n) : off+int(s.n)], s.at, true
}

// TooLong counts packets that did not fit a slot.
func (r *Ring) TooLong() uint64 { return r.tooLong }
