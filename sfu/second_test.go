package sfu

import (
	"encoding/binary"
	"testing"

	"konzil/internal/await"
	"konzil/internal/udpio"
)

// TestTails has a receiver that loses packets and one that does not. The first gets the last packet of each picture again, unasked, but never more
// than a share of the stream.
func TestTails(t *testing.T) {
	b := newBedOf(t, endpointConfig, Source{Name: "from-v0", Kind: Video, SSRCs: []uint32{200}, RTX: []uint32{300}}, 2, nil)
	b.enc = []*vp8Encoder{{seq: 100}}
	taps := []*tap{newTap(t, b.sinks[0]), newTap(t, b.sinks[1])}
	var scratch batch
	list := make([]udpio.Packet, 0, 64)
	b.warm(&scratch, list)
	lossy := func(share float64) {
		e := b.to[0]
		e.sh.mu.Lock()
		defer e.sh.mu.Unlock()
		e.m.loss = lossMeter{}
		e.m.noteLoss(int(1000*share), 1000, e.sh.clock)
	}
	tails := func() uint64 { return b.s.Counters()["rtx_tail"] }
	play := func(frames int) {
		for range frames {
			b.feed(&scratch, b.frame(false), list)
		}
	}
	play(20)
	if n := tails(); n != 0 {
		t.Errorf("%d repeated without loss", n)
	}
	lossy(0.02)
	await.True(t, "tails", func() bool { play(1); return tails() >= 20 })
	lossy(0)
	await.True(t, "the last of them", func() bool {
		b.to[0].sh.mu.Lock()
		defer b.to[0].sh.mu.Unlock()
		return len(b.to[0].m.seconds) == 0
	})
	n := tails()
	play(20)
	if tails() != n {
		t.Error("repeated after the loss has ended")
	}
	await.True(t, "all repetitions to arrive", func() bool { return uint64(len(taps[0].of(300))) == n })
	ends := map[uint16]bool{}
	media, again := 0, 0
	for _, p := range taps[0].of(200) {
		media += len(p.Payload)
		if p.Marker {
			ends[p.SequenceNumber] = true
		}
	}
	for _, p := range taps[0].of(300) {
		again += len(p.Payload)
		if osn := binary.BigEndian.Uint16(p.Payload); !ends[osn] {
			t.Errorf("packet %d, which ends no picture, was repeated", osn)
		}
	}
	if again*tailShare > media {
		t.Errorf("%d bytes for %d", again, media)
	}
	if n := len(taps[1].of(300)); n != 0 {
		t.Errorf("%d repeated to who loses nothing", n)
	}
}
