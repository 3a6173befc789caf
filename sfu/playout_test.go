package sfu

import (
	"fmt"
	"testing"

	"konzil/internal/await"
	"konzil/internal/udpio"
)

const extPlayout = 12

// TestPlayout has two receivers that lose packets, one of which has negotiated the playout delay. It is told on some packets when the loss begins, again when
// the round trip has become another one, and when the loss has ended.
func TestPlayout(t *testing.T) {
	b := newBedOf(t, func(id string) EndpointConfig {
		c := endpointConfig(id)
		if id == "to0" {
			c.Extensions = append(c.Extensions, Extension{ID: extPlayout, URI: uriPlayout})
		}
		return c
	}, Source{Name: "from-v0", Kind: Video, SSRCs: []uint32{200}, RTX: []uint32{300}}, 2, nil)
	b.enc = []*vp8Encoder{{seq: 100}}
	taps := []*tap{newTap(t, b.sinks[0]), newTap(t, b.sinks[1])}
	var scratch batch
	list := make([]udpio.Packet, 0, 64)
	b.warm(&scratch, list)
	seen := 0
	// told feeds packets after a change of the path and returns what was told meanwhile, in order.
	told := func(loss float64, rtt int64) (values []string) {
		t.Helper()
		for _, e := range b.to {
			e.sh.mu.Lock()
			m := &e.m
			m.loss, m.rtt = lossMeter{}, rtt
			m.loss.note(int(1000*loss), 1000, e.sh.clock)
			m.judgePlayout(e.sh.clock)
			e.sh.mu.Unlock()
		}
		n := len(taps[0].of(200))
		await.True(t, "packets", func() bool {
			b.feed(&scratch, b.frame(false), list)
			return len(taps[0].of(200)) > n+3*playoutTold
		})
		ps := taps[0].of(200)
		count := 0
		for _, p := range ps[seen:] {
			x := p.GetExtension(extPlayout)
			if len(x) != 3 {
				continue
			}
			count++
			if s := fmt.Sprintf("%d..%d", int(x[0])<<4|int(x[1])>>4, int(x[1]&0xf)<<8|int(x[2])); len(values) == 0 || values[len(values)-1] != s {
				values = append(values, s)
			}
		}
		seen = len(ps)
		if count > playoutTold {
			t.Errorf("told on %d packets", count)
		}
		return values
	}
	for _, c := range []struct {
		loss float64
		rtt  int64
		want string
	}{
		{0, 40e6, "[]"},
		{0.01, 40e6, "[]"},
		{0.1, 40e6, "[15..4095]"},
		{0.1, 50e6, "[]"}, // not worth telling
		{0.05, 20e6, "[9..4095]"},
		{0.1, 900e6, "[40..4095]"},
		{0.1, 0, "[27..4095]"}, // not known
		{0, 40e6, "[0..4095]"},
	} {
		if got := fmt.Sprint(told(c.loss, c.rtt)); got != c.want {
			t.Errorf("%v lost, %d ms: %s, want %s", c.loss, c.rtt/1e6, got, c.want)
		}
	}
	for _, p := range taps[1].of(200) {
		if p.GetExtension(extPlayout) != nil {
			t.Fatal("told to one that has not negotiated it")
		}
	}
}
