package dd

// SetNumber writes another frame number into the extension b, which Parse accepted.
func SetNumber(b []byte, number uint16) {
	b[1], b[2] = byte(number>>8), byte(number)
}

// Append appends the extension b, of which d was parsed with structure s in force (its own, when it brings one), with another mask of
// active decode targets to dst and returns the longer slice. Bits of active that have no decode target are ignored.
func Append(dst, b []byte, d *Descriptor, s *Structure, active uint32) []byte {
	w := writer{b: append(dst, b[:mandatory]...)}
	w.bits(d.flags|flagActive, 5)
	at := 8*mandatory + 5
	if !d.Extended {
		at = 8 * mandatory
	}
	if d.Attached {
		w.copy(b, at, at+s.bits)
		at += s.bits
	}
	w.bits(active&s.All(), s.Targets)
	if d.HasActive {
		at += s.Targets
	}
	w.copy(b, at, d.used)
	return w.b
}
