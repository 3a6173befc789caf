package sfu

import (
	"errors"
	"strings"
	"testing"

	"konzil/internal/await"
)

// pair joins two clients and lets both play.
func pair(t *testing.T, s *SFU, layers int) (*Conference, *events, *client, *client) {
	t.Helper()
	ev := newEvents()
	c, err := s.NewConference("room", ev)
	must(t, err)
	a := newClient(t, c, "aaaa", clientOptions{layers: layers})
	b := newClient(t, c, "bbbb", clientOptions{layers: layers})
	a.join(b.sources())
	b.join(a.sources())
	ev.connected(t, "aaaa")
	ev.connected(t, "bbbb")
	return c, ev, a, b
}

func TestAudioBothWays(t *testing.T) {
	t.Parallel()
	s := startSFU(t, nil)
	_, _, a, b := pair(t, s, 0)
	stopA, stopB := a.play(nil), b.play(nil)
	defer stopB()
	defer stopA()
	await.True(t, "audio at b", func() bool { return b.count(a.ssrc(0)) > 20 })
	await.True(t, "audio at a", func() bool { return a.count(b.ssrc(0)) > 20 })
	p := b.packets(a.ssrc(0))
	for i, x := range p {
		if !strings.HasPrefix(string(x.Payload), "opus of aaaa ") {
			t.Fatalf("payload %q", x.Payload)
		}
		if i > 0 && x.SequenceNumber != p[i-1].SequenceNumber+1 {
			t.Fatalf("sequence number %d after %d", x.SequenceNumber, p[i-1].SequenceNumber)
		}
		if lv := x.GetExtension(extLevel); len(lv) != 1 || (lv[0] != 90 && lv[0]&0x80 == 0) {
			t.Fatalf("audio level %v", lv)
		}
	}
}

func TestSimulcastSwitch(t *testing.T) {
	t.Parallel()
	s := startSFU(t, nil)
	_, ev, a, b := pair(t, s, 3)
	stop := a.play(nil)
	defer stop()
	await.True(t, "audio", func() bool { return b.count(a.ssrc(0)) > 5 })
	out := a.ssrc(1)
	if n := b.count(out); n != 0 {
		t.Fatalf("%d video packets before any constraint", n)
	}
	layerOf := func() byte {
		p := b.packets(out)
		if len(p) == 0 {
			return 0
		}
		last := string(p[len(p)-1].Payload)
		i := strings.Index(last, "layer ")
		if i < 0 {
			return 0
		}
		return last[i+6]
	}
	for _, step := range []struct {
		height int
		layer  byte
	}{{180, '0'}, {720, '2'}, {360, '1'}, {720, '2'}, {180, '0'}} {
		b.ep.SetConstraints(VideoConstraints{LastN: -1, Default: Constraint{MaxHeight: step.height}})
		await.True(t, "layer for "+string(step.layer), func() bool { return layerOf() == step.layer })
	}
	ev.wait(t, "forwarded", func(v event) bool {
		return v.kind == "forwarded" && v.ep == "bbbb" && len(v.names) == 1 && v.names[0] == "aaaa-v0"
	})
	ev.wait(t, "sender constraint", func(v event) bool { return v.kind == "constraint" && v.source == "aaaa-v0" && v.n == 720 })
	continuous(t, b, out)
	b.ep.SetConstraints(VideoConstraints{LastN: 0, Default: Constraint{MaxHeight: 720}})
	ev.wait(t, "nothing forwarded", func(v event) bool { return v.kind == "forwarded" && v.ep == "bbbb" && len(v.names) == 0 })
	quiet(t, func() int { return b.count(out) }, func() int { return b.count(a.ssrc(0)) })
}

// continuous checks that the receiver saw one stream: no gaps in sequence numbers and picture ids, time goes forward.
func continuous(t *testing.T, c *client, ssrc uint32) {
	t.Helper()
	p := c.repaired(ssrc)
	if len(p) < 2 {
		t.Errorf("%d packets are no stream", len(p))
	}
	for i := 1; i < len(p); i++ {
		if p[i].SequenceNumber != p[i-1].SequenceNumber+1 {
			t.Errorf("packet %d: sequence number %d after %d", i, p[i].SequenceNumber, p[i-1].SequenceNumber)
		}
		if d := int32(p[i].Timestamp - p[i-1].Timestamp); d < 0 || d > 90000 {
			t.Errorf("packet %d: timestamp moved by %d", i, d)
		}
		pic := func(b []byte) int { return int(b[2]&0x7f)<<8 | int(b[3]) }
		x, y := pic(p[i-1].Payload), pic(p[i].Payload)
		if y != x && y != (x+1)&0x7fff {
			t.Errorf("packet %d: picture id %d after %d", i, y, x)
		}
	}
}

func TestChannel(t *testing.T) {
	t.Parallel()
	s := startSFU(t, nil)
	_, ev, a, _ := pair(t, s, 0)
	ev.wait(t, "channel open", func(v event) bool { return v.kind == "open" && v.ep == "aaaa" })
	await.True(t, "client channel open", func() bool { a.mu.Lock(); defer a.mu.Unlock(); return a.open })
	must(t, a.dc.SendText(`{"colibriClass":"ClientHello"}`))
	ev.wait(t, "message", func(v event) bool {
		return v.kind == "message" && v.ep == "aaaa" && v.msg == `{"colibriClass":"ClientHello"}`
	})
	must(t, a.ep.SendMessage([]byte(`{"colibriClass":"ServerHello"}`)))
	await.True(t, "answer", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.texts) == 1 && a.texts[0] == `{"colibriClass":"ServerHello"}`
	})
	// A long message grows the read buffer; one from us is cut into many SCTP packets.
	long := `{"x":"` + strings.Repeat("y", 60000) + `"}`
	must(t, a.dc.SendText(long))
	ev.wait(t, "long message", func(v event) bool { return v.kind == "message" && v.msg == long })
	must(t, a.ep.SendMessage([]byte(long)))
	await.True(t, "long answer", func() bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		return len(a.texts) == 2 && a.texts[1] == long
	})
	if err := a.ep.SendMessage(make([]byte, s.cfg.MaxMessage+1)); !errors.Is(err, ErrTooLong) {
		t.Fatalf("too long: %v", err)
	}
	must(t, a.pc.Close())
	ev.wait(t, "channel closed", func(v event) bool { return v.kind == "closed" && v.ep == "aaaa" })
	if err := a.ep.SendMessage([]byte("x")); !errors.Is(err, ErrNoChannel) {
		t.Fatalf("after close: %v", err)
	}
}
