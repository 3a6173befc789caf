// Package ddtest makes the dependency descriptors of a sender with three spatial and three temporal layers, for tests.
package ddtest

import (
	"slices"
	"strings"
)

// template is a row of the tables of scalability modes (AV1 RTP, appendix A.8.3): layers, DTIs of S0T0..S2T2, references, and the
// distance to the last frame of each chain.
type template struct {
	sid, tid uint8
	dtis     string
	refs     []uint16
	chains   [3]uint8
}

// L3T3_KEY and L3T3. Five templates a spatial layer: keyframe, T0, T1, and T2 in both halves of the period.
var keyTemplates = []template{
	{0, 0, "SSSSSSSSS", nil, [3]uint8{0, 0, 0}},
	{0, 0, "SSS------", []uint16{12}, [3]uint8{12, 11, 10}},
	{0, 1, "-DS------", []uint16{6}, [3]uint8{6, 5, 4}},
	{0, 2, "--D------", []uint16{3}, [3]uint8{3, 2, 1}},
	{0, 2, "--D------", []uint16{3}, [3]uint8{9, 8, 7}},
	{1, 0, "---SSSSSS", []uint16{1}, [3]uint8{1, 1, 1}},
	{1, 0, "---SSS---", []uint16{12}, [3]uint8{1, 12, 11}},
	{1, 1, "----DS---", []uint16{6}, [3]uint8{7, 6, 5}},
	{1, 2, "-----D---", []uint16{3}, [3]uint8{4, 3, 2}},
	{1, 2, "-----D---", []uint16{3}, [3]uint8{10, 9, 8}},
	{2, 0, "------SSS", []uint16{1}, [3]uint8{2, 1, 1}},
	{2, 0, "------SSS", []uint16{12}, [3]uint8{2, 1, 12}},
	{2, 1, "-------DS", []uint16{6}, [3]uint8{8, 7, 6}},
	{2, 2, "--------D", []uint16{3}, [3]uint8{5, 4, 3}},
	{2, 2, "--------D", []uint16{3}, [3]uint8{11, 10, 9}},
}

var fullTemplates = []template{
	{0, 0, "SSSSSSSSS", nil, [3]uint8{0, 0, 0}},
	{0, 0, "SSSRRRRRR", []uint16{12}, [3]uint8{12, 11, 10}},
	{0, 1, "-DS-RR-RR", []uint16{6}, [3]uint8{6, 5, 4}},
	{0, 2, "--D--R--R", []uint16{3}, [3]uint8{3, 2, 1}},
	{0, 2, "--D--R--R", []uint16{3}, [3]uint8{9, 8, 7}},
	{1, 0, "---SSSSSS", []uint16{1}, [3]uint8{1, 1, 1}},
	{1, 0, "---SSSRRR", []uint16{12, 1}, [3]uint8{1, 1, 1}},
	{1, 1, "----DS-RR", []uint16{6, 1}, [3]uint8{7, 6, 5}},
	{1, 2, "-----D--R", []uint16{3, 1}, [3]uint8{4, 3, 2}},
	{1, 2, "-----D--R", []uint16{3, 1}, [3]uint8{10, 9, 8}},
	{2, 0, "------SSS", []uint16{1}, [3]uint8{2, 1, 1}},
	{2, 0, "------SSS", []uint16{12, 1}, [3]uint8{2, 1, 1}},
	{2, 1, "-------DS", []uint16{6, 1}, [3]uint8{8, 7, 6}},
	{2, 2, "--------D", []uint16{3, 1}, [3]uint8{5, 4, 3}},
	{2, 2, "--------D", []uint16{3, 1}, [3]uint8{11, 10, 9}},
}

// apartTemplates is S3T3: what L3T3_KEY is, but for keyframes, in which no layer refers to another either.
var apartTemplates = func() []template {
	ts := slices.Clone(keyTemplates)
	ts[0] = template{0, 0, "SSS------", nil, [3]uint8{0, 0, 0}}
	ts[5] = template{1, 0, "---SSS---", nil, [3]uint8{1, 0, 0}}
	ts[10] = template{2, 0, "------SSS", nil, [3]uint8{2, 1, 0}}
	return ts
}()

type bits struct {
	b []byte
	n int
}

func (w *bits) put(v uint32, n int) {
	for i := n - 1; i >= 0; i-- {
		if w.n%8 == 0 {
			w.b = append(w.b, 0)
		}
		w.b[w.n/8] |= byte(v>>i&1) << (7 - w.n%8)
		w.n++
	}
}

// Sender makes pictures of three layers each.
type Sender struct {
	Full   bool   // L3T3, else L3T3_KEY
	Apart  bool   // S3T3
	Offset uint8  // template_id_offset
	Number uint16 // frame number of the next frame
	Active uint32 // with keyframes, unless 0: active decode targets
	NoSize bool   // without resolutions
	phase  int
}

// Frame is one layer frame.
type Frame struct {
	SID, TID uint8
	Key      bool // of a key picture
	Number   uint16
	Refs     []uint16
	Chains   [3]uint8 // 0: the frame begins the chain
	s        *Sender
	index    int
	active   uint32
}

var order = [4]struct {
	tid uint8
	at  int
}{{0, 1}, {2, 3}, {1, 2}, {2, 4}}

// Picture makes the frames of the next picture.
func (s *Sender) Picture(key bool) []Frame {
	if key {
		s.phase = 0
	}
	o := order[s.phase%4]
	s.phase++
	var fs []Frame
	for sid := range uint8(3) {
		i := int(sid)*5 + o.at
		if key {
			i = int(sid) * 5
		}
		t := s.templates()[i]
		f := Frame{SID: sid, TID: o.tid, Key: key, Number: s.Number, Refs: t.refs, Chains: t.chains, s: s, index: i}
		if key && sid == 0 {
			f.active = s.Active
		}
		fs = append(fs, f)
		s.Number++
	}
	return fs
}

func (s *Sender) templates() []template {
	switch {
	case s.Full:
		return fullTemplates
	case s.Apart:
		return apartTemplates
	}
	return keyTemplates
}

// DD is the extension of a packet of the frame; the first one of a keyframe brings the structure, and of each layer's that is apart.
func (f *Frame) DD(start, end bool) []byte {
	w := &bits{}
	flag := func(b bool) {
		if b {
			w.put(1, 1)
		} else {
			w.put(0, 1)
		}
	}
	flag(start)
	flag(end)
	w.put(uint32(int(f.s.Offset)+f.index)&63, 6)
	w.put(uint32(f.Number), 16)
	if !f.Key || f.SID != 0 && !f.s.Apart || !start {
		return w.b
	}
	flag(true)
	flag(f.active != 0)
	w.put(0, 3)
	f.s.structure(w)
	if f.active != 0 {
		w.put(f.active, 9)
	}
	return w.b
}

func (s *Sender) structure(w *bits) {
	ts := s.templates()
	w.put(uint32(s.Offset), 6)
	w.put(9-1, 5)
	for i := range ts { // next_layer_idc
		switch {
		case i == len(ts)-1:
			w.put(3, 2)
		case ts[i+1].sid > ts[i].sid:
			w.put(2, 2)
		default:
			w.put(uint32(ts[i+1].tid-ts[i].tid), 2)
		}
	}
	for _, t := range ts {
		for _, c := range t.dtis {
			w.put(uint32(strings.IndexRune("-DSR", c)), 2)
		}
	}
	for _, t := range ts {
		for _, r := range t.refs {
			w.put(1, 1)
			w.put(uint32(r-1), 4)
		}
		w.put(0, 1)
	}
	w.put(3, 3) // chain_cnt = 3 as ns(10): below 6 it has three bits
	for i := range uint32(9) {
		if i/3 == 0 { // ns(3)
			w.put(0, 1)
		} else {
			w.put(i/3+1, 2)
		}
	}
	for _, t := range ts {
		for _, c := range t.chains {
			w.put(uint32(c), 4)
		}
	}
	if s.NoSize {
		w.put(0, 1)
		return
	}
	w.put(1, 1)
	for i := range 3 {
		w.put(320<<i-1, 16)
		w.put(180<<i-1, 16)
	}
}
