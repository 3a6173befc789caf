package dd

// Descriptor is the dependency descriptor of one packet.
type Descriptor struct {
	Start, End bool // first, last packet of the frame
	TemplateID uint8
	Number     uint16 // frame_number
	Extended   bool   // longer than the mandatory fields
	Attached   bool   // brings a template structure
	HasActive  bool   // brings a mask of active decode targets
	Active     uint32 // that mask; all with a structure alone
	Frame      Template
	flags      uint32 // the five flags of extended_descriptor_fields()
	used       int    // length in bits, without the zeros at the end
}

// Structure-free part: descriptors of this length have nothing more (appendix A.8.1).
const mandatory = 3

// Parse reads the extension b of one packet. last is the structure in force, nil when none is known; a packet that brings its own
// fills fresh, which is then what d goes by. ok is false when b is malformed, or cannot be understood without another structure.
func Parse(b []byte, last, fresh *Structure) (d Descriptor, ok bool) {
	if len(b) < mandatory {
		return d, false
	}
	d.Start, d.End, d.TemplateID = b[0]&0x80 != 0, b[0]&0x40 != 0, b[0]&0x3f
	d.Number = uint16(b[1])<<8 | uint16(b[2])
	r := reader{b: b, at: 8 * mandatory}
	s := last
	if len(b) > mandatory {
		d.Extended = true
		d.flags = r.bits(5)
		if d.flags&flagStructure != 0 {
			if fresh == nil || !fresh.read(&r) {
				return d, false
			}
			s, d.Attached, d.Active = fresh, true, fresh.All()
		}
		if d.flags&flagActive != 0 {
			if s == nil {
				return d, false
			}
			d.HasActive, d.Active = true, r.bits(s.Targets)
		}
	}
	if s == nil {
		return d, false
	}
	i := int(d.TemplateID-s.Offset) & 0x3f
	if i >= s.Templates {
		return d, false
	}
	d.Frame = s.Template[i]
	if !d.custom(&r, s) {
		return d, false
	}
	d.used = r.at
	return d, true
}

// Flags of extended_descriptor_fields().
const (
	flagStructure = 16 >> iota
	flagActive
	flagDTIs
	flagRefs
	flagChains
)

// custom reads what the frame has instead of its template's.
func (d *Descriptor) custom(r *reader, s *Structure) bool {
	f := &d.Frame
	if d.flags&flagDTIs != 0 {
		f.readDTIs(r, s.Targets)
	}
	if d.flags&flagRefs != 0 {
		f.Refs, f.NumRefs = [MaxRefs]uint16{}, 0
		for n := r.bits(2); n != 0; n = r.bits(2) {
			if f.NumRefs == MaxRefs {
				return false
			}
			f.Refs[f.NumRefs] = uint16(r.bits(4*int(n)) + 1)
			f.NumRefs++
		}
	}
	if d.flags&flagChains != 0 {
		for i := range s.Chains {
			f.Chains[i] = uint8(r.bits(8))
		}
	}
	return !r.bad
}

// Keyframe reports that the packet begins a frame from which a decoder can start: it brings the structure and refers to nothing.
func (d *Descriptor) Keyframe() bool { return d.Start && d.Attached && d.Frame.NumRefs == 0 }
