package rewrite

import "konzil/sfu/dd"

// svcWindow is how many pictures (VP9) or frames (dependency descriptor) back late packets can find theirs: some three seconds of
// three spatial layers at 30 pictures/s.
const svcWindow = 256

// All as a limit lets every layer pass.
const All = 0xff

// activeRepeats is on how many packets a changed mask of active decode targets is told, so that one lost does not matter.
const activeRepeats = 16

// SVC is what Map needs to know of a packet whose SSRC carries several spatial and temporal layers.
type SVC struct {
	Number   uint16 // VP9: picture id, else frame number
	Mask     uint16 // the circle of Number: 0x7f, 0x7fff, 0xffff; 0: there is none
	SID, TID uint8
	Start    bool // first packet of a layer frame
	End      bool // last packet of a layer frame
	Key      bool // of the lowest layer that is sent, and the picture refers to no other: all layers can be entered
	SwitchUp bool // VP9's U bit (RFC 9628 §4.2)
	HasTL0   bool
	TL0      uint8
	Apart    uint8              // so many spatial layers that do not refer to each other (S modes: simulcast in one SSRC), told with Key at least; 0: they do
	Refs     [dd.MaxRefs]uint16 // numbers back of what the frame refers to
	NumRefs  uint8

	// With a dependency descriptor only.
	DD        *dd.Structure // in force
	Present   uint32        // decode targets that have the frame
	Switch    uint32        // decode targets that can be entered at it
	Active    uint32        // decode targets that the sender has active
	Attached  bool          // the packet brings the structure
	HasActive bool          // the packet tells Active
}

// limit is the highest spatial and temporal layer.
type limit struct{ sid, tid uint8 }

type svcSlot struct {
	limit
	sent bool
}

// svc decides what goes on of a stream with layers in one SSRC. Numbers keep their distances, because references are told by
// them (P_DIFF, the picture group, frame differences): they move by a constant within a layer, unlike VP8's.
type svc struct {
	ring  *[svcWindow]svcSlot // made when the first number comes
	loose svcSlot             // the newest picture, without numbers
	hi    uint16              // newest incoming number
	n     int                 // ring entries back from hi
	mask  uint16

	off    uint16 // out = in + off, within the source
	offSet bool
	outHi  uint16 // newest outgoing number
	outAny bool
	tl0    tl0

	want, active limit
	ts           uint32 // of the newest picture
	tsAny        bool
	pending      bool  // a wanted spatial layer is there and waits for a keyframe
	apart        uint8 // of the newest keyframe: the receiver gets one spatial layer alone, and changes it at keyframes

	told uint32 // mask of active decode targets that the receiver knows
	tell int    // packets on which it is yet to be told
}

// tl0 moves TL0PICIDX by a constant within a source, such that it goes on at a switch.
type tl0 struct {
	off, hi  uint8
	set, any bool
}

func (t *tl0) out(in uint8) uint8 {
	if !t.set {
		t.set = true
		t.off = 0
		if t.any {
			t.off = t.hi + 1 - in
		}
	}
	o := in + t.off
	if !t.any || int8(o-t.hi) > 0 {
		t.hi, t.any = o, true
	}
	return o
}

// newSource forgets the SSRC before; the outgoing numbers go on.
func (l *svc) newSource(to limit) {
	l.n, l.offSet, l.tl0.set, l.tsAny, l.pending = 0, false, false, false, false
	l.want, l.active = to, to
	l.told, l.tell, l.apart = 0, 0, 0
}

// resync forgets the pictures before, within a source.
func (l *svc) resync() { l.n, l.tsAny = 0, false }

// limit sets the wanted layers: lower ones from the next picture on, higher ones as soon as they can be entered.
func (l *svc) limit(to limit) {
	l.want = to
	if l.apart > 0 {
		l.pending = l.one(to.sid) != l.one(l.active.sid)
		return
	}
	l.pending = l.pending && to.sid > l.active.sid
}

// one is the layer that a receiver with limit sid gets of those that do not refer to each other.
func (l *svc) one(sid uint8) uint8 { return min(sid, l.apart-1) }

// frame decides about a packet and numbers its frame. newest: the packet is the newest of its SSRC.
func (l *svc) frame(in *In, newest bool, out *Out) bool {
	v := in.SVC
	fresh := newest && (!l.tsAny || in.TS != l.ts)
	if fresh {
		l.ts, l.tsAny = in.TS, true
		switch {
		case v.Key:
			l.apart = v.Apart
		case l.apart > 0 && v.Apart > 0 && v.Apart != l.apart: // the highest one has come or gone
			l.pending = min(l.want.sid, v.Apart-1) != l.one(l.active.sid)
		}
		if l.apart == 0 || v.Key {
			l.active.sid = min(l.active.sid, l.want.sid)
		}
		l.active.tid = min(l.active.tid, l.want.tid)
	}
	s := l.find(in, newest, fresh)
	if s == nil {
		return false
	}
	if l.entry(v, newest, fresh) && l.raise(v) {
		s.limit = l.active
	}
	top := s.sid
	if l.apart > 0 {
		if top = l.one(s.sid); v.SID != top {
			return false
		}
	}
	if !v.within(s.limit) {
		if newest && v.SID > s.sid && v.SID <= l.want.sid {
			l.pending = true
		}
		return false
	}
	s.sent = true
	if v.Mask != 0 {
		l.number(v, out)
	}
	if v.HasTL0 {
		out.TL0 = l.tl0.out(v.TL0)
	}
	out.PatchSVC = v.Mask != 0 || v.HasTL0
	// The picture ends for this receiver with the highest layer that it gets.
	out.Marker = in.Marker || v.End && v.SID == top
	if v.DD != nil {
		l.activeTargets(v, s.limit, newest, out)
	}
	return true
}

// entry says whether higher layers may be entered at the packet: only where a picture begins, since later on the marker of a lower layer may be out
// already, or a lower frame left out. Of layers that do not refer to each other, and have numbers of their own, where the frame of the one begins.
func (l *svc) entry(v *SVC, newest, fresh bool) bool {
	if l.apart > 0 && v.DD != nil && !v.Key {
		return newest && v.Start && v.SID == l.one(l.active.sid)
	}
	return fresh
}

// within says whether the frame belongs to the layers up to m. With a dependency descriptor that is every frame that a decode
// target of these layers has: also those of lower spatial layers that the highest one could do without (K-SVC), so that a
// lower one can be entered at once when the path gets narrow.
func (v *SVC) within(m limit) bool {
	if v.DD != nil {
		return v.Present&v.DD.Within(m.sid, m.tid) != 0
	}
	return v.SID <= m.sid && v.TID <= m.tid
}

// number moves the picture id or frame number.
func (l *svc) number(v *SVC, out *Out) {
	if !l.offSet {
		l.offSet = true
		l.off = 0
		if l.outAny {
			l.off = l.outHi + 1 - v.Number
		}
	}
	n := (v.Number + l.off) & v.Mask
	if d := (n - l.outHi) & v.Mask; !l.outAny || d != 0 && d <= v.Mask>>1 {
		l.outHi, l.outAny = n, true
	}
	out.PictureID = n
}

// find returns the slot of the packet's picture or frame, nil when it is too old.
func (l *svc) find(in *In, newest, fresh bool) *svcSlot {
	v := in.SVC
	if v.Mask == 0 {
		if fresh || !l.tsAny {
			l.loose = svcSlot{limit: l.active}
		}
		return &l.loose
	}
	if l.n == 0 || v.Mask != l.mask {
		if v.Mask != l.mask {
			l.offSet = false
		}
		l.mask, l.hi, l.n = v.Mask, (v.Number-1)&v.Mask, 0
		if l.ring == nil {
			l.ring = new([svcWindow]svcSlot)
		}
	}
	reach := min(svcWindow, int(l.mask>>1))
	d := int((v.Number - l.hi) & l.mask)
	if d > int(l.mask>>1) {
		d -= int(l.mask) + 1
	}
	if d > reach || -d >= reach {
		if !newest {
			return nil
		}
		l.hi, l.n, d = (v.Number-1)&l.mask, 0, 1 // the sender leapt
	}
	if d <= 0 {
		if -d >= l.n {
			return nil // from before the switch
		}
		return &l.ring[v.Number%svcWindow]
	}
	for ; d > 0; d-- {
		l.hi = (l.hi + 1) & l.mask
		l.n = min(l.n+1, reach)
		l.ring[l.hi%svcWindow] = svcSlot{limit: l.active}
	}
	return &l.ring[l.hi%svcWindow]
}

// refsSent reports that all that the frame refers to was forwarded.
func (l *svc) refsSent(v *SVC) bool {
	for i := range v.NumRefs {
		back := int(l.hi-v.Number)&int(l.mask) + int(v.Refs[i])
		if back >= l.n || !l.ring[(v.Number-v.Refs[i])&l.mask%svcWindow].sent {
			return false
		}
	}
	return true
}

// raise enters higher layers if v, the first packet seen of its picture, allows it.
func (l *svc) raise(v *SVC) bool {
	if v.Key {
		l.pending = false
	}
	if l.want.sid <= l.active.sid && l.want.tid <= l.active.tid {
		return false
	}
	before := l.active
	switch {
	case v.Key:
		l.active = l.want
	case v.DD != nil:
		l.raiseTargets(v)
	case l.want.tid <= l.active.tid:
	case v.TID <= l.active.tid:
		// No higher temporal layer will refer to what came before this picture and was left out (RFC 9628 §4.2, U).
		if v.SwitchUp {
			l.active.tid = l.want.tid
		}
	case v.TID > l.want.tid:
	case v.NumRefs > 0 && l.refsSent(v), v.NumRefs == 0 && v.SwitchUp && v.TID == l.active.tid+1:
		l.active.tid = v.TID
	}
	l.pending = l.pending && (l.apart > 0 || l.want.sid > l.active.sid)
	return l.active != before
}

// raiseTargets is raise by decode targets: one can be entered at a frame that is a switch point for it and can be decoded.
func (l *svc) raiseTargets(v *SVC) {
	st := v.DD
	if v.Switch == 0 || !l.refsSent(v) {
		return
	}
	if sid := min(l.active.sid, st.MaxSID); l.apart == 0 && l.want.sid > sid {
		if t := st.Top(l.want.sid, l.want.tid); t >= 0 && st.TargetSID[t] > sid && v.Switch&(1<<t) != 0 {
			l.active = l.want
			return
		}
	}
	// In time the lowest spatial layer, with which the picture begins, stands for all.
	top := min(l.want.tid, st.MaxTID)
	for tid := top; tid > l.active.tid; tid-- {
		t := st.Top(v.SID, tid)
		if t < 0 || st.TargetSID[t] != v.SID || st.TargetTID[t] <= l.active.tid || v.Switch&(1<<t) == 0 {
			continue
		}
		if l.active.tid = tid; tid == top {
			l.active.tid = l.want.tid
		}
		return
	}
}

// activeTargets decides whether the receiver is to be told which decode targets it gets.
func (l *svc) activeTargets(v *SVC, m limit, newest bool, out *Out) {
	mask := v.DD.Within(m.sid, m.tid)
	if l.apart > 0 {
		mask = v.DD.Only(l.one(m.sid), m.tid)
	}
	mask &= v.Active
	if mask == 0 {
		return
	}
	if newest && mask != l.told {
		l.told, l.tell = mask, activeRepeats
	}
	implied := v.DD.All()
	if v.HasActive {
		implied = v.Active
	}
	if v.Attached || v.HasActive {
		out.WriteActive = mask != implied
	} else if newest && l.tell > 0 {
		out.WriteActive = true
	}
	if newest && l.tell > 0 {
		l.tell--
	}
	if out.WriteActive {
		out.Active = mask
	}
}
