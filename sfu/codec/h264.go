package codec

// H264Size returns the size in pixels that a packet's sequence parameter set tells (RFC 6184 §5.6 to §5.8; H.264 §7.3.2.1.1), after cropping. ok is
// false when the packet has none at its beginning, or it is cut or encrypted.
func H264Size(p []byte) (width, height int, ok bool) {
	if len(p) < 2 {
		return 0, 0, false
	}
	switch p[0] & 0x1f {
	case nalSPS:
		return parseSPS(p[1:])
	case nalSTAPA:
		for p = p[1:]; len(p) > 2; {
			n := int(p[0])<<8 | int(p[1])
			if n == 0 || 2+n > len(p) {
				return 0, 0, false
			}
			if p[2]&0x1f == nalSPS {
				return parseSPS(p[3 : 2+n])
			}
			p = p[2+n:]
		}
	}
	return 0, 0, false
}

// bitReader reads the bits of a NAL unit's payload. Emulation prevention bytes are skipped (H.264 §7.4.1).
type bitReader struct {
	b     []byte
	at    int  // byte
	bit   uint // of the byte, 0 is the highest
	zeros int  // zero bytes before at
	bad   bool
}

func (r *bitReader) u1() uint32 {
	if r.at >= len(r.b) {
		r.bad = true
		return 0
	}
	if r.bit == 0 && r.zeros >= 2 && r.b[r.at] == 3 {
		r.at++
		r.zeros = 0
		return r.u1()
	}
	v := uint32(r.b[r.at]>>(7-r.bit)) & 1
	if r.bit++; r.bit == 8 {
		if r.b[r.at] == 0 {
			r.zeros++
		} else {
			r.zeros = 0
		}
		r.bit = 0
		r.at++
	}
	return v
}

func (r *bitReader) u(n int) (v uint32) {
	for range n {
		v = v<<1 | r.u1()
	}
	return v
}

// ue is an unsigned exponential Golomb code (H.264 §9.1).
func (r *bitReader) ue() uint32 {
	n := 0
	for r.u1() == 0 && !r.bad {
		if n++; n > 31 {
			r.bad = true
			return 0
		}
	}
	return uint32(uint64(1)<<n-1) + r.u(n)
}

// skipScaling reads over one scaling list (H.264 §7.3.2.1.1.1).
func (r *bitReader) skipScaling(n int) {
	last, next := int32(8), int32(8)
	for range n {
		if next != 0 {
			k := r.ue()
			delta := int32(k+1) / 2
			if k&1 == 0 {
				delta = -delta
			}
			next = (last + delta + 256) & 0xff
		}
		if next != 0 {
			last = next
		}
	}
}

// maxH264Side bounds what is believed: level 6.2 has no picture wider than 16888 pixels (H.264 table A-1).
const maxH264Side = 16888

func parseSPS(b []byte) (width, height int, ok bool) {
	r := bitReader{b: b}
	profile := r.u(8)
	r.u(16) // constraints, level
	r.ue()  // seq_parameter_set_id
	chroma, planes := uint32(1), uint32(0)
	switch profile {
	case 100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135:
		if chroma = r.ue(); chroma == 3 {
			planes = r.u1()
		}
		r.ue() // bit depths
		r.ue()
		r.u1()
		if r.u1() == 1 {
			lists := 8
			if chroma == 3 {
				lists = 12
			}
			for i := range lists {
				if r.u1() == 1 {
					r.skipScaling([2]int{16, 64}[min(i/6, 1)])
				}
				if r.bad {
					return 0, 0, false
				}
			}
		}
	}
	r.ue() // log2_max_frame_num_minus4
	switch r.ue() {
	case 0:
		r.ue()
	case 1:
		r.u1()
		r.ue()
		r.ue()
		n := r.ue()
		if n > 255 {
			return 0, 0, false
		}
		for range n {
			r.ue()
		}
	}
	r.ue() // max_num_ref_frames
	r.u1()
	w, h := int64(r.ue())+1, int64(r.ue())+1
	frames := r.u1() // frame_mbs_only_flag
	if frames == 0 {
		r.u1()
	}
	r.u1()
	w, h = w*16, h*16*int64(2-frames)
	if r.u1() == 1 {
		ux, uy := int64(1), int64(2-frames)
		if planes == 0 && chroma != 0 {
			ux *= [4]int64{1, 2, 2, 1}[min(chroma, 3)]
			uy *= [4]int64{1, 2, 1, 1}[min(chroma, 3)]
		}
		left, right, top, bottom := int64(r.ue()), int64(r.ue()), int64(r.ue()), int64(r.ue())
		w -= ux * (left + right)
		h -= uy * (top + bottom)
	}
	if r.bad || w <= 0 || h <= 0 || w > maxH264Side || h > maxH264Side {
		return 0, 0, false
	}
	return int(w), int(h), true
}
