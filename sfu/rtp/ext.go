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

// PlayoutUnit is the unit of playout delays, ns, and MaxPlayoutDelay the greatest one, in it.
const (
	PlayoutUnit     = 10 * 1e6
	MaxPlayoutDelay = 1<<12 - 1
)

// PutPlayoutDelay writes how long the receiver shall hold pictures back, at least and at most, in PlayoutUnit
// (http://www.webrtc.org/experiments/rtp-hdrext/playout-delay). 0 and 0 would mean to show them as they come.
func PutPlayoutDelay(dst *[3]byte, least, most uint16) {
	dst[0], dst[1], dst[2] = byte(least>>4), byte(least<<4)|byte(most>>8)&0xf, byte(most)
}
