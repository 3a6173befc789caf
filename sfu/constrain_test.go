package sfu

import (
	"testing"

	"konzil/internal/await"
)

// A sender hears what is wanted of it when its media comes here; of two that may be connected to each other nobody hears anything before. Who was told
// that nobody wants it hears of the next wish at once, for it sends nothing until then.
func TestSenderConstraints(t *testing.T) {
	b := newBed(t, 1, 3, nil)
	ev := b.c.ev.(*events)
	told := func() (all []int) {
		ev.mu.Lock()
		defer ev.mu.Unlock()
		for _, v := range ev.list {
			if v.kind == "constraint" && v.source == "from-v0" {
				all = append(all, v.n)
			}
		}
		return all
	}
	last := func() int {
		if all := told(); len(all) > 0 {
			return all[len(all)-1]
		}
		return -2
	}
	want := func(height int) {
		b.to[0].SetConstraints(VideoConstraints{LastN: -1, Default: Constraint{MaxHeight: height}})
		b.c.do(func() { b.c.allocate(b.c.s.now()) })
	}
	want(180)
	if all := told(); all != nil {
		t.Fatal("told before any media came:", all)
	}
	var scratch batch
	await.True(t, "180 told when media comes", func() bool {
		b.feed(&scratch, b.frame(true), nil)
		return last() == 180
	})
	want(0)
	await.True(t, "0 told", func() bool { return last() == 0 })
	b.c.do(func() { // the silence that follows, without waiting for it
		for _, tr := range b.from.sources["from-v0"].tracks {
			tr.seen.active = false
		}
	})
	want(360)
	await.True(t, "360 told although nothing comes", func() bool { return last() == 360 })
}

// A source that nobody wants is not stopped before receivers could say what they want.
func TestUnwantedIsToldLate(t *testing.T) {
	b := newBed(t, 1, 1, nil)
	ev := b.c.ev.(*events)
	at := func(now int64) (zero bool) {
		b.c.do(func() { b.c.allocate(now) })
		ev.mu.Lock()
		defer ev.mu.Unlock()
		for _, v := range ev.list {
			zero = zero || v.kind == "constraint" && v.source == "from-v0" && v.n == 0
		}
		return zero
	}
	var begin int64
	b.c.do(func() { b.to[0].want, begin = nil, b.c.s.now() })
	if at(begin) || at(begin+10*unwantedFor) {
		t.Fatal("told 0 though nobody has said what it wants")
	}
	b.to[0].SetConstraints(VideoConstraints{LastN: -1})
	b.c.do(func() { clear(b.from.unwanted); begin = b.c.s.now() })
	if at(begin) {
		t.Error("told 0 at once")
	}
	if !at(begin + 2*unwantedFor) {
		t.Error("never told 0")
	}
}
