package sfu

import (
	"testing"

	"konzil/internal/await"
	"konzil/internal/udpio"
)

// TestPacing feeds a burst of sixty packets to a receiver with little bandwidth and to one whose path is not known: the first gets ten
// at once and the rest by and by, in order, audio passes it, and nothing is left over.
func TestPacing(t *testing.T) {
	bd := newBed(t, 2, 1, nil)
	bd.drain()
	var scratch batch
	list := make([]udpio.Packet, 0, 128)
	sh := bd.from.sh
	slow, fast := bd.to[0], bd.to[1]
	// The made rates are above any estimate: the control loop must not look at them.
	var thaw chan struct{}
	for flowing := false; !flowing; {
		bd.warm(&scratch, list)
		frozen, again := make(chan struct{}), make(chan struct{})
		go bd.c.do(func() { close(frozen); <-again })
		<-frozen
		sh.mu.Lock()
		live := func(e *Endpoint) bool {
			o := e.m.sends[200]
			return o.src != nil && o.hold == 0 && o.stream.Current() == 200
		}
		flowing = live(slow) && live(fast)
		sh.mu.Unlock()
		if thaw = again; !flowing {
			close(again)
		}
	}
	defer close(thaw)
	sh.mu.Lock()
	slow.m.est.OnREMB(sh.s.now(), 500_000)
	sh.mu.Unlock()
	await.True(t, "the bucket is on", func() bool {
		sh.mu.Lock()
		defer sh.mu.Unlock()
		sh.paceOut(slow, sh.s.now())
		return slow.m.est.Measured()
	})
	var pkts [][]byte
	for range 20 {
		for _, p := range bd.enc[0].frame(false) {
			p.Payload = append(p.Payload, make([]byte, 1100-len(p.Payload))...)
			pkts = append(pkts, bd.protect(p, 200, ptVP8))
		}
	}
	pkts = append(pkts, bd.frame(false)[3]) // audio
	sent := func(e *Endpoint) (video, audio, held int) {
		sh.mu.Lock()
		defer sh.mu.Unlock()
		return int(e.m.sentBytes[Video]) / 1100, int(e.m.sentBytes[Audio]), e.m.pacer.n
	}
	v0, a0, _ := sent(slow)
	f0, _, _ := sent(fast)
	bd.feed(&scratch, pkts, list)
	v1, a1, held := sent(slow)
	f1, _, _ := sent(fast)
	if f1-f0 < 60 {
		t.Errorf("%d of 60 packets to the fast one", f1-f0)
	}
	if v1-v0 > 20 || held < 40 || a1 == a0 {
		t.Errorf("%d packets at once, %d held, audio %d bytes", v1-v0, held, a1-a0)
	}
	await.True(t, "the rest goes out", func() bool { v, _, held := sent(slow); return held == 0 && v-v0 >= 60 })
	c := sh.s.Counters()
	if c["paced"] < 40 || c["drop_paced"] != 0 {
		t.Errorf("paced %d, dropped %d", c["paced"], c["drop_paced"])
	}
	// More than fits is dropped and counted.
	pkts = pkts[:0]
	for range 250 {
		for _, p := range bd.enc[0].frame(false) {
			p.Payload = append(p.Payload, make([]byte, 1100-len(p.Payload))...)
			pkts = append(pkts, bd.protect(p, 200, ptVP8))
		}
	}
	bd.feed(&scratch, pkts, list)
	if _, _, held := sent(slow); held > maxHeld {
		t.Errorf("%d held", held)
	}
	if sh.s.Counters()["drop_paced"] == 0 {
		t.Error("nothing dropped")
	}
	bd.to[0].sh.leave(slow)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if n := sh.held.held(); n != 0 {
		t.Errorf("%d held for one who is gone", n)
	}
}

// held is how many packets are out.
func (p *heldPool) held() int { return p.made - p.spare }

// TestHeldPool: places are used again, no more than there are go out, and when many come back all their memory goes with them.
func TestHeldPool(t *testing.T) {
	room, free := udpio.Buffer(maxHeldShard * slotSize)
	defer free()
	p := heldPool{room: room}
	var out []*heldPacket
	for k := p.take(); k != nil; k = p.take() {
		k.buf[0], k.buf[slotSize-1] = 1, 1
		out = append(out, k)
	}
	if len(out) != maxHeldShard || p.held() != maxHeldShard {
		t.Fatalf("%d taken, %d held", len(out), p.held())
	}
	p.put(out[7])
	if k := p.take(); k != out[7] {
		t.Error("what was put back is not taken again")
	}
	for _, k := range out {
		p.put(k)
	}
	if p.held() != 0 || p.made != 0 {
		t.Errorf("%d held, %d made", p.held(), p.made)
	}
	seen := map[*byte]bool{}
	for range 2 * keptHeld {
		k := p.take()
		if seen[&k.buf[0]] {
			t.Fatal("a place was given out twice")
		}
		seen[&k.buf[0]] = true
	}
	if last := room[len(room)-1]; last != 0 && room[len(room)-slotSize] != 0 {
		t.Error("the memory was not given back")
	}
}
