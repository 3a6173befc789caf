package dd

// Bounds of a template structure. Where the format allows more, the values are what scalability modes in use stay far below.
const (
	maxTemplates = 64 // template ids have six bits
	MaxTargets   = 32 // dt_cnt_minus_one has five bits
	maxSpatial   = 4  // AV1 has at most four spatial layers
	maxTemporal  = 8  // and eight temporal ones
	MaxRefs      = 8  // frame differences of one frame: AV1 frames refer to seven others at most
	maxChains    = 32 // chain_cnt is at most DtCnt
)

// Template is a kind of frame that repeats.
type Template struct {
	SID, TID uint8
	Present  uint32 // decode targets that the frame belongs to: DTI is not "not present"
	Switch   uint32 // decode targets that can be entered at the frame: DTI is "switch"
	Required uint32 // decode targets that cannot do without it: DTI is "required"
	Refs     [MaxRefs]uint16
	NumRefs  uint8
	Chains   [maxChains]uint8 // distance in frame numbers to the previous frame of each chain
}

// Structure is a template dependency structure (appendix A.8.3). It is a plain value: two of the same stream compare with ==.
type Structure struct {
	Offset    uint8 // template_id_offset
	Templates int
	Targets   int
	Chains    int
	Template  [maxTemplates]Template

	Protected  [MaxTargets]uint8 // chain that protects each decode target
	TargetSID  [MaxTargets]uint8
	TargetTID  [MaxTargets]uint8
	MaxSID     uint8
	MaxTID     uint8
	HasSizes   bool
	Width      [maxSpatial]uint16 // of each spatial layer, 65536 counts as 65535
	Height     [maxSpatial]uint16
	within     [maxSpatial][maxTemporal]uint32
	top        [maxSpatial][maxTemporal]int8
	apart      bool
	bits, from int // length and place in the packet that it came in
}

// All is the mask of all decode targets.
func (s *Structure) All() uint32 { return uint32(1<<s.Targets - 1) }

// Within is the mask of the decode targets of at most the given spatial and temporal layer.
func (s *Structure) Within(sid, tid uint8) uint32 {
	return s.within[min(sid, s.MaxSID)][min(tid, s.MaxTID)]
}

// Top is the decode target of the highest spatial, then the highest temporal layer within the given ones, -1 when there is none.
func (s *Structure) Top(sid, tid uint8) int {
	return int(s.top[min(sid, s.MaxSID)][min(tid, s.MaxTID)])
}

// Apart is how many spatial layers there are, if none refers to another (S modes: simulcast in one SSRC) and the highest of them that has one of
// the decode targets active counts; 0 if they do. lowest is the first of them that has.
func (s *Structure) Apart(active uint32) (n, lowest uint8) {
	if !s.apart {
		return 0, 0
	}
	lowest = s.MaxSID
	for i := range s.Targets {
		if active&(1<<i) != 0 {
			n, lowest = max(n, s.TargetSID[i]+1), min(lowest, s.TargetSID[i])
		}
	}
	return n, lowest
}

// Only is the mask of the decode targets of exactly the given spatial and at most the given temporal layer.
func (s *Structure) Only(sid, tid uint8) uint32 {
	mask := s.Within(sid, tid)
	if sid > 0 {
		mask &^= s.Within(sid-1, tid)
	}
	return mask
}

// Same reports that two structures say the same, wherever in a packet they stood.
func (s *Structure) Same(o *Structure) bool {
	a := *o
	a.from = s.from
	return *s == a
}

// read is template_dependency_structure().
func (s *Structure) read(r *reader) bool {
	*s = Structure{from: r.at}
	s.Offset = uint8(r.bits(6))
	s.Targets = int(r.bits(5)) + 1
	if !s.readLayers(r) || !s.readDTIs(r) || !s.readRefs(r) || !s.readChains(r) {
		return false
	}
	s.targetLayers()
	if s.HasSizes = r.flag(); s.HasSizes {
		for i := range int(s.MaxSID) + 1 {
			s.Width[i] = uint16(min(r.bits(16)+1, 65535))
			s.Height[i] = uint16(min(r.bits(16)+1, 65535))
		}
	}
	s.bits = r.at - s.from
	return !r.bad
}

func (s *Structure) readLayers(r *reader) bool {
	var sid, tid uint8
	for {
		if s.Templates == maxTemplates || sid >= maxSpatial || tid >= maxTemporal || r.bad {
			return false
		}
		t := &s.Template[s.Templates]
		t.SID, t.TID = sid, tid
		s.MaxSID, s.MaxTID = sid, max(s.MaxTID, tid)
		s.Templates++
		switch r.bits(2) { // next_layer_idc
		case 1:
			tid++
		case 2:
			tid = 0
			sid++
		case 3:
			return !r.bad
		}
	}
}

// Decode target indications (appendix A.8.3, DTI).
const (
	dtiNotPresent = iota
	dtiDiscardable
	dtiSwitch
	dtiRequired
)

func (t *Template) readDTIs(r *reader, targets int) {
	t.Present, t.Switch, t.Required = 0, 0, 0
	for i := range targets {
		bit := uint32(1) << i
		switch r.bits(2) {
		case dtiNotPresent:
			continue
		case dtiSwitch:
			t.Switch |= bit
		case dtiRequired:
			t.Required |= bit
		}
		t.Present |= bit
	}
}

func (s *Structure) readDTIs(r *reader) bool {
	for i := range s.Templates {
		s.Template[i].readDTIs(r, s.Targets)
	}
	return !r.bad
}

func (s *Structure) readRefs(r *reader) bool {
	for i := range s.Templates {
		t := &s.Template[i]
		for r.flag() {
			if t.NumRefs == MaxRefs {
				return false
			}
			t.Refs[t.NumRefs] = uint16(r.bits(4) + 1)
			t.NumRefs++
		}
	}
	return !r.bad
}

func (s *Structure) readChains(r *reader) bool {
	s.Chains = int(r.ns(uint32(s.Targets) + 1))
	if s.Chains == 0 || r.bad {
		return !r.bad
	}
	for i := range s.Targets {
		s.Protected[i] = uint8(r.ns(uint32(s.Chains)))
	}
	for i := range s.Templates {
		for j := range s.Chains {
			s.Template[i].Chains[j] = uint8(r.bits(4))
		}
	}
	return !r.bad
}

// targetLayers is decode_target_layers(), and the answers that follow from it.
func (s *Structure) targetLayers() {
	for i := range s.Targets {
		for j := range s.Templates {
			if t := &s.Template[j]; t.Present&(1<<i) != 0 {
				s.TargetSID[i], s.TargetTID[i] = max(s.TargetSID[i], t.SID), max(s.TargetTID[i], t.TID)
			}
		}
	}
	for sid := range uint8(maxSpatial) {
		for tid := range uint8(maxTemporal) {
			best := -1
			for i := range s.Targets {
				if s.TargetSID[i] > sid || s.TargetTID[i] > tid {
					continue
				}
				s.within[sid][tid] |= 1 << i
				if best < 0 || s.TargetSID[i] > s.TargetSID[best] ||
					s.TargetSID[i] == s.TargetSID[best] && s.TargetTID[i] > s.TargetTID[best] {
					best = i
				}
			}
			s.top[sid][tid] = int8(best)
		}
	}
	s.apart = s.MaxSID > 0
	for j := range s.Templates {
		for i := range s.Targets {
			if t := &s.Template[j]; t.Present&(1<<i) != 0 && t.SID != s.TargetSID[i] {
				s.apart = false
			}
		}
	}
}
