package codec

// VP8 is the payload descriptor of one VP8 packet (RFC 7741 §4.2) and, of a keyframe, the picture's size.
type VP8 struct {
	Start        bool // first packet of a frame: S bit and partition 0
	Keyframe     bool // first packet of a keyframe
	NonRef       bool // N bit: no other frame refers to this one
	HasPictureID bool
	PictureID    uint16 // 7 or 15 bits
	Long         bool   // 15 bits
	HasTL0       bool
	TL0          uint8 // TL0PICIDX
	HasTID       bool
	TID          uint8 // temporal layer, 0..3
	LayerSync    bool  // Y bit: refers to the base layer only
	HasKeyIdx    bool
	KeyIdx       uint8
	PicOff       int // offset of the picture id in the payload, when there is one
	TL0Off       int // offset of TL0PICIDX in the payload, when there is one
	HeaderLen    int // length of the descriptor
	Width        uint16
	Height       uint16 // of a keyframe whose start code could be read, else 0
}

// ParseVP8 reads the descriptor. ok is false when the payload ends within it or right behind it.
func ParseVP8(p []byte) (d VP8, ok bool) {
	if len(p) < 2 {
		return d, false
	}
	d.NonRef = p[0]&0x20 != 0
	d.Start = p[0]&0x10 != 0 && p[0]&0x07 == 0
	i := 1
	if p[0]&0x80 != 0 { // X
		x := p[1]
		i = 2
		if x&0x80 != 0 { // I
			d.HasPictureID, d.PicOff = true, i
			var ok bool
			if d.PictureID, d.Long, i, ok = pictureID(p, i); !ok {
				return d, false
			}
		}
		if x&0x40 != 0 { // L
			if i >= len(p) {
				return d, false
			}
			d.HasTL0, d.TL0Off, d.TL0 = true, i, p[i]
			i++
		}
		if x&0x30 != 0 { // T or K
			if i >= len(p) {
				return d, false
			}
			if x&0x20 != 0 {
				d.HasTID, d.TID, d.LayerSync = true, p[i]>>6, p[i]&0x20 != 0
			}
			if x&0x10 != 0 {
				d.HasKeyIdx, d.KeyIdx = true, p[i]&0x1f
			}
			i++
		}
	}
	if i >= len(p) {
		return d, false
	}
	d.HeaderLen = i
	// The payload header stands only in the first packet; P == 0 is a keyframe (RFC 7741 §4.3, RFC 6386 §9.1).
	if d.Start && p[i]&1 == 0 {
		d.Keyframe = true
		if f := p[i:]; len(f) >= 10 && f[3] == 0x9d && f[4] == 0x01 && f[5] == 0x2a {
			d.Width = (uint16(f[7])<<8 | uint16(f[6])) & 0x3fff
			d.Height = (uint16(f[9])<<8 | uint16(f[8])) & 0x3fff
		}
	}
	return d, true
}

// PatchVP8 writes another picture id and TL0PICIDX into the payload that d was parsed from (or a copy of it), as far as it has
// them. The width of the picture id stays: of a 7-bit id the low 7 bits are written.
func PatchVP8(p []byte, d *VP8, pictureID uint16, tl0 uint8) {
	patchPicture(p, d.HasPictureID, d.Long, d.PicOff, pictureID)
	if d.HasTL0 {
		p[d.TL0Off] = tl0
	}
}

// pictureID reads the picture id at p[i], of 7 or, with the M bit, of 15 bits; VP9 has the same (RFC 7741 §4.2, RFC 9628 §4.2). next is the offset behind it.
func pictureID(p []byte, i int) (id uint16, long bool, next int, ok bool) {
	switch {
	case i >= len(p):
		return 0, false, i, false
	case p[i]&0x80 == 0:
		return uint16(p[i]), false, i + 1, true
	case i+1 >= len(p):
		return 0, false, i, false
	}
	return uint16(p[i]&0x7f)<<8 | uint16(p[i+1]), true, i + 2, true
}

// patchPicture writes a picture id over the one at p[off], if there is one, in the same width.
func patchPicture(p []byte, there, long bool, off int, id uint16) {
	switch {
	case !there:
	case long:
		p[off], p[off+1] = 0x80|byte(id>>8), byte(id)
	default:
		p[off] = byte(id) & 0x7f
	}
}
