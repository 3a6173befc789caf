package sfu

import (
	"math/bits"

	"konzil/sfu/alloc"
)

// What the control loop sees of the packet path, each look: who sends what at which rate.

const (
	// activeFor is how long a layer counts as sent after its last packet; a shared screen may pause between frames.
	activeFor       = int64(1500e6)
	activeForScreen = int64(6000e6)
	activeForAudio  = int64(5000e6) // DTX still sends each 400 ms
	// rateSlots is the window of rate measurement in looks: one second.
	rateSlots = 10
	// guessTop is the smaller side of the top layer while nothing is known: cameras send 720p.
	guessTop = 720
)

// lookout tells looks that come in time from those after a standstill of the process or its host. What the cameras sent meanwhile still waits in the
// sockets then: such a look would find that they send little, and the next ones that they send more than the path carries. So it is put off until the
// packet path has had time to read.
type lookout struct {
	at     int64 // of the last look, put off or not; 0: none yet
	putOff bool  // that one was
}

const (
	lookLate = 2 * int64(look) // after the last one: looks were missed
	lookRest = int64(look) / 2 // that the packet path has after one that was put off
)

// putsOff says that nothing should be looked at now.
func (l *lookout) putsOff(now int64) bool {
	d := now - l.at
	switch {
	case l.putOff && d < lookRest:
		return true
	case l.at != 0 && !l.putOff && d > lookLate:
		l.putOff = true
	default:
		l.putOff = false
	}
	l.at = now
	return l.putOff
}

// observed is what the control loop knows of a track. Control goroutine.
type observed struct {
	bytes   [rateSlots]rates[uint32]
	frames  [rateSlots]rates[uint16]
	took    [rateSlots]int64 // ns between the looks: they come late on a busy machine
	looked  int64            // when the last look was
	slot    int
	filled  int
	heights [maxSID + 1]int
	spatial uint8 // mask of the spatial layers that are being sent
	active  bool
	svc, dd bool // layers in one SSRC; told by the dependency descriptor
	apart   bool // which do not refer to each other
}

// observe copies what the packet path gathered for e; true when an allocation should follow.
func (e *Endpoint) observe(now int64) (again bool) {
	lv := &e.conf.scratch.levels
	for _, src := range e.sources {
		for _, tr := range src.tracks {
			*lv = (*lv)[:0]
			e.sh.mu.Lock()
			bytes, frames, heights, last := tr.bytes, tr.frames, tr.heights, tr.lastRTP
			o := &tr.seen
			o.svc, o.dd, o.apart = tr.svc, tr.svc && tr.dd != nil, tr.svc && tr.apart
			tr.bytes, tr.frames = rates[uint64]{}, rates[uint32]{}
			if tr.levelHead-tr.levelTail > levelRing {
				tr.levelTail = tr.levelHead - levelRing
			}
			for ; tr.levelTail < tr.levelHead; tr.levelTail++ {
				*lv = append(*lv, tr.levels[tr.levelTail%levelRing])
			}
			e.sh.mu.Unlock()
			for _, l := range *lv {
				e.conf.det.Level(src.by.index, l.level, l.at)
			}
			if src.kind != Video {
				if active := last != 0 && now-last < activeForAudio; active != o.active {
					o.active = active
					again = true
				}
				continue
			}
			spatial, full := o.note(now, &bytes, &frames)
			limit := activeFor
			if src.video == Desktop || src.video == DesktopHighFPS {
				limit = activeForScreen
			}
			active := last != 0 && now-last < limit && src.video != NoVideo
			if active != o.active || heights != o.heights || spatial != o.spatial {
				if active && !o.active {
					o.filled = 1
				}
				o.active, o.heights, o.spatial = active, heights, spatial
				again = true
			}
			// The first looks see little but a keyframe, and may find a source too dear that is not.
			again = again || full && active
		}
	}
	e.sh.mu.Lock()
	e.down.measure(&e.m, now, e.hasRTX)
	e.sh.mu.Unlock()
	if e.down.stale() {
		e.stir()
	}
	return again
}

// note takes one look's figures. It returns the mask of the spatial layers that the window has something of, and whether the window has
// just become full.
func (o *observed) note(now int64, bytes *rates[uint64], frames *rates[uint32]) (spatial uint8, full bool) {
	o.slot = (o.slot + 1) % rateSlots
	full = o.filled == rateSlots-1
	o.filled = min(o.filled+1, rateSlots)
	o.took[o.slot] = int64(look)
	if o.looked != 0 {
		o.took[o.slot] = max(o.took[o.slot], now-o.looked)
	}
	o.looked = now
	for i := range bytes {
		for j := range bytes[i] {
			o.bytes[o.slot][i][j] = uint32(bytes[i][j])
			o.frames[o.slot][i][j] = uint16(frames[i][j])
		}
	}
	for s := range o.bytes {
		for i := range o.bytes[s] {
			if o.bytes[s][i] != [maxTID + 1]uint32{} {
				spatial |= 1 << i
			}
		}
	}
	return spatial, full
}

// seconds is the time that the window covers.
func (o *observed) seconds() float64 {
	var ns int64
	for i := range o.filled {
		ns += o.took[(o.slot-i+rateSlots)%rateSlots]
	}
	return float64(max(ns, int64(look))) / 1e9
}

// layers appends the active layers of a source, low to high, with their measured rates.
func (src *source) layers(dst []alloc.Layer) []alloc.Layer {
	n, sent := len(src.tracks), 0
	for _, tr := range src.tracks {
		if tr.seen.active {
			sent++
		}
	}
	for i, tr := range src.tracks {
		if o := &tr.seen; o.active {
			guess := guessTop >> max(n-1-i, 0)
			if o.svc && sent == 1 { // simulcast layers may have dependency descriptors, too
				guess = guessTop
			}
			dst = o.layers(dst, tr.ssrc, guess)
		}
	}
	return dst
}

// layers appends the layers of one SSRC. What it takes to forward one is what all lower ones take, too, unless they are apart. top is the height of the
// highest one when nothing tells it; each lower spatial layer has half of it then.
func (o *observed) layers(dst []alloc.Layer, ssrc uint32, top int) []alloc.Layer {
	at := len(dst)
	secs := o.seconds()
	var below [maxTID + 1]uint64 // bytes of the lower spatial layers
	for sid := range maxSID + 1 {
		h := o.heights[sid]
		if h == 0 {
			h = top >> max(bits.Len8(o.spatial)-1-sid, 0)
		}
		if o.apart {
			below = [maxTID + 1]uint64{}
		}
		var sum, fps float64
		for tid := range maxTID + 1 {
			var b, f uint64
			for s := range rateSlots {
				b += uint64(o.bytes[s][sid][tid])
				f += uint64(o.frames[s][sid][tid])
			}
			below[tid] += b
			sum += float64(below[tid])
			fps += float64(f) / secs
			if b > 0 {
				dst = append(dst, alloc.Layer{SSRC: ssrc, SID: uint8(sid), TID: uint8(tid), Height: h, FPS: fps, Bitrate: uint64(sum * 8 / secs)})
			}
		}
	}
	if len(dst) == at {
		h := o.heights[0]
		if h == 0 {
			h = top
		}
		dst = append(dst, alloc.Layer{SSRC: ssrc, TID: maxTID, Height: h})
	}
	return dst
}
