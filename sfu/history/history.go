// Package history keeps the newest packets of one incoming stream, so that any receiver's retransmission request can be answered
// (RFC 4585 §6.2.1, RFC 4588) from one shared copy.
//
// Put stores a decrypted packet under its own sequence number; Get finds it again until as many newer sequence numbers as the ring
// has slots have passed. All bytes live in one slab, which doubles while it holds less than a given time. A Ring has no lock, goroutine
// or clock and is for one user at a time; bytes from Get stay valid until the next Put.
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
	most  int // slots that it may grow to
	keep  int64
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

// New makes a ring for first packets, which doubles up to most while it would lose what is younger than keep (ns). Both are rounded up to a
// power of two within 16..8192. A packet has at most slotBytes (<= 0: SlotSize).
func New(first, most int, keep int64, slotBytes int) *Ring {
	if slotBytes <= 0 {
		slotBytes = SlotSize
	}
	r := &Ring{bytes: slotBytes, most: powerOf2(most), keep: keep}
	r.grow(min(powerOf2(first), r.most))
	return r
}

// powerOf2 is the next power of two from n on, 16 to 8192.
func powerOf2(n int) int {
	p := 16
	for p < n && p < 8192 {
		p <<= 1
	}
	return p
}

// grow makes the ring n slots long.
func (r *Ring) grow(n int) {
	old := *r
	r.slab, r.meta, r.mask = make([]byte, n*r.bytes), make([]slot, n), int64(n-1)
	for at, s := range old.meta {
		if s.n > 0 {
			r.meta[s.index&r.mask] = s
			copy(r.slab[int(s.index&r.mask)*r.bytes:], old.slab[at*r.bytes:][:s.n])
		}
	}
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
	if s.n > 0 && now-s.at < r.keep && len(r.meta) < r.most {
		r.grow(2 * len(r.meta))
		s = &r.meta[i&r.mask]
	}
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
