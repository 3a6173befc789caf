package jingle

import "strconv"

// Can is what a client can do, as far as the offer depends on it.
type Can struct {
	RTX  bool // urn:ietf:rfc:4588
	TCC  bool // transport-wide congestion control
	REMB bool // goog-remb; offered only when TCC is not used
	RED  bool // RFC 2198 redundancy for Opus, wanted on both sides
	FEC  bool // flexfec-03 from the bridge
}

// URIs of header extensions that are offered.
const (
	extAudioLevel = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
	extMID        = "urn:ietf:params:rtp-hdrext:sdes:mid"
	extTCC        = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
	extAbsTime    = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
	extPlayout    = "http://www.webrtc.org/experiments/rtp-hdrext/playout-delay"
	extAV1DD      = "https://aomediacodec.github.io/av1-rtp-spec/#dependency-descriptor-rtp-header-extension"
)

// Payload type numbers of the offer; they are those of every Jitsi deployment, so recordings and tools agree.
const (
	ptOpus      = 111
	ptRED       = 112
	ptTelephone = 126
	ptAV1       = 41
	ptAV1RTX    = 42
	ptVP8       = 100
	ptVP8RTX    = 96
	ptVP9       = 101
	ptVP9RTX    = 97
	ptH264      = 107
	ptH264RTX   = 99
	ptFlexFEC   = 118
)

// AudioDescription is the audio content offered to a client.
func AudioDescription(can Can) Description {
	d := Description{Media: Audio}
	opus := PayloadType{ID: ptOpus, Name: "opus", ClockRate: 48000, Channels: 2, Params: []Param{{"minptime", "10"}}}
	if can.RED {
		d.Payloads = append(d.Payloads, PayloadType{ID: ptRED, Name: "red", ClockRate: 48000, Channels: 2,
			Params: []Param{{"", strconv.Itoa(ptOpus) + "/" + strconv.Itoa(ptOpus)}}})
	} else {
		opus.Params = append(opus.Params, Param{"useinbandfec", "1"})
	}
	if can.TCC {
		opus.Feedback = []Feedback{{Type: "transport-cc"}}
	}
	d.Payloads = append(d.Payloads, opus, PayloadType{ID: ptTelephone, Name: "telephone-event", ClockRate: 8000})
	d.HdrExts = []HdrExt{{1, extAudioLevel}, {10, extMID}}
	if can.TCC {
		d.HdrExts = append(d.HdrExts, HdrExt{5, extTCC})
	}
	return d
}

// VideoDescription is the video content offered to a client. The order of codecs is only a default: clients have their own.
func VideoDescription(can Can) Description {
	d := Description{Media: Video}
	fb := []Feedback{{"ccm", "fir"}, {"nack", ""}, {"nack", "pli"}}
	rtxFB := fb
	switch {
	case can.TCC:
		fb = append(fb[:len(fb):len(fb)], Feedback{"transport-cc", ""})
	case can.REMB:
		fb = append(fb[:len(fb):len(fb)], Feedback{"goog-remb", ""})
	}
	d.Payloads = []PayloadType{
		{ID: ptAV1, Name: "AV1", ClockRate: 90000, Feedback: fb},
		{ID: ptVP8, Name: "VP8", ClockRate: 90000, Feedback: fb},
		{ID: ptH264, Name: "H264", ClockRate: 90000, Feedback: fb,
			Params: []Param{{"profile-level-id", "42e01f;level-asymmetry-allowed=1;packetization-mode=1;"}}},
		{ID: ptVP9, Name: "VP9", ClockRate: 90000, Feedback: fb},
	}
	if can.RTX {
		d.Payloads = append(d.Payloads, rtx(ptAV1RTX, ptAV1, rtxFB), rtx(ptVP8RTX, ptVP8, rtxFB), rtx(ptVP9RTX, ptVP9, rtxFB), rtx(ptH264RTX, ptH264, nil))
	}
	if can.FEC {
		d.Payloads = append(d.Payloads, PayloadType{ID: ptFlexFEC, Name: "flexfec-03", ClockRate: 90000, Params: []Param{{"repair-window", "10000000"}}})
	}
	d.HdrExts = []HdrExt{{10, extMID}}
	if can.TCC {
		d.HdrExts = append(d.HdrExts, HdrExt{5, extTCC})
	}
	d.HdrExts = append(d.HdrExts, HdrExt{3, extAbsTime}, HdrExt{11, extAV1DD}, HdrExt{12, extPlayout})
	return d
}

func rtx(pt, apt uint8, fb []Feedback) PayloadType {
	return PayloadType{ID: pt, Name: "rtx", ClockRate: 90000, Params: []Param{{"apt", strconv.Itoa(int(apt))}}, Feedback: fb}
}
