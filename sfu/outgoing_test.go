package sfu

import "testing"

// TestOneFlowPerSSRC: whoever claims an SSRC under which something else went out before, be it of somebody who has left, does not get it forwarded: two
// flows with numbers of their own would use packet indexes, and so nonces of AES-GCM, twice.
func TestOneFlowPerSSRC(t *testing.T) {
	b := newBed(t, 1, 1, nil)
	e := b.to[0]
	b.c.do(func() {
		a := e.sendFor(500, 501, 502, Video)
		if a == nil || a.rtxSSRC != 501 || a.protection == nil || e.sendFor(500, 501, 502, Video) != a {
			t.Errorf("%+v", a)
			return
		}
		for _, ssrc := range []uint32{501, 502} {
			if e.sendFor(ssrc, 0, 0, Video) != nil {
				t.Errorf("a repair flow, %d, becomes a medium", ssrc)
			}
		}
		for _, rtx := range []uint32{500, 501, 502} {
			if o := e.sendFor(600+rtx, rtx, 0, Video); o == nil || o.rtxSSRC != 0 || o.exts == nil || e.m.sends[600+rtx] != o {
				t.Errorf("%d is a repair flow again: %+v", rtx, o)
			}
			if o := e.sendFor(700+rtx, 800+rtx, rtx, Video); o == nil || o.rtxSSRC != 800+rtx || o.protection != nil {
				t.Errorf("%d protects again: %+v", rtx, o)
			}
		}
	})
	must(t, b.from.SetSources([]Source{{Name: "from-v0", Kind: Video, SSRCs: []uint32{501}}}))
	b.c.do(func() {
		b.c.allocate(b.s.now())
		if len(e.subs) != 0 {
			t.Errorf("%d sources flow", len(e.subs))
		}
	})
}

// TestSendsOfThoseWhoLeft: who stays in a meeting that others come to and leave keeps little of each, and goes on where it stopped with one that comes back.
func TestSendsOfThoseWhoLeft(t *testing.T) {
	b := newBed(t, 1, 1, nil)
	e := b.to[0]
	var first *send
	const times = 3 * maxGone
	for n := range times {
		must(t, b.from.SetSources([]Source{{Name: "from-v0", Kind: Video, SSRCs: []uint32{uint32(1000 + n)}, RTX: []uint32{uint32(9000 + n)}}}))
		b.c.do(func() {
			b.c.allocate(b.s.now())
			o := e.sends[uint32(1000+n)]
			switch {
			case o == nil:
				t.Errorf("source %d does not flow", n)
			case n == 0:
				first = o
				o.stream.Reset(4711, 0)
			}
		})
	}
	b.c.do(func() {
		e.sh.mu.Lock()
		kept := len(e.m.sends)
		e.sh.mu.Unlock()
		if kept > 2*(maxGone+3) || len(e.gone) != maxGone {
			t.Errorf("%d SSRCs are looked through each tick, %d wait", kept, len(e.gone))
		}
		if o := e.sendFor(1000, 9000, 0, Video); o != first || e.m.sends[1000] != o || e.m.sends[9000] != o || o.stream.Newest() != 4710 {
			t.Error("it begins anew")
		}
	})
}
