package codec

// maxVP9Spatial is how many spatial layers a VP9 stream can have: N_S has three bits (RFC 9628 §4.2.1).
const maxVP9Spatial = 8

// VP9 is the payload descriptor of one VP9 packet (RFC 9628 §4.2).
type VP9 struct {
	Start        bool // B bit: first packet of a layer frame
	End          bool // E bit: last packet of a layer frame
	Keyframe     bool // first packet of a picture that refers to no other
	Predicted    bool // P bit: refers to earlier pictures
	Flexible     bool // F bit
	NotRef       bool // Z bit: not a reference for upper spatial layers
	HasPictureID bool
	PictureID    uint16
	Long         bool
	HasLayers    bool  // L bit
	TID          uint8 // temporal layer
	SID          uint8 // spatial layer
	SwitchUp     bool  // U bit: switching up to this temporal layer is safe from here
	InterLayer   bool  // D bit: refers to the spatial layer below
	HasTL0       bool
	TL0          uint8
	Refs         [3]uint8 // P_DIFF of flexible mode: how many pictures back the references are, 1..127
	NumRefs      uint8
	Spatial      int // number of spatial layers by the scalability structure, 0: not told here
	Width        uint16
	Height       uint16 // of the highest spatial layer in the scalability structure
	HasSizes     bool   // the structure tells the size of each spatial layer
	Widths       [maxVP9Spatial]uint16
	Heights      [maxVP9Spatial]uint16
	PicOff       int
	TL0Off       int
	HeaderLen    int
}

// ParseVP9 reads the descriptor. ok is false when the payload ends within it or right behind it.
func ParseVP9(p []byte) (d VP9, ok bool) {
	if len(p) < 2 {
		return d, false
	}
	b := p[0]
	d.Predicted, d.Flexible, d.Start, d.End = b&0x40 != 0, b&0x10 != 0, b&0x08 != 0, b&0x04 != 0
	d.NotRef = b&0x01 != 0
	i := 1
	if b&0x80 != 0 { // I
		d.HasPictureID, d.PicOff = true, i
		var ok bool
		if d.PictureID, d.Long, i, ok = pictureID(p, i); !ok {
			return d, false
		}
	}
	if b&0x20 != 0 { // L
		if i >= len(p) {
			return d, false
		}
		d.HasLayers = true
		d.TID, d.SwitchUp, d.SID, d.InterLayer = p[i]>>5, p[i]&0x10 != 0, p[i]>>1&7, p[i]&1 != 0
		i++
		if !d.Flexible {
			if i >= len(p) {
				return d, false
			}
			d.HasTL0, d.TL0Off, d.TL0 = true, i, p[i]
			i++
		}
	}
	if d.Flexible && d.Predicted { // up to three P_DIFF, each with a bit that says whether another follows
		for n := 0; ; n++ {
			if i >= len(p) || n == 3 {
				return d, false
			}
			d.Refs[n], d.NumRefs = p[i]>>1, uint8(n+1)
			i++
			if p[i-1]&1 == 0 {
				break
			}
		}
	}
	if b&0x02 != 0 { // V
		if i, ok = d.structure(p, i); !ok {
			return d, false
		}
	}
	if i >= len(p) {
		return d, false
	}
	d.HeaderLen = i
	d.Keyframe = d.Start && !d.Predicted && d.SID == 0
	return d, true
}

// structure reads the scalability structure at p[i:] (RFC 9628 §4.2.1) and returns the offset behind it.
func (d *VP9) structure(p []byte, i int) (int, bool) {
	if i >= len(p) {
		return i, false
	}
	h := p[i]
	d.Spatial = int(h>>5) + 1
	i++
	if h&0x10 != 0 { // Y: sizes
		if i+4*d.Spatial > len(p) {
			return i, false
		}
		d.HasSizes = true
		for k := range d.Spatial {
			d.Widths[k] = uint16(p[i])<<8 | uint16(p[i+1])
			d.Heights[k] = uint16(p[i+2])<<8 | uint16(p[i+3])
			i += 4
		}
		d.Width, d.Height = d.Widths[d.Spatial-1], d.Heights[d.Spatial-1]
	}
	if h&0x08 != 0 { // G: picture group
		if i >= len(p) {
			return i, false
		}
		n := int(p[i])
		i++
		for range n {
			if i >= len(p) {
				return i, false
			}
			i += 1 + int(p[i]>>2&3)
		}
	}
	return i, i <= len(p)
}

// PatchVP9 writes another picture id and TL0PICIDX into the payload that d was parsed from (or a copy of it), as far as it has
// them. The width of the picture id stays: of a 7-bit id the low 7 bits are written.
func PatchVP9(p []byte, d *VP9, pictureID uint16, tl0 uint8) {
	patchPicture(p, d.HasPictureID, d.Long, d.PicOff, pictureID)
	if d.HasTL0 {
		p[d.TL0Off] = tl0
	}
}
