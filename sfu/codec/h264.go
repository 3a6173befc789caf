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

// parseSPS reads the picture's size from a sequence parameter set (H.264 §7.3.2.1.1), after the byte of the NAL unit's type.
func parseSPS(b []byte) (width, height int, ok bool) {
	r := bitReader{b: b}
	profile := r.u(8)
	r.u(16) // constraint flags, level_idc
	r.ue()  // seq_parameter_set_id
	chroma, planes := r.chromaFormat(profile)
	r.ue() // log2_max_frame_num_minus4
	r.skipPicOrder()
	r.ue() // max_num_ref_frames
	r.u1() // gaps_in_frame_num_value_allowed_flag
	w, h := int64(r.ue())+1, int64(r.ue())+1
	fields := int64(2 - r.u1()) // of a frame: 1 with frame_mbs_only_flag
	if fields == 2 {
		r.u1() // mb_adaptive_frame_field_flag
	}
	r.u1() // direct_8x8_inference_flag
	w, h = w*16, h*16*fields
	if r.u1() == 1 { // frame_cropping_flag: in units of the chroma samples (table 6-1)
		ux, uy := int64(1), fields
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

// chromaFormat reads what only some profiles have: chroma_format_idc and separate_colour_plane_flag, then bit depths and scaling lists,
// which are passed over. The other profiles are 4:2:0.
func (r *bitReader) chromaFormat(profile uint32) (chroma, planes uint32) {
	switch profile {
	case 100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135:
	default:
		return 1, 0
	}
	if chroma = r.ue(); chroma == 3 {
		planes = r.u1()
	}
	r.ue()           // bit_depth_luma_minus8
	r.ue()           // bit_depth_chroma_minus8
	r.u1()           // qpprime_y_zero_transform_bypass_flag
	if r.u1() == 0 { // seq_scaling_matrix_present_flag
		return chroma, planes
	}
	lists := 8
	if chroma == 3 {
		lists = 12
	}
	for i := 0; i < lists && !r.bad; i++ {
		if r.u1() == 1 {
			r.skipScaling([2]int{16, 64}[min(i/6, 1)])
		}
	}
	return chroma, planes
}

// maxRefFrames bounds num_ref_frames_in_pic_order_cnt_cycle (H.264 §7.4.2.1.1).
const maxRefFrames = 255

// skipPicOrder reads over how pictures are ordered.
func (r *bitReader) skipPicOrder() {
	switch r.ue() { // pic_order_cnt_type
	case 0:
		r.ue() // log2_max_pic_order_cnt_lsb_minus4
	case 1:
		r.u1() // delta_pic_order_always_zero_flag
		r.ue() // offset_for_non_ref_pic
		r.ue() // offset_for_top_to_bottom_field
		n := r.ue()
		if n > maxRefFrames {
			r.bad = true
			return
		}
		for range n {
			r.ue() // offset_for_ref_frame
		}
	}
}
