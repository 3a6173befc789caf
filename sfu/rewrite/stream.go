package rewrite

import "konzil/sfu/codec"

// In is what Map needs to know of an incoming packet. Map keeps no pointer to it.
type In struct {
	SSRC      uint32
	Seq       uint16
	TS        uint32
	Marker    bool
	Start     bool       // first packet of a frame; audio: always
	Keyframe  bool       // of a keyframe's first packet; audio: always
	Padding   bool       // no payload: never forwarded, leaves no gap
	Resume    bool       // what came before in the SSRC was held back: no number is kept for it
	VP8       *codec.VP8 // nil for other codecs
	SVC       *SVC       // nil when the SSRC has no layers to choose from
	ClockRate uint32     // Hz
	Arrival   int64      // ns
}

// Out is how to send it.
type Out struct {
	Seq       uint16
	TS        uint32
	PictureID uint16 // with PatchVP8 and PatchSVC
	TL0       uint8  // with PatchVP8 and PatchSVC
	PatchVP8  bool   // write PictureID and TL0 into the copy by codec.PatchVP8
	PatchSVC  bool   // write them by codec.PatchVP9, or PictureID as frame number by dd.SetNumber
	Marker    bool   // last packet of the picture for this receiver

	WriteActive bool   // tell Active, by dd.Append
	Active      uint32 // decode targets that the receiver gets
}

// maxTSJump bounds the step of the timestamp at a switch, in ticks: far from the half circle, where new would look old.
const maxTSJump = 1 << 30

// Stream is one outgoing stream. Set Window if wanted, call Reset, then use it.
type Stream struct {
	// What each packet needs comes first, for the sake of the cache.
	target, cur uint32
	to          limit
	started     bool // something was sent since Reset
	again       replay

	// timestamps
	tsOff  uint32 // out = in + tsOff, within the layer
	lastTS uint32 // newest outgoing timestamp
	lastAt int64  // arrival of the first packet that had it

	seqs   sequence
	frames frames
	svc    svc

	startTS  uint32
	switches uint64

	againTS   uint32 // incoming timestamp of the frame at hand
	againOn   bool   // againTS is valid
	againSSRC uint32 // what is repeated

	// Window is how many packets back late packets and Back can reach: a power of two, 0 means 1024. It costs 20 bytes a packet. With First,
	// a smaller power of two, so many are the beginning, and memory grows to hold a second's packets. Reset reads both.
	Window, First int
}

// replay is where a stream stands between a cached keyframe and what comes live.
type replay uint8

const (
	live     replay = iota
	fromPast        // packets come from the cache, faster than they were made
	landing         // the first live frame is yet to come
)

// replayStep is the least distance of two frames from the cache in time: they are shown one after the other, as fast as they come.
const replayStep = 1e6 // ns

// Reset forgets everything and begins with the given sequence number and timestamp, which should be random (RFC 3550 §5.1). It
// allocates at the first time and when Window changed.
func (s *Stream) Reset(startSeq uint16, startTS uint32) {
	w, first := s.sizes()
	s.seqs.reset(startSeq, w, first)
	s.frames.reset()
	s.svc = svc{ring: s.svc.ring}
	s.target, s.cur, s.to = 0, 0, limit{}
	s.tsOff, s.lastTS, s.lastAt, s.started, s.startTS = 0, 0, 0, false, startTS
	s.switches = 0
	s.again, s.againOn = live, false
}

// sizes are those of the rings at last and at first.
func (s *Stream) sizes() (window, first int) {
	window = defaultWindow
	if s.Window > 0 {
		window = powerOf2(s.Window)
	}
	if first = window; s.First > 0 {
		first = min(window, powerOf2(s.First))
	}
	return window, first
}

// Rest stops a stream that may go on one day: it keeps its place in the numbering, and forgets what was sent.
func (s *Stream) Rest() {
	s.Target(0, 0)
	_, first := s.sizes()
	s.seqs.inN, s.seqs.outN, s.seqs.counted, s.seqs.active = 0, 0, 0, nil
	s.seqs.grow(first)
	s.frames.resync()
	s.svc.resync()
	s.frames.ring, s.svc.ring = nil, nil
}

// powerOf2 is the next power of two from n on, 16 to 2^14.
func powerOf2(n int) int {
	w := 16
	for w < n && w < 1<<14 {
		w <<= 1
	}
	return w
}

// Replay begins a repetition of the target from its cached keyframe, which is to be given to Map next with all that followed it, also
// when it was sent before. Only the lowest temporal layer goes on, and timestamps follow Arrival (the time at which the packet is
// sent again) instead of the sender's, so that the receiver neither waits for the time that has passed nor takes it for jitter.
func (s *Stream) Replay() {
	s.cur = 0
	s.again, s.againOn, s.againSSRC = fromPast, false, s.target
}

// Live ends a repetition: what Map gets from now on has just come.
func (s *Stream) Live() {
	if s.again != fromPast {
		return
	}
	s.again = landing
	if s.cur == s.target {
		s.frames.limit(s.to.tid)
		s.svc.limit(s.to)
	}
}

// Replaying reports that a repetition goes on.
func (s *Stream) Replaying() bool { return s.again == fromPast }

// Fetch asks for the memory that Map is going to need.
func (s *Stream) Fetch() { s.seqs.fetch() }

// Target sets the wanted incoming layer and the highest temporal layer of it. The switch happens at the first packet of a keyframe of
// that SSRC; until then the old layer goes on. Lowering the temporal layer counts from the next frame on; raising it waits for a
// frame that refers to the base layer only (Y bit) or a keyframe. ssrc 0 stops at once.
func (s *Stream) Target(ssrc uint32, maxTID uint8) { s.TargetSVC(ssrc, All, maxTID) }

// TargetSVC is Target for an SSRC that carries several spatial layers (SVC): sid is the highest one wanted, All for every one. Lower
// layers count from the next picture on, a higher spatial one is entered at a keyframe or where the dependency descriptor has a
// switch point, a higher temporal one at a switch point.
func (s *Stream) TargetSVC(ssrc uint32, sid, maxTID uint8) {
	s.target = ssrc
	s.to = limit{sid, maxTID}
	if ssrc == 0 {
		s.cur, s.again = 0, live
		return
	}
	if ssrc == s.cur && s.again != fromPast {
		s.frames.limit(maxTID)
		s.svc.limit(s.to)
	}
}

// Ease leaves out all but the lowest temporal layer of the old SSRC until the switch to the target comes: a path that has become too narrow
// for the old one then has room for the keyframe. Target ends it.
func (s *Stream) Ease() {
	if s.cur != 0 && s.cur != s.target && s.again == live {
		s.frames.limit(0)
		s.svc.limit(limit{s.svc.want.sid, 0})
	}
}

// Current returns the SSRC that is being forwarded, 0 for none.
func (s *Stream) Current() uint32 { return s.cur }

// Newest returns the newest outgoing sequence number that was given or promised.
func (s *Stream) Newest() uint16 { return s.seqs.outHi }

// WantsKeyframe reports that a switch waits for a keyframe of the target: to another SSRC, or to a higher spatial layer of the same
// one that was seen to be sent.
func (s *Stream) WantsKeyframe() bool {
	return s.target != 0 && (s.target != s.cur || s.svc.pending)
}

// Map says whether to forward a packet, and in out how. It returns false for packets of other SSRCs than the current one, of left-out
// temporal layers, without payload, seen before, and later than the window reaches back; out means nothing then.
func (s *Stream) Map(in *In, out *Out) bool {
	if in.SSRC != s.cur {
		if in.SSRC != s.target || s.target == 0 || !in.Start || !in.Keyframe || in.Padding {
			return false
		}
		s.switchTo(in)
	}
	if in.Resume && int16(in.Seq-s.seqs.inHi) > 0 {
		s.seqs.newLayer(in.Seq)
	}
	place, ok := s.seqs.place(in.Seq, in.Arrival)
	if !ok {
		return false
	}
	if place == placeJump { // more was missing than the window holds: only the order still counts
		if d := int32(in.TS + s.tsOff - s.lastTS); d <= 0 || d > maxTSJump {
			s.anchor(in, 0)
		}
		s.frames.resync()
		s.svc.resync()
	}
	if in.Padding {
		s.seqs.leaveOut(in.Seq)
		return false
	}
	*out = Out{} // and field by field, see sequence.take
	out.Marker = in.Marker
	if in.SVC != nil && !s.svc.frame(in, place != placeLate, out) {
		s.seqs.leaveOut(in.Seq)
		return false
	}
	if v := in.VP8; v != nil {
		f, ok := s.frames.frame(in, place != placeLate)
		if !ok {
			s.seqs.leaveOut(in.Seq)
			return false
		}
		out.PictureID, out.TL0 = f.pic, f.tl0
		out.PatchVP8 = v.HasPictureID || v.HasTL0
	}
	if s.again != live {
		s.followArrival(in)
	}
	out.TS = in.TS + s.tsOff
	if int32(out.TS-s.lastTS) > 0 {
		s.lastTS, s.lastAt = out.TS, in.Arrival
	}
	out.Seq = s.seqs.take(in.Seq, in.SSRC, out)
	return true
}

// switchTo makes in's layer the current one; in is the first packet of a keyframe.
func (s *Stream) switchTo(in *In) {
	s.seqs.newLayer(in.Seq)
	to := s.to
	if s.again == fromPast && in.SSRC == s.againSSRC {
		to.tid = 0
	} else {
		s.again = live
		s.anchor(in, 0)
	}
	s.frames.newLayer(to.tid)
	s.svc.newSource(to)
	s.cur = in.SSRC
	s.switches++
}

// followArrival gives each frame of a repetition, and the first live one behind it, the time at which it is sent.
func (s *Stream) followArrival(in *In) {
	if s.againOn && in.TS == s.againTS {
		return
	}
	if s.againOn && int32(in.TS-s.againTS) < 0 {
		return // late
	}
	s.anchor(in, replayStep)
	s.againTS, s.againOn = in.TS, true
	if s.again == landing {
		s.again = live
	}
}

// anchor chooses the timestamp offset such that in goes on where the stream stands, by the time passed between the arrivals, or by
// least (ns) if that is more.
func (s *Stream) anchor(in *In, least int64) {
	if !s.started {
		s.started = true
		s.lastTS, s.lastAt = s.startTS, in.Arrival
		s.tsOff = s.startTS - in.TS
		return
	}
	ticks := int64(1) // two frames never share a timestamp
	if dt := max(in.Arrival-s.lastAt, least); dt > 0 && in.ClockRate > 0 {
		// Seconds and rest apart: the product of a long time and the clock rate would not fit.
		rate := int64(in.ClockRate)
		ticks = dt/1e9*rate + dt%1e9*rate/1e9
		ticks = min(max(ticks, 1), maxTSJump)
	}
	s.tsOff = s.lastTS + uint32(ticks) - in.TS
}

// Timestamp translates a timestamp of an incoming SSRC, as a sender report carries it (RFC 3550 §6.4.1). ok is false when ssrc is not
// the one being forwarded.
func (s *Stream) Timestamp(ssrc uint32, ts uint32) (uint32, bool) {
	if ssrc == 0 || ssrc != s.cur || s.again != live {
		return 0, false
	}
	return ts + s.tsOff, true
}
