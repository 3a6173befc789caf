package rtp

// AudioLevel reads the client-to-mixer audio level extension (RFC 6464 §3): level is in -dBov, 0 loudest and 127 silence.
func AudioLevel(ext []byte) (level uint8, voice bool, ok bool) {
	if len(ext) == 0 {
		return 0, false, false
	}
	return ext[0] & 0x7f, ext[0]&0x80 != 0, true
}

// PutAbsSendTime writes now (nanoseconds on any clock) as absolute send time: seconds in 6.18 fixed point, modulo 64 s
// (http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time).
func PutAbsSendTime(dst *[3]byte, now int64) {
	sec, ns := uint64(now)/1e9, uint64(now)%1e9
	v := sec<<18 + (ns<<18)/1e9
	dst[0], dst[1], dst[2] = byte(v>>16), byte(v>>8), byte(v)
}
