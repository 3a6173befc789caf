package rtp

// Unwrapper turns 16-bit sequence numbers into a 64-bit line: of all numbers with the same low 16 bits it takes the one
// nearest to the newest seen before. The zero value is ready.
type Unwrapper struct {
	last int64
	set  bool
}

// Unwrap returns the extended number of seq and remembers it when it is the newest.
func (u *Unwrapper) Unwrap(seq uint16) int64 {
	if !u.set {
		// Start one cycle up, so that packets from before the first one stay positive.
		u.last, u.set = 1<<16|int64(seq), true
		return u.last
	}
	x := u.last + int64(int16(seq-uint16(u.last)))
	if x > u.last {
		u.last = x
	}
	return x
}

// Peek returns the extended number of seq and remembers nothing.
func (u *Unwrapper) Peek(seq uint16) int64 {
	if !u.set {
		return 1<<16 | int64(seq)
	}
	return u.last + int64(int16(seq-uint16(u.last)))
}
