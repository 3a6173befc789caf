package sfu

import (
	"fmt"
	"testing"

	"github.com/pion/rtp"

	"konzil/internal/await"
	"konzil/internal/udpio"
)

// TestSilence: digital silence is forwarded for a while, then not, and sound after it at once, without a gap in the numbers.
func TestSilence(t *testing.T) {
	for _, shards := range []int{1, 2} {
		t.Run(fmt.Sprint(shards), func(t *testing.T) {
			b := newBedOf(t, endpointConfig, Source{Name: "from-v0", Kind: Video, SSRCs: []uint32{200}}, 2, func(c *Config) { c.Shards, c.ShardSpill = shards, 1 })
			taps := []*tap{newTap(t, b.sinks[0]), newTap(t, b.sinks[1])}
			var scratch batch
			list := make([]udpio.Packet, 0, 1)
			seq := uint16(65530)
			say := func(level byte) {
				seq++
				p := &rtp.Packet{Header: rtp.Header{Version: 2, SequenceNumber: seq, Timestamp: uint32(int16(seq)) * 960}, Payload: []byte(fmt.Sprint(level))}
				must(t, p.SetExtension(extLevel, []byte{level}))
				b.feed(&scratch, [][]byte{b.protect(p, 100, ptOpus)}, list)
			}
			got := func(n int) bool { return len(taps[0].of(100)) >= n && len(taps[1].of(100)) >= n }
			await.True(t, "audio for both", func() bool { say(30); return got(5) })
			for range 10 {
				say(silent) // a short pause goes on
			}
			long := func() {
				b.from.sh.mu.Lock()
				b.from.sources["from-a0"].tracks[0].heard.lastSound -= silentAfter + 1
				b.from.sh.mu.Unlock()
			}
			long()
			before := b.s.Counters()["silence_withheld"]
			for range 100 {
				say(silent)
			}
			if n := b.s.Counters()["silence_withheld"] - before; n != 100 {
				t.Fatalf("%d packets of silence were withheld", n)
			}
			n := len(taps[0].of(100))
			await.True(t, "sound again", func() bool { say(40); return got(n + 5) })
			for i, p := range taps {
				pauses := 0
				ps := p.of(100)
				for k := range ps[1:] {
					if ps[k+1].SequenceNumber != ps[k].SequenceNumber+1 {
						t.Fatalf("receiver %d: %d after %d", i, ps[k+1].SequenceNumber, ps[k].SequenceNumber)
					}
					switch step := ps[k+1].Timestamp - ps[k].Timestamp; {
					case step == 101*960:
						pauses++
						if string(ps[k+1].Payload) != "40" {
							t.Errorf("receiver %d: %s comes first after the silence", i, ps[k+1].Payload)
						}
					case step != 960:
						t.Fatalf("receiver %d: timestamp goes on by %d", i, step)
					}
				}
				if pauses != 1 {
					t.Errorf("receiver %d: %d pauses", i, pauses)
				}
			}
		})
	}
}

// TestLoudest: only the loudest have a place, for a while at least, and somebody louder takes the place of the quietest.
func TestLoudest(t *testing.T) {
	c := &Conference{}
	c.loudest.n.Store(2)
	var tr []*track
	for range 4 {
		tr = append(tr, &track{ep: &Endpoint{conf: c}})
	}
	say := func(i int, level uint8, at float64, want bool) {
		t.Helper()
		if got := tr[i].heard.among(tr[i], level, 1e9+int64(at*1e9)); got != want {
			t.Errorf("at %v s speaker %d with -%d dB: %v", at, i, level, got)
		}
	}
	say(0, 30, 0, true)
	say(1, 50, 0, true)
	say(2, 20, 0.1, false) // nobody is cut off within a syllable
	say(2, 20, 0.4, true)  // instead of 1
	say(1, 50, 0.42, false)
	say(0, 30, 0.44, true)
	say(0, 30, 0.88, true)
	say(3, 28, 0.9, false) // not by so little
	say(0, 90, 1.0, true)  // a pause is none
	say(3, 35, 1.5, true)  // instead of 0, who has fallen below
	say(2, 20, 1.52, true)
	say(0, 30, 1.55, false)
	c.loudest.leave(tr[2])
	say(0, 60, 1.6, true)
	c.loudest.n.Store(0)
	say(1, 126, 1.7, true) // no limit
}
