package sfu

import (
	"testing"

	"konzil/internal/await"
	"konzil/internal/udpio"
)

// forwarding warms b up: what feeds it, and the first receiver with what it is sent of the camera.
func (b *bed) forwarding() (*batch, []udpio.Packet, *Endpoint, *send) {
	b.drain()
	scratch, list := &batch{}, make([]udpio.Packet, 0, 64)
	b.warm(scratch, list)
	e := b.to[0]
	return scratch, list, e, e.m.sends[200]
}

// TestSqueezed: a receiver whose path becomes narrow is given a layer that fits at once, and of the old one only the lowest temporal layer until then.
func TestSqueezed(t *testing.T) {
	b := newBed(t, 1, 3, func(c *Config) { c.NoKeyframeCache = true }) // the switch shall wait
	scratch, list, e, o := b.forwarding()
	sh := e.sh
	var rate uint64 // of the top layer
	b.c.do(func() { rate = e.down.cost })
	if rate == 0 {
		t.Fatal("nothing is allocated")
	}
	frozen, again := make(chan struct{}), make(chan struct{})
	go b.c.do(func() { close(frozen); <-again })
	<-frozen
	waiting := len(b.c.cmds)
	sh.mu.Lock()
	e.m.est.OnREMB(sh.s.now(), rate/2)
	sh.squeezed(e)
	sh.squeezed(e) // it has not fallen any further
	sh.mu.Unlock()
	if n := len(b.c.cmds) - waiting; n != 1 {
		t.Errorf("the control loop was asked %d times", n)
	}
	close(again)
	var packets uint32
	await.True(t, "a lower layer is aimed at", func() bool {
		sh.mu.Lock()
		defer sh.mu.Unlock()
		packets = o.packets
		return o.target < 202
	})
	for range 8 {
		b.feed(scratch, b.frame(false), list)
	}
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if n := o.packets - packets; n == 0 || n > 6+3 {
		t.Errorf("%d packets of 8 frames of 3, 2 of them of the lowest temporal layer", n)
	}
}

// TestResendOnce: what is asked for again while the answer is under way is not sent again.
func TestResendOnce(t *testing.T) {
	b := newBed(t, 1, 1, nil)
	scratch, list, e, o := b.forwarding()
	sh := e.sh
	ask := func(at int64) (sent uint64) {
		sh.mu.Lock()
		defer sh.mu.Unlock()
		before := sh.s.Counters()
		e.m.resent = 0
		sh.resend(e, o, o.stream.Newest(), at)
		after := sh.s.Counters()
		if early := after["nack_early"] - before["nack_early"]; early+after["rtx_out"]-before["rtx_out"] != 1 {
			t.Fatalf("%d answers, %d refused", after["rtx_out"]-before["rtx_out"], early)
		}
		return after["rtx_out"] - before["rtx_out"]
	}
	b.feed(scratch, b.frame(false), list)
	sh.mu.Lock()
	e.m.rtt = 100e6
	sh.mu.Unlock()
	const start = int64(1e9)
	for _, c := range []struct {
		after int64 // ms
		want  uint64
	}{{0, 1}, {40, 0}, {74, 0}, {75, 1}, {140, 0}, {150, 1}} {
		if got := ask(start + c.after*1e6); got != c.want {
			t.Errorf("after %d ms: %d answers, want %d", c.after, got, c.want)
		}
	}
}
