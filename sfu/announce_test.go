package sfu

import (
	"fmt"
	"testing"

	"konzil/internal/await"
)

// TestKnows: when a receiver may be taken to know a source of that age.
func TestKnows(t *testing.T) {
	const ms = int64(1e6)
	for _, c := range []struct {
		acks      Acks
		rewriting bool
		kind      MediaKind
		created   int64 // ms; the receiver was made at 100 and connected at 200
		acked     int64 // 0: not
		after     int64 // ms: it flows from then on
		mid       string
	}{
		{NoAcks, false, Audio, 50, 0, 0, ""},
		{NoAcks, false, Audio, 150, 0, 700, ""},
		{NoAcks, false, Audio, 1000, 0, 1500, ""},
		{NoAcks, false, Video, 1000, 0, 0, ""},
		{AckReceived, false, Audio, 50, 0, 0, ""},
		{AckReceived, false, Audio, 1000, 0, 4000, ""},
		{AckReceived, false, Audio, 1000, 1300, 1700, ""},
		{AckReceived, false, Audio, 150, 160, 600, ""}, // still busy with the answer
		{AckReceived, false, Video, 1000, 0, 0, ""},
		{AckApplied, false, Audio, 50, 0, 0, ""},
		{AckApplied, false, Audio, 1000, 0, 11000, ""},
		{AckApplied, false, Audio, 1000, 1300, 1300, ""},
		{AckApplied, false, Video, 1000, 0, 11000, ""},
		{AckApplied, false, Video, 1000, 1300, 1300, ""},
		{NoAcks, true, Audio, 1000, 0, 1500, ""},
		{NoAcks, true, Audio, 1000, 0, 0, "a0"},
		{NoAcks, true, Video, 1000, 0, 0, ""},
	} {
		t.Run(fmt.Sprint(c), func(t *testing.T) {
			src := &source{kind: c.kind, created: c.created * ms}
			e := &Endpoint{created: 100 * ms, connectedAt: 200 * ms, acked: map[*source]int64{}, cfg: EndpointConfig{Acks: c.acks, SSRCRewriting: c.rewriting}}
			sb := &sub{src: src, mid: c.mid, notBefore: 1500 * ms}
			e.ext.mid = 9
			for now := int64(1); now < 12000; now++ {
				if now == c.acked {
					e.acked[src] = now * ms
				}
				if got, want := now*ms >= e.knownAt(sb), now >= c.after; got != want {
					t.Fatalf("at %d ms: %v", now, got)
				}
			}
		})
	}
}

// TestAckSources: a source that came later reaches a receiver that acknowledges sources when it has done so, and not before.
func TestAckSources(t *testing.T) {
	v := Source{Name: "from-v0", Kind: Video, SSRCs: []uint32{200}}
	b := newBedOf(t, func(id string) EndpointConfig {
		c := endpointConfig(id)
		c.Acks = AckApplied
		return c
	}, v, 1, nil)
	b.enc = []*vp8Encoder{{seq: 100}}
	e := b.to[0]
	late := []Source{{Name: "from-a0", Kind: Audio, SSRCs: []uint32{100}}, v, {Name: "from-a1", Kind: Audio, SSRCs: []uint32{101}}}
	must(t, b.from.SetSources(late))
	flows := func(ssrc uint32) (yes bool) {
		b.c.do(func() {
			src := b.c.trackOf(ssrc).src
			src.created = max(src.created, b.s.now()-ackLimit/2) // however slow the machine
			sb := e.subs[src]
			yes = sb != nil && sb.linked
			b.c.dirty = true
		})
		return yes
	}
	await.True(t, "what it joined to flows", func() bool { return flows(100) })
	var allocated int64
	b.c.do(func() { allocated = b.c.allocated })
	await.True(t, "an allocation", func() (yes bool) {
		if flows(101) {
			t.Fatal("it flows before it is known")
		}
		b.c.do(func() { yes = b.c.allocated > allocated && e.subs[b.c.trackOf(101).src] != nil })
		return yes
	})
	e.AckSources([]uint32{101, 999})
	await.True(t, "what was acknowledged flows", func() bool { return flows(101) })
	b.c.do(func() {
		if len(e.acked) != 1 {
			t.Errorf("%d acknowledged", len(e.acked))
		}
	})
	must(t, b.from.SetSources(late[:2]))
	b.c.do(func() {
		if len(e.acked) != 0 {
			t.Error("a source that is gone is remembered")
		}
	})
}
