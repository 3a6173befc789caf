package rewrite

import (
	"unsafe"

	"konzil/sfu/prefetch"
)

const (
	defaultWindow = 1024
	// windowSpan is how long rings that grow reach back at least (ns), as far as Window allows: what is older nobody waits for.
	windowSpan = 800e6
)

// State of a number, incoming or outgoing.
const (
	missing  = iota // promised to a packet that has not come
	sent            // taken
	leftOut         // incoming only: takes no outgoing number
	unusable        // outgoing only: promised to a packet of a left-out frame or of a layer gone by
)

// inSlot says which outgoing number belongs to an incoming one.
type inSlot struct {
	out   uint16
	state uint8
}

// outSlot says what was sent under an outgoing number.
type outSlot struct {
	ssrc  uint32
	ts    uint32
	seq   uint16
	pic   uint16
	tl0   uint8
	flags uint8
	state uint8
}

// Flags of an outSlot: the truth values of an Out.
const (
	outVP8 = 1 << iota
	outSVC
	outMarker
	outActive
)

func (o *Out) flags() (f uint8) {
	if o.PatchVP8 {
		f |= outVP8
	}
	if o.PatchSVC {
		f |= outSVC
	}
	if o.Marker {
		f |= outMarker
	}
	if o.WriteActive {
		f |= outActive
	}
	return f
}

// sequence is the numbering: two rings over the newest incoming numbers of the current layer and the newest outgoing ones. A ring is
// filled without holes as its newest number grows, so that a slot needs no number of its own to be recognised. Both have one size, which
// doubles when half of it went by in less than half of windowSpan, until it is the window.
type sequence struct {
	in  []inSlot
	out []outSlot

	inHi  uint16 // newest incoming number of the layer
	outHi uint16 // newest outgoing number given or promised
	inN   int    // how many incoming numbers back from inHi are in the ring; 0: the layer's first packet is yet to come
	outN  int

	counted int   // incoming numbers since began
	began   int64 // ns
	window  int
	active  []uint32 // of outSlots with outActive; nil until there is one
}

func (q *sequence) reset(start uint16, window, first int) {
	if q.window != window || len(q.in) < first {
		q.window, q.inN, q.outN = window, 0, 0
		q.grow(first)
	}
	q.inN, q.outN, q.counted = 0, 0, 0
	q.outHi = start - 1
}

// grow makes the rings n slots long.
func (q *sequence) grow(n int) {
	in, out, active, mask := q.in, q.out, q.active, uint16(len(q.in)-1)
	q.in, q.out = make([]inSlot, n), make([]outSlot, n)
	if active != nil {
		q.active = make([]uint32, n)
	}
	to := uint16(n - 1)
	for i := range uint16(q.inN) {
		q.in[(q.inHi-i)&to] = in[(q.inHi-i)&mask]
	}
	for i := range uint16(q.outN) {
		q.out[(q.outHi-i)&to] = out[(q.outHi-i)&mask]
		if active != nil {
			q.active[(q.outHi-i)&to] = active[(q.outHi-i)&mask]
		}
	}
}

// fetch asks for the slots of the next packets.
func (q *sequence) fetch() {
	if mask := uint16(len(q.in) - 1); len(q.in) > 0 {
		prefetch.Lines(unsafe.Pointer(&q.in[(q.inHi+1)&mask]), 1)
		prefetch.Lines(unsafe.Pointer(&q.out[(q.outHi+1)&mask]), 2)
	}
}

// room grows the rings if d packets more, at now, make them reach back too little.
func (q *sequence) room(d int, now int64) {
	if q.counted += d; 2*q.counted < len(q.in) || len(q.in) == q.window {
		return
	}
	n := len(q.in)
	if now-q.began < windowSpan/2 || d >= n {
		for n < q.window && 2*q.counted >= n {
			n *= 2
		}
		if n > len(q.in) {
			q.grow(n)
		}
	}
	q.counted, q.began = 0, now
}

// newLayer begins a layer with the packet seq. Promises to the layer before can no longer be kept.
func (q *sequence) newLayer(seq uint16) {
	mask := uint16(len(q.out) - 1)
	for i := range q.outN {
		if o := &q.out[(q.outHi-uint16(i))&mask]; o.state == missing {
			o.state = unusable
		}
	}
	q.inHi, q.inN = seq-1, 0
}

// Results of place.
const (
	placeNext = iota // newest so far
	placeLate        // fits a gap
	placeJump        // newest, and so far ahead that the numbering started afresh
)

// place makes room for seq, which came at now. ok is false when it was seen before or is too old.
func (q *sequence) place(seq uint16, now int64) (kind int, ok bool) {
	d := int16(seq - q.inHi)
	if d <= 0 {
		back := int(-int32(d))
		if back >= q.inN || q.in[seq&uint16(len(q.in)-1)].state != missing {
			return 0, false
		}
		return placeLate, true
	}
	if q.inN > 0 {
		q.room(int(d), now)
	}
	if int(d) >= len(q.in) && q.inN > 0 {
		// More packets are missing than can be remembered. The numbering goes on without a gap: nothing could fill it.
		q.newLayer(seq)
		kind = placeJump
		d = 1
	}
	for ; d > 0; d-- {
		q.inHi++
		q.inN = min(q.inN+1, len(q.in))
		q.promise()
	}
	return kind, true
}

// promise gives the newest incoming number the next outgoing one.
func (q *sequence) promise() {
	q.outHi++
	q.outN = min(q.outN+1, len(q.out))
	q.in[q.inHi&uint16(len(q.in)-1)] = inSlot{out: q.outHi, state: missing}
	// What the promise is for is noted, so that a request for the number finds the packet even if it came another way.
	q.out[q.outHi&uint16(len(q.out)-1)] = outSlot{seq: q.inHi, state: missing}
}

// leaveOut takes the number of seq, which place has just accepted, back if no newer one was given.
func (q *sequence) leaveOut(seq uint16) {
	s := &q.in[seq&uint16(len(q.in)-1)]
	s.state = leftOut
	o := &q.out[s.out&uint16(len(q.out)-1)]
	if seq == q.inHi { // and so its number is the newest promised
		q.outHi--
		q.outN--
		return
	}
	if q.outHi-s.out < uint16(q.outN) {
		o.state = unusable
	}
}

// take marks seq as sent, as *out says, and returns its outgoing number. The slot is written field by field: the compiler would make a literal
// elsewhere and copy it in one piece, which waits for the cache, since the parts have only just been written.
func (q *sequence) take(seq uint16, ssrc uint32, out *Out) uint16 {
	s := &q.in[seq&uint16(len(q.in)-1)]
	s.state = sent
	if q.outHi-s.out < uint16(q.outN) {
		i := s.out & uint16(len(q.out)-1)
		o := &q.out[i]
		o.ssrc, o.ts, o.seq, o.pic, o.tl0, o.flags, o.state = ssrc, out.TS, seq, out.PictureID, out.TL0, out.flags(), sent
		if out.WriteActive {
			if q.active == nil {
				q.active = make([]uint32, len(q.out))
			}
			q.active[i] = out.Active
		}
	}
	return s.out
}

// Back returns the incoming packet that was sent under an outgoing sequence number, and how. ok is false for numbers that were not sent
// yet, are out of the window, or belong to nothing.
func (s *Stream) Back(outSeq uint16) (ssrc uint32, seq uint16, out Out, ok bool) {
	o := s.seqs.at(outSeq)
	if o == nil || o.state != sent {
		return 0, 0, Out{}, false
	}
	out = Out{
		Seq: outSeq, TS: o.ts, PictureID: o.pic, TL0: o.tl0, PatchVP8: o.flags&outVP8 != 0, PatchSVC: o.flags&outSVC != 0,
		Marker: o.flags&outMarker != 0, WriteActive: o.flags&outActive != 0,
	}
	if out.WriteActive {
		out.Active = s.seqs.active[outSeq&uint16(len(s.seqs.out)-1)]
	}
	return o.ssrc, o.seq, out, true
}

func (q *sequence) at(outSeq uint16) *outSlot {
	if d := q.outHi - outSeq; int(d) >= q.outN {
		return nil
	}
	return &q.out[outSeq&uint16(len(q.out)-1)]
}
