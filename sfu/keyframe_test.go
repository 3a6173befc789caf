package sfu

import (
	"testing"

	"github.com/pion/rtp"

	"konzil/internal/await"
	"konzil/internal/udpio"
)

// TestKeyframeInParts: a keyframe of H.264 begins once, with its first packet, whatever of other pictures comes in between and in which order its own
// packets come: the keyframe cache repeats it from there, and without the parameter sets nobody could decode it.
func TestKeyframeInParts(t *testing.T) {
	const sps, pps, idr, delta = 0x67, 0x68, 0x65, 0x61
	type part struct {
		seq uint16
		ts  uint32
		nal byte
	}
	for _, c := range []struct {
		name   string
		parts  []part
		begin  uint16
		frames int
	}{
		{"in order", []part{{10, 1, delta}, {11, 2, sps}, {12, 2, pps}, {13, 2, idr}, {14, 2, idr}, {15, 3, delta}}, 11, 3},
		{"a repair of the picture before in between", []part{{9, 1, delta}, {11, 2, sps}, {12, 2, pps}, {10, 1, delta}, {13, 2, idr}, {14, 2, idr}}, 11, 2},
		{"parameter sets overtaken", []part{{10, 1, delta}, {13, 2, idr}, {11, 2, sps}, {12, 2, pps}, {14, 3, delta}}, 11, 3},
		{"all of it after the next picture", []part{{10, 1, delta}, {15, 3, delta}, {11, 2, sps}, {13, 2, idr}, {12, 2, pps}, {14, 2, idr}}, 11, 3},
		{"the next picture in between", []part{{10, 1, delta}, {11, 2, sps}, {15, 3, delta}, {13, 2, idr}, {12, 2, pps}}, 11, 3},
		{"a second keyframe", []part{{11, 2, sps}, {12, 2, idr}, {13, 3, delta}, {14, 4, sps}, {15, 4, idr}}, 14, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			conf := func(id string) EndpointConfig {
				e := endpointConfig(id)
				e.Codecs[1].Name = "h264"
				return e
			}
			b := newBedOf(t, conf, Source{Name: "from-v0", Kind: Video, SSRCs: []uint32{200}}, 1, nil)
			var scratch batch
			feed := func(x part) {
				p := &rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: x.seq, Timestamp: 3000 * x.ts}, Payload: []byte{x.nal, 1, 2, 3}}
				b.feed(&scratch, [][]byte{b.protect(p, 200, ptVP8)}, make([]udpio.Packet, 0, 1))
			}
			frames := 0
			tr := b.c.trackOf(200)
			b.c.do(func() { // so that the control loop does not take what was counted
				for _, x := range c.parts {
					feed(x)
				}
				tr.ep.sh.mu.Lock()
				defer tr.ep.sh.mu.Unlock()
				for _, n := range tr.frames[0] {
					frames += int(n)
				}
			})
			if !tr.key.have || tr.key.seq != c.begin {
				t.Errorf("the keyframe begins at %d, not at %d", tr.key.seq, c.begin)
			}
			if frames != c.frames {
				t.Errorf("%d pictures were counted, %d wanted", frames, c.frames)
			}
		})
	}
}

// TestKeyframeOfAudio: a receiver that asks for a keyframe of audio, by mistake or not, does not have the sender asked for one that never comes.
func TestKeyframeOfAudio(t *testing.T) {
	b := newBed(t, 1, 1, nil)
	var scratch batch
	b.warm(&scratch, make([]udpio.Packet, 0, 64))
	e := b.to[0]
	await.True(t, "audio flows", func() bool {
		e.sh.mu.Lock()
		defer e.sh.mu.Unlock()
		o := e.m.sends[100]
		return o != nil && o.src != nil
	})
	e.sh.mu.Lock()
	defer e.sh.mu.Unlock()
	e.sh.pli(e, 100, b.s.now())
	if b.c.trackOf(100).wantKey {
		t.Error("a keyframe of audio is wanted")
	}
}
