package sfu

import (
	"context"
	"errors"
	"testing"

	"konzil/internal/await"
)

// linked are two bridges of one conference, joined by a relay.
type linked struct {
	conf [2]*Conference
	ev   [2]*events
	link [2]*Endpoint // on conf[i], to the other
}

func newLinked(t *testing.T) *linked {
	t.Helper()
	l := &linked{}
	for i := range l.conf {
		l.ev[i] = newEvents()
		c, err := startSFU(t, nil).NewConference("room", l.ev[i])
		must(t, err)
		cfg := endpointConfig("relay")
		cfg.Relay, cfg.SSRCRewriting, cfg.Controlling, cfg.ChannelClient = true, false, i == 0, i == 0
		l.conf[i] = c
		l.link[i], err = c.AddEndpoint(cfg)
		must(t, err)
	}
	for i, setup := range []string{"active", "passive"} {
		tr, err := l.link[1-i].LocalTransport(context.Background())
		must(t, err)
		tr.Setup = setup
		must(t, l.link[i].SetRemote(tr))
	}
	for i := range l.ev {
		l.ev[i].connected(t, "relay")
		l.ev[i].wait(t, "the relay's channel is open", func(v event) bool { return v.kind == "open" && v.ep == "relay" })
	}
	return l
}

// announce tells bridge to of the sources of a client of the other one.
func (l *linked) announce(t *testing.T, to int, of ...*client) {
	t.Helper()
	var list []Source
	for _, c := range of {
		for _, s := range c.sources() {
			s.Owner = c.id
			list = append(list, s)
		}
	}
	must(t, l.link[to].SetSources(list))
}

// TestBridgeRelay: a client on each of two bridges sees and hears the other; video goes over the link only when it is wanted there, the layers that are
// needed for the height, once; each bridge knows who speaks.
func TestBridgeRelay(t *testing.T) {
	t.Parallel()
	l := newLinked(t)
	a, b := newClient(t, l.conf[0], "aaaa", clientOptions{layers: 2}), newClient(t, l.conf[1], "bbbb", clientOptions{layers: 2})
	l.announce(t, 1, a)
	l.announce(t, 0, b)
	a.join(b.sources())
	b.join(a.sources())
	l.ev[0].connected(t, "aaaa")
	l.ev[1].connected(t, "bbbb")
	defer a.play(nil)()
	defer b.play(nil)()
	await.True(t, "audio both ways", func() bool { return a.count(b.ssrc(0)) > 10 && b.count(a.ssrc(0)) > 10 })
	if n := b.count(a.ssrc(1)); n > 0 {
		t.Errorf("%d packets of video that nobody wants", n)
	}
	// What b wants comes out at its bridge as what the relay's source has to send; its bridge says so to the other.
	b.ep.SetConstraints(VideoConstraints{LastN: -1, Default: Constraint{MaxHeight: 180}})
	want := l.ev[1].wait(t, "a constraint for the other bridge", func(v event) bool { return v.kind == "constraint" && v.ep == "relay" && v.n != 0 })
	l.link[0].SetConstraints(VideoConstraints{LastN: -1, Sources: map[string]Constraint{want.source: {MaxHeight: want.n}}})
	await.True(t, "video", func() bool { return b.count(a.ssrc(1)) > 20 })
	l.ev[0].wait(t, "the sender is told", func(v event) bool { return v.kind == "constraint" && v.ep == "aaaa" && v.n == want.n })
	// Nothing passes two bridges.
	if err := l.link[0].SetSources([]Source{{Name: "x-a0", Kind: Audio, SSRCs: []uint32{4711}}}); !errors.Is(err, ErrSources) {
		t.Errorf("a source of nobody: %v", err)
	}
	if err := l.link[0].SetSources([]Source{{Name: "aaaa-a1", Owner: "aaaa", Kind: Audio, SSRCs: []uint32{4711}}}); !errors.Is(err, ErrSources) {
		t.Errorf("a source of our own client: %v", err)
	}
	if err := a.ep.SetSources([]Source{{Name: "aaaa-a1", Owner: "bbbb", Kind: Audio, SSRCs: []uint32{4711}}}); !errors.Is(err, ErrSources) {
		t.Errorf("a client with somebody else's source: %v", err)
	}
	// b goes: its sources are nobody's any more, and a's video stops on the link.
	b.ep.Close()
	l.announce(t, 0)
	l.ev[1].wait(t, "nobody wants it", func(v event) bool { return v.kind == "constraint" && v.ep == "relay" && v.n == 0 })
}

// TestRelayChannel: messages pass between bridges.
func TestRelayChannel(t *testing.T) {
	t.Parallel()
	l := newLinked(t)
	for i := range l.link {
		must(t, l.link[i].SendMessage([]byte("hello")))
		l.ev[1-i].wait(t, "a message", func(v event) bool { return v.kind == "message" && v.ep == "relay" })
	}
}

// TestRelaySpeaker: who speaks at another bridge is the dominant speaker here too, under its own name.
func TestRelaySpeaker(t *testing.T) {
	t.Parallel()
	l := newLinked(t)
	a, b := newClient(t, l.conf[0], "aaaa", clientOptions{}), newClient(t, l.conf[1], "bbbb", clientOptions{})
	l.announce(t, 1, a)
	l.announce(t, 0, b)
	a.join(b.sources())
	b.join(a.sources())
	l.ev[0].connected(t, "aaaa")
	l.ev[1].connected(t, "bbbb")
	defer b.play(nil)()
	for i := range l.ev {
		l.ev[i].wait(t, "b speaks", func(v event) bool { return v.kind == "dominant" && v.ep == "bbbb" })
	}
}
