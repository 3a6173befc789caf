package translator

import (
	"encoding/binary"
	"errors"
	"testing"
)

// header is the start of a packet: RTP of a payload type, or RTCP of a type, with the SSRC of its sender and what it is about.
func header(second byte, ssrc, about uint32) []byte {
	b := []byte{0x81, second, 0, 7}
	if second < 192 {
		b[0] = 0x80
		return binary.BigEndian.AppendUint32(append(b, 0, 0, 0, 0), ssrc)
	}
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(b, ssrc), about)
}

// TestBundle: the packets of a bundle go to the channel of their SSRC, else of their payload type; RTCP to that whose sender or subject is known.
func TestBundle(t *testing.T) {
	w := newWorld(t, nil)
	other, err := w.r.Open("video", &seen{})
	must(t, err)
	audio := w.add(ChannelConfig{ID: "audio", ICE: true, Bundle: true})
	video, err := other.Add(ChannelConfig{ID: "video", With: audio})
	must(t, err)
	far, err := other.Add(ChannelConfig{ID: "far"})
	must(t, err)
	audio.SetMedia([]uint8{111, 126}, nil)
	video.SetMedia([]uint8{100}, []uint32{77})
	far.SetMedia(nil, []uint32{99})
	if a, b := at(audio), at(video); a != b {
		t.Errorf("ports %s, %s", a, b)
	}
	if rtp, rtcp := ports(audio); rtp != rtcp {
		t.Errorf("RTCP at %s", rtcp)
	}
	for what, c := range map[string]struct {
		k    kind
		b    []byte
		want *Channel
	}{
		"payload type of audio":        {rtp, header(111, 1, 0), audio},
		"the same with the marker":     {rtp, header(0x80|126, 1, 0), audio},
		"payload type of video":        {rtp, header(100, 1, 0), video},
		"SSRC of video":                {rtp, header(111, 77, 0), video},
		"nobody's payload type":        {rtp, header(5, 1, 0), nil},
		"a report of a known sender":   {rtcp, header(200, 77, 1), video},
		"a receiver's, about a source": {rtcp, header(201, 1, 99), video},
		"a receiver's, about nothing":  {rtcp, header(201, 1, 5), nil},
		"a report that is all header":  {rtcp, header(201, 1, 0)[:8], nil},
	} {
		if got := audio.t.channelOf(c.k, c.b); got != c.want {
			t.Errorf("%s: %v", what, got)
		}
	}
	for what, cfg := range map[string]ChannelConfig{
		"of a raw end":  {ID: "x", Bundle: true},
		"of text alone": {ID: "x", ICE: true, Data: true},
		"of no bundle":  {ID: "x", With: far},
	} {
		if _, err := w.r.Add(cfg); !errors.Is(err, ErrBundle) {
			t.Errorf("a bundle %s: %v", what, err)
		}
	}
	if err := audio.Send([]byte("x")); !errors.Is(err, ErrNotOpen) {
		t.Errorf("text to nobody: %v", err)
	}
	// the ports are there until the last channel is closed
	audio.Close()
	must(t, video.SetRemote(Remote{Ufrag: "u", Pwd: "p"}))
	video.Close()
	if err := video.SetRemote(Remote{Ufrag: "u", Pwd: "p"}); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
	if _, err := other.Add(ChannelConfig{ID: "late", With: audio}); !errors.Is(err, ErrBundle) {
		t.Errorf("a closed bundle: %v", err)
	}
	other.Close()
}
