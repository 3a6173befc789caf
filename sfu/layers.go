package sfu

import (
	"konzil/sfu/codec"
	"konzil/sfu/dd"
	"konzil/sfu/rewrite"
)

// maxSID is the highest spatial layer of one SSRC that is told apart. VP9 may have more; they count as this one.
const maxSID = 3

// rates are bytes or frames by spatial and temporal layer.
type rates[T uint16 | uint32 | uint64] [maxSID + 1][maxTID + 1]T

// shapeVP9 fills what rewriting needs of a VP9 packet, and notes the sizes of its layers.
func (sh *shard) shapeVP9(p *packet, tr *track) {
	in := &p.in
	if !sh.vp9Layers(p) {
		in.Padding = true // nothing a decoder could use
		return
	}
	d := &p.vp9
	in.Start = d.Start && d.SID == 0
	in.Keyframe = in.Start && d.Keyframe
	if !d.HasSizes {
		return
	}
	tr.heights = [maxSID + 1]int{}
	for i := range min(d.Spatial, len(tr.heights)) {
		tr.heights[i] = int(min(d.Widths[i], d.Heights[i]))
	}
}

// vp9Layers reads the payload descriptor into p.in.SVC.
func (sh *shard) vp9Layers(p *packet) bool {
	var ok bool
	if p.vp9, ok = codec.ParseVP9(p.payload); !ok {
		return false
	}
	d := &p.vp9
	v := &p.svc
	*v = rewrite.SVC{
		SID: d.SID, TID: d.TID, Start: d.Start, End: d.End, Key: d.SID == 0 && !d.Predicted, SwitchUp: d.SwitchUp,
		HasTL0: d.HasTL0, TL0: d.TL0, NumRefs: d.NumRefs,
	}
	if v.Key && d.NotRef && d.Spatial > 1 {
		v.Apart = uint8(d.Spatial)
	}
	if d.HasPictureID {
		v.Number, v.Mask = d.PictureID, 0x7f
		if d.Long {
			v.Mask = 0x7fff
		}
	}
	for i := range d.NumRefs {
		v.Refs[i] = uint16(d.Refs[i])
	}
	p.in.SVC = v
	return true
}

// shapeDD fills what rewriting needs by the dependency descriptor, and keeps the structure. false: there is none to go by.
func (sh *shard) shapeDD(p *packet, tr *track, now int64) bool {
	st := tr.dd
	d, ok := dd.Parse(p.dd, st, &sh.ddFresh)
	if !ok && tr.ddOld != nil {
		st = tr.ddOld // a late packet from before the last change
		d, ok = dd.Parse(p.dd, st, &sh.ddFresh)
	}
	if !ok {
		if tr.dd == nil {
			return false
		}
		// What brought the structure is missing: no receiver could place the frame.
		p.in.Padding = true
		sh.wantKeyframe(tr, now)
		return true
	}
	if d.Attached {
		if st = tr.dd; st == nil || !st.Same(&sh.ddFresh) {
			st = new(dd.Structure) // seldom: senders repeat the same one with each keyframe
			*st = sh.ddFresh
			tr.dd, tr.ddOld = st, tr.dd
		}
		tr.heights = [maxSID + 1]int{}
		if st.HasSizes {
			for i := range int(st.MaxSID) + 1 {
				tr.heights[i] = int(min(st.Width[i], st.Height[i]))
			}
		}
	}
	if d.Attached || d.HasActive {
		tr.active = d.Active
	}
	in := &p.in
	sh.ddLayers(p, &d, st, tr.active)
	in.Keyframe = d.Keyframe() && p.svc.Key
	tr.sizeH264(p)
	in.Start = d.Start && (in.Keyframe || !tr.started || p.hdr.Timestamp != tr.lastTS)
	return true
}

// sizeH264 notes the size that an H.264 keyframe tells.
func (tr *track) sizeH264(p *packet) {
	if p.codec != codecH264 || !p.in.Keyframe {
		return
	}
	if w, h, ok := codec.H264Size(p.payload); ok {
		tr.heights = [maxSID + 1]int{min(w, h)}
	}
}

// ddLayers fills p.in.SVC from a dependency descriptor.
func (sh *shard) ddLayers(p *packet, d *dd.Descriptor, st *dd.Structure, active uint32) {
	f := &d.Frame
	apart, lowest := st.Apart(active)
	p.svc = rewrite.SVC{
		Number: d.Number, Mask: 0xffff, SID: f.SID, TID: f.TID, Start: d.Start, End: d.End, Key: f.SID == lowest && f.NumRefs == 0, Apart: apart,
		Refs: f.Refs, NumRefs: f.NumRefs, DD: st, Present: f.Present, Switch: f.Switch, Active: active, Attached: d.Attached,
		HasActive: d.HasActive,
	}
	p.ddesc = *d
	p.in.SVC = &p.svc
}

// byDD says whether layers of the packet are chosen by its dependency descriptor.
func (p *packet) byDD() bool { return p.in.SVC != nil && p.in.SVC.DD != nil }

// forReceiver writes the receiver's numbers of pictures into the shared payload, where the next receiver patches again, and
// its dependency descriptor.
func (sh *shard) forReceiver(p *packet, m *media, o *send, r *rewrite.Out) {
	p.ddOut = nil
	switch {
	case r.PatchVP8 && p.in.VP8 != nil:
		codec.PatchVP8(p.payload, p.in.VP8, r.PictureID, r.TL0)
	case r.PatchSVC && p.codec == codecVP9:
		codec.PatchVP9(p.payload, &p.vp9, r.PictureID, r.TL0)
	case r.PatchSVC && p.byDD() && m.ext.dd != 0:
		p.ddOut = append(sh.ddb[:0], p.dd...)
		// A plain repetition must be the identical packet, even when the structure has changed: only RTX can tell the targets.
		if r.WriteActive && o.rtxSSRC != 0 && m.rtx[p.codec] != noPT {
			if b := dd.Append(sh.ddb[:0], p.dd, &p.ddesc, p.in.SVC.DD, r.Active); len(b) <= 255 {
				p.ddOut = b
			}
		}
		dd.SetNumber(p.ddOut, r.PictureID)
	}
}

// handedLayers is the layers of a packet that another shard opened: st is the structure that it goes by, if any.
func (sh *shard) handedLayers(p *packet, st *dd.Structure, active uint32) {
	switch {
	case p.codec == codecVP8:
		if d, ok := codec.ParseVP8(p.payload); ok {
			p.vp8 = d
			p.in.VP8 = &p.vp8
		}
	case p.codec == codecVP9:
		sh.vp9Layers(p)
	case st != nil && len(p.dd) > 0:
		if d, ok := dd.Parse(p.dd, st, &sh.ddFresh); ok {
			sh.ddLayers(p, &d, st, active)
		}
	}
}
