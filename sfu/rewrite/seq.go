package rewrite

const defaultWindow = 1024

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
	ssrc   uint32
	ts     uint32
	active uint32
	seq    uint16
	pic    uint16
	tl0    uint8
	flags  uint8
	state  uint8
}

// Flags of an outSlot: the truth values of an Out.
const (
	outVP8 = 1 << iota
	outSVC
	outMarker
	outActive
)

func (o *Out) flags() (f uint8) {
	for i, on := range [...]bool{o.PatchVP8, o.PatchSVC, o.Marker, o.WriteActive} {
		if on {
			f |= 1 << i
		}
	}
	return f
}

// sequence is the numbering: two rings over the newest incoming numbers of the current layer and the newest outgoing ones. A ring is
// filled without holes as its newest number grows, so that a slot needs no number of its own to be recognised.
type sequence struct {
	in  []inSlot
	out []outSlot

	inHi  uint16 // newest incoming number of the layer
	inN   int    // how many incoming numbers back from inHi are in the ring; 0: the layer's first packet is yet to come
	outHi uint16 // newest outgoing number given or promised
	outN  int
}

func (q *sequence) reset(start uint16, window int) {
	if len(q.in) != window {
		q.in, q.out = make([]inSlot, window), make([]outSlot, window)
	}
	q.inN, q.outN = 0, 0
	q.outHi = start - 1
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

// place makes room for seq. ok is false when it was seen before or is too old.
func (q *sequence) place(seq uint16) (kind int, ok bool) {
	d := int16(seq - q.inHi)
	if d <= 0 {
		back := int(-int32(d))
		if back >= q.inN || q.in[seq&uint16(len(q.in)-1)].state != missing {
			return 0, false
		}
		return placeLate, true
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

// take marks seq as sent, as *out says, and returns its outgoing number.
func (q *sequence) take(seq uint16, ssrc uint32, out *Out) uint16 {
	s := &q.in[seq&uint16(len(q.in)-1)]
	s.state = sent
	if q.outHi-s.out < uint16(q.outN) {
		q.out[s.out&uint16(len(q.out)-1)] = outSlot{ssrc: ssrc, ts: out.TS, active: out.Active, seq: seq, pic: out.PictureID,
			tl0: out.TL0, flags: out.flags(), state: sent}
	}
	return s.out
}

// Back returns the incoming packet that was sent under an outgoing sequence number, and how. ok is false for numbers that were not sent
// yet, are out of the window, or belong to nothing. See Pending for numbers that are promised only.
func (s *Stream) Back(outSeq uint16) (ssrc uint32, seq uint16, out Out, ok bool) {
	o := s.seqs.at(outSeq)
	if o == nil || o.state != sent {
		return 0, 0, Out{}, false
	}
	return o.ssrc, o.seq, Out{
		Seq: outSeq, TS: o.ts, PictureID: o.pic, TL0: o.tl0, PatchVP8: o.flags&outVP8 != 0, PatchSVC: o.flags&outSVC != 0,
		Marker: o.flags&outMarker != 0, WriteActive: o.flags&outActive != 0, Active: o.active,
	}, true
}

// Pending returns the incoming packet for which an outgoing number is kept. A receiver that asks for it can be served when the packet
// is at hand after all (it came before the switch to its layer, say): give it to Map and send the result.
func (s *Stream) Pending(outSeq uint16) (ssrc uint32, seq uint16, ok bool) {
	o := s.seqs.at(outSeq)
	if o == nil || o.state != missing || s.cur == 0 {
		return 0, 0, false
	}
	return s.cur, o.seq, true
}

func (q *sequence) at(outSeq uint16) *outSlot {
	if d := q.outHi - outSeq; int(d) >= q.outN {
		return nil
	}
	return &q.out[outSeq&uint16(len(q.out)-1)]
}
