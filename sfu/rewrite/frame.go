package rewrite

import "konzil/sfu/codec"

// frameWindow is how many frames back late packets can find their frame: about four seconds at 30 frames/s. Of 7-bit picture ids only
// half the circle can be told apart.
const frameWindow = 128

type frameSlot struct {
	out   uint16
	state uint8
}

// frames decides frame by frame what goes on, and numbers the pictures. It works like sequence, on picture ids.
type frames struct {
	ring *[frameWindow]frameSlot // made when the first picture id comes
	hi   uint16                  // newest incoming picture id
	n    int                     // ring entries back from hi; 0: no picture id seen in this layer
	mask uint16                  // 0x7f or 0x7fff, the circle of incoming ids

	outHi  uint16 // newest outgoing picture id given or promised
	outAny bool

	tl0Off uint8 // out = in + tl0Off, within the layer
	tl0Hi  uint8 // newest outgoing TL0PICIDX
	tl0Set bool  // tl0Off is valid for this layer
	tl0Any bool  // tl0Hi is valid

	want    uint8 // highest temporal layer wanted
	active  uint8 // highest temporal layer forwarded
	before  uint8 // the active one before the last change
	since   uint16
	changed bool // a change is remembered in before and since

	lastTS  uint32 // without picture ids: the frame of the last decision
	lastOn  bool
	lastAny bool
}

type frameOut struct {
	pic uint16
	tl0 uint8
}

func (f *frames) reset() { *f = frames{ring: f.ring} }

// newLayer forgets the layer before; the outgoing numbers go on.
func (f *frames) newLayer(maxTID uint8) {
	f.n, f.tl0Set, f.changed, f.lastAny = 0, false, false, false
	f.want, f.active = maxTID, maxTID
}

// resync forgets the frames before, within a layer.
func (f *frames) resync() { f.n, f.changed, f.lastAny = 0, false, false }

// limit changes the highest wanted temporal layer.
func (f *frames) limit(maxTID uint8) {
	f.want = maxTID
	if maxTID < f.active {
		f.before, f.since, f.changed = f.active, f.hi+1, f.n > 0
		f.active = maxTID
	}
}

// frame finds or makes the place of in's frame. newest: the packet is the newest of its layer. ok is false when the frame is left out.
func (f *frames) frame(in *In, newest bool) (o frameOut, ok bool) {
	v := in.VP8
	if !v.HasPictureID {
		if !f.byTimestamp(in, newest) {
			return o, false
		}
	} else if o.pic, ok = f.byPicture(v, newest); !ok {
		return o, false
	}
	if v.HasTL0 {
		if !f.tl0Set {
			f.tl0Set = true
			if f.tl0Any {
				f.tl0Off = f.tl0Hi + 1 - v.TL0
			} else {
				f.tl0Off = 0
			}
		}
		o.tl0 = v.TL0 + f.tl0Off
		if !f.tl0Any || int8(o.tl0-f.tl0Hi) > 0 {
			f.tl0Hi, f.tl0Any = o.tl0, true
		}
	}
	return o, true
}

// byTimestamp decides for streams without picture ids, where a frame is known by its timestamp only: all packets of the newest frame
// share a decision, older ones are judged by their temporal layer.
func (f *frames) byTimestamp(in *In, newest bool) bool {
	if f.lastAny && f.lastTS == in.TS {
		return f.lastOn
	}
	on := f.wanted(in.VP8, newest, 0, false)
	if newest {
		f.lastTS, f.lastOn, f.lastAny = in.TS, on, true
	}
	return on
}

// wanted decides for a frame not seen before, and carries out a pending raise.
func (f *frames) wanted(v *codec.VP8, newest bool, pic uint16, hasPic bool) bool {
	if !v.HasTID || v.TID == 0 {
		if v.Keyframe && newest {
			f.raise(f.want, pic, hasPic)
		}
		return true
	}
	if !newest && f.changed && hasPic && f.older(pic, f.since) {
		return v.TID <= f.before
	}
	if newest && v.TID > f.active && v.TID <= f.want && v.LayerSync {
		f.raise(v.TID, pic, hasPic)
	}
	return v.TID <= f.active
}

func (f *frames) raise(to uint8, pic uint16, hasPic bool) {
	if to <= f.active {
		return
	}
	f.before, f.since, f.changed = f.active, pic, hasPic
	f.active = to
}

// diff is how far a is after b on the circle of incoming picture ids.
func (f *frames) diff(a, b uint16) int {
	d := (a - b) & f.mask
	if d > f.mask>>1 {
		return int(d) - int(f.mask) - 1
	}
	return int(d)
}

func (f *frames) older(a, b uint16) bool { return f.diff(a, b) < 0 }

// reach is how many frames back can be told apart.
func (f *frames) reach() int { return min(frameWindow, int(f.mask>>1)) }

// byPicture is the counterpart of sequence.place, leaveOut and take in one.
func (f *frames) byPicture(v *codec.VP8, newest bool) (pic uint16, ok bool) {
	mask := uint16(0x7f)
	if v.Long {
		mask = 0x7fff
	}
	if f.n == 0 || mask != f.mask {
		f.begin(v, mask)
	}
	d := f.diff(v.PictureID, f.hi)
	if d > f.reach() || -d >= f.reach() {
		if !newest {
			return 0, false
		}
		f.begin(v, mask) // the sender leapt: only the order still holds
		d = 1
	}
	if d <= 0 {
		return f.known(v, -d)
	}
	for ; d > 0; d-- {
		f.hi = (f.hi + 1) & f.mask
		f.n = min(f.n+1, f.reach())
		f.outHi++
		f.ring[f.hi%frameWindow] = frameSlot{out: f.outHi, state: missing}
	}
	s := &f.ring[f.hi%frameWindow]
	if !f.wanted(v, newest, v.PictureID, true) {
		s.state = leftOut
		f.outHi--
		return 0, false
	}
	s.state = sent
	return s.out & 0x7fff, true
}

// known decides for a packet of a frame that is not the newest, or of the newest one.
func (f *frames) known(v *codec.VP8, back int) (pic uint16, ok bool) {
	if back >= f.n {
		return 0, false // from before the switch to this layer
	}
	s := &f.ring[v.PictureID%frameWindow]
	switch s.state {
	case leftOut:
		return 0, false
	case missing:
		if !f.wanted(v, false, v.PictureID, true) {
			s.state = leftOut
			return 0, false
		}
		s.state = sent
	}
	return s.out & 0x7fff, true
}

// begin starts the numbering of a layer right before v's picture.
func (f *frames) begin(v *codec.VP8, mask uint16) {
	if f.ring == nil {
		f.ring = new([frameWindow]frameSlot)
	}
	f.mask = mask
	f.hi = (v.PictureID - 1) & mask
	f.n = 0
	f.changed = false
	if !f.outAny {
		f.outAny = true
		f.outHi = v.PictureID - 1
	}
}
