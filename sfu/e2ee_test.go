package sfu

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/pion/rtp"

	"konzil/internal/await"
	"konzil/internal/udpio"
	"konzil/sfu/codec"
)

// TestEncryptedFrames: frames that are encrypted end to end are chosen by what is clear (VP8: the descriptor and the first bytes that
// lib-jitsi-meet leaves open, 10 of a keyframe and 3 of others; VP9: the descriptor; AV1 and H.264: the dependency descriptor), and what is encrypted
// arrives byte for byte, through changes of layer and the keyframe cache.
func TestEncryptedFrames(t *testing.T) {
	t.Run("vp8", func(t *testing.T) {
		b := newBed(t, 2, 3, nil)
		b.to[1].SetConstraints(VideoConstraints{LastN: -1})
		sent := newSecrets()
		taps := []*tap{newTap(t, b.sinks[0]), newTap(t, b.sinks[1])}
		var scratch batch
		list := make([]udpio.Packet, 0, 64)
		step := func() {
			var out [][]byte
			for i, e := range b.enc {
				tr := b.from.sources["from-v0"].tracks[i]
				b.from.sh.mu.Lock()
				key := tr.wantKey
				b.from.sh.mu.Unlock()
				for k, p := range e.frame(key) {
					d, _ := codec.ParseVP8(p.Payload)
					open := d.HeaderLen
					if k == 0 {
						open += map[bool]int{true: 10, false: 1}[d.Keyframe]
					}
					p.Payload = sent.seal(p.Payload[:open], 300)
					out = append(out, b.protect(p, uint32(200+i), ptVP8))
				}
			}
			b.feed(&scratch, out, list)
		}
		for _, h := range []int{720, 180, 360, 720} {
			b.to[0].SetConstraints(VideoConstraints{LastN: -1, Default: Constraint{MaxHeight: h}})
			if h == 360 { // somebody comes late
				b.to[1].SetConstraints(VideoConstraints{LastN: -1, Default: Constraint{MaxHeight: 360}})
			}
			want := uint32(map[int]int{180: 200, 360: 201, 720: 202}[h])
			await.True(t, fmt.Sprint(h, " lines"), func() (done bool) {
				step()
				b.from.sh.mu.Lock()
				defer b.from.sh.mu.Unlock()
				o := b.to[0].m.sends[200]
				return o != nil && o.stream.Current() == want && o.hold == 0
			})
		}
		await.True(t, "the late one sees it", func() bool { step(); return len(taps[1].of(200)) > 30 })
		for _, p := range taps {
			sent.check(t, p.of(200))
		}
	})
	for _, name := range []string{"vp9", "av1", "h264"} {
		t.Run(name, func(t *testing.T) {
			b := newSVCBed(t, name, 3, nil)
			b.enc.av1 = name != "vp9" // by the dependency descriptor
			sent := newSecrets()
			taps := []*tap{newTap(t, b.sinks[0])}
			step := func() {
				tr := b.track()
				b.from.sh.mu.Lock()
				key := tr.wantKey
				b.from.sh.mu.Unlock()
				var out [][]byte
				for _, p := range b.enc.picture(key) {
					open := 0
					if name == "vp9" {
						d, _ := codec.ParseVP9(p.Payload)
						open = d.HeaderLen
					}
					p.Payload = sent.seal(p.Payload[:open], 300)
					out = append(out, b.protect(p, 200, ptVP8))
				}
				b.feed(&b.scratch, out, b.list)
			}
			for _, h := range []int{720, 180, 360} {
				b.to[0].SetConstraints(VideoConstraints{LastN: -1, Default: Constraint{MaxHeight: h}})
				n := len(taps[0].of(200))
				await.True(t, fmt.Sprint(h, " lines"), func() bool { step(); return len(taps[0].of(200)) > n+40 })
			}
			sent.check(t, taps[0].of(200))
		})
	}
}

// secrets remembers the encrypted parts of packets.
type secrets struct {
	mu   sync.Mutex
	body map[uint64][]byte
	rnd  *rand.ChaCha8
}

func newSecrets() *secrets {
	return &secrets{body: map[uint64][]byte{}, rnd: rand.NewChaCha8([32]byte{1})}
}

// seal puts n random bytes behind what is open.
func (s *secrets) seal(open []byte, n int) []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	body := make([]byte, n)
	_, _ = s.rnd.Read(body)
	s.body[binary.BigEndian.Uint64(body[n-8:])] = body
	return append(bytes.Clone(open), body...)
}

func (s *secrets) check(t *testing.T, ps []*rtp.Packet) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(ps) == 0 {
		t.Fatal("nothing arrived")
	}
	for i, p := range ps {
		if p.PayloadType == ptRTX {
			continue
		}
		body := s.body[binary.BigEndian.Uint64(p.Payload[len(p.Payload)-8:])]
		if body == nil || !bytes.HasSuffix(p.Payload, body) {
			t.Fatalf("packet %d was changed", i)
		}
	}
}
