package dd

// reader takes bits from the front, most significant first. Reading past the end gives zeros and sets bad.
type reader struct {
	b   []byte
	at  int // in bits
	bad bool
}

func (r *reader) bits(n int) uint32 {
	if r.at+n > len(r.b)*8 {
		r.bad = true
		return 0
	}
	var v uint32
	for range n {
		v = v<<1 | uint32(r.b[r.at>>3]>>(7-r.at&7)&1)
		r.at++
	}
	return v
}

func (r *reader) flag() bool { return r.bits(1) != 0 }

// ns reads a value below n that is coded without waste (AV1 bitstream specification §4.10.7).
func (r *reader) ns(n uint32) uint32 {
	w := 0
	for x := n; x != 0; x >>= 1 {
		w++
	}
	m := uint32(1)<<w - n
	v := r.bits(w - 1)
	if v < m {
		return v
	}
	return v<<1 - m + r.bits(1)
}

// writer appends bits to b.
type writer struct {
	b    []byte
	free int // unused bits of the last byte
}

func (w *writer) bits(v uint32, n int) {
	for n > 0 {
		if w.free == 0 {
			w.b = append(w.b, 0)
			w.free = 8
		}
		k := min(n, w.free)
		part := v >> (n - k) & (1<<k - 1)
		w.b[len(w.b)-1] |= byte(part << (w.free - k))
		w.free -= k
		n -= k
	}
}

// copy appends the bits from..to of b.
func (w *writer) copy(b []byte, from, to int) {
	r := reader{b: b, at: from}
	for r.at < to && !r.bad {
		n := min(to-r.at, 24)
		w.bits(r.bits(n), n)
	}
}
