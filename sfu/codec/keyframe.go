package codec

// Keyframe reports whether a packet begins a picture from which a decoder can start. name is the lower-case codec name; dd is the
// AV1 dependency descriptor extension, nil when there is none. Packets of codecs that this package does not know, audio among them,
// all count as places to start.
//
// For H264 a sequence parameter set counts as well as an IDR slice: senders put it right before.
func Keyframe(name string, payload []byte, dd []byte) bool {
	switch name {
	case "vp8":
		d, ok := ParseVP8(payload)
		return ok && d.Keyframe
	case "vp9":
		d, ok := ParseVP9(payload)
		return ok && d.Keyframe
	case "h264":
		return keyframeH264(payload)
	case "av1":
		if len(dd) >= 3 {
			return keyframeDD(dd)
		}
		// N bit of the aggregation header: first packet of a coded video sequence (AV1 RTP §4.4).
		return len(payload) > 1 && payload[0]&0x08 != 0
	}
	return true
}

// NAL unit types (RFC 6184 §5.2, §5.4).
const (
	nalIDR   = 5
	nalSPS   = 7
	nalSTAPA = 24
	nalFUA   = 28
)

func keyframeH264(p []byte) bool {
	if len(p) < 2 {
		return false
	}
	switch t := p[0] & 0x1f; t {
	case nalIDR, nalSPS:
		return true
	case nalSTAPA: // units with a 16-bit length each, RFC 6184 §5.7.1
		for p = p[1:]; len(p) > 2; {
			n := int(p[0])<<8 | int(p[1])
			if u := p[2] & 0x1f; n > 0 && (u == nalIDR || u == nalSPS) {
				return true
			}
			if 2+n > len(p) {
				return false
			}
			p = p[2+n:]
		}
	case nalFUA: // start bit and type in the second byte, RFC 6184 §5.8
		u := p[1] & 0x1f
		return p[1]&0x80 != 0 && (u == nalIDR || u == nalSPS)
	}
	return false
}

// keyframeDD: a dependency descriptor carries the template structure on the first packet of a keyframe (AV1 RTP, appendix A.8).
func keyframeDD(dd []byte) bool {
	return dd[0]&0x80 != 0 && len(dd) > 3 && dd[3]&0x80 != 0
}
