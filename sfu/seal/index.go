package seal

// indexWindow is how far behind the newest index a late packet may still be sent; a multiple of 64.
const indexWindow = 1024

// Index extends the sequence numbers of one outgoing SSRC to packet indexes and hands each out once.
// The zero value is ready; it must live as long as the session's keys.
type Index struct {
	top  uint64
	any  bool
	seen [indexWindow / 64]uint64
}

// Next returns the packet index of seq; ok is false when it was used before or is too old to know.
func (x *Index) Next(seq uint16) (index uint64, ok bool) {
	if index, ok = x.guess(seq); ok {
		x.note(index)
	}
	return index, ok
}

// guess is the index that seq most likely belongs to (RFC 3711 §3.3.1); ok is false when it is not fresh. A nil x has seen nothing.
func (x *Index) guess(seq uint16) (index uint64, ok bool) {
	if x == nil || !x.any {
		return uint64(seq), true
	}
	d := int16(seq - uint16(x.top))
	if d < 0 && uint64(-int32(d)) > x.top {
		return 0, false
	}
	index = x.top + uint64(d)
	return index, x.fresh(index)
}

// fresh says that an index was not noted yet and is not too old to know. A nil x has seen nothing.
func (x *Index) fresh(i uint64) bool {
	return x == nil || !x.any || i > x.top || x.top-i < indexWindow && !x.has(i)
}

// note marks an index that is fresh.
func (x *Index) note(i uint64) {
	switch {
	case !x.any:
		x.any = true
		x.top = i
		x.set(i)
	case i > x.top:
		x.advance(i)
	default:
		x.set(i)
	}
}

// Sent returns the index of a sequence number that was handed out and is still known: for an identical retransmission.
func (x *Index) Sent(seq uint16) (index uint64, ok bool) {
	d := int16(seq - uint16(x.top))
	back := uint64(-int32(d))
	if !x.any || d > 0 || back >= indexWindow || back > x.top || !x.has(x.top-back) {
		return 0, false
	}
	return x.top - back, true
}

func (x *Index) advance(n uint64) {
	if n-x.top >= indexWindow {
		clear(x.seen[:])
	} else {
		for i := x.top + 1; i < n; i++ {
			x.seen[i%indexWindow/64] &^= 1 << (i % 64)
		}
	}
	x.top = n
	x.set(n)
}

func (x *Index) set(i uint64)      { x.seen[i%indexWindow/64] |= 1 << (i % 64) }
func (x *Index) has(i uint64) bool { return x.seen[i%indexWindow/64]&(1<<(i%64)) != 0 }
