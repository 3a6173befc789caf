package sfu

import (
	"testing"

	"go.uber.org/goleak"

	"konzil/bench/rtc"
	"konzil/bench/sfuload"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestScenarios(t *testing.T) {
	for _, s := range scenarios() {
		ps, err := participants(&Options{Scenario: s.name, Scale: 9})
		if err != nil {
			t.Fatal(err)
		}
		names := map[string]bool{}
		receiving := false
		for _, p := range ps {
			if names[p.Name] || p.Room == "" {
				t.Errorf("%s: %+v", s.name, p)
			}
			names[p.Name] = true
			if receiving && len(p.Publish) > 0 {
				t.Errorf("%s: publishers are not first", s.name)
			}
			receiving = receiving || len(p.Publish) == 0
		}
	}
	for _, o := range []Options{{Scenario: "x"}, {Scenario: "1xN", Trace: "x"}, {Scenario: "NxN", Trace: "x"}} {
		if _, err := participants(&o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

// two is a load of one sender (audio and simulcast video) and one receiver, without a server.
func two(t *testing.T) (*Load, *member, *member) {
	t.Helper()
	l, err := New(Options{Scenario: "1xN", Trace: "simulcast"}, nil, rtc.Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.eng.Close)
	v, err := video("simulcast")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*sfuload.Participant{{Name: "a", Room: "r", Publish: []*sfuload.Track{audio(), v}}, {Name: "b", Room: "r"}} {
		l.members = append(l.members, &member{spec: p, peer: l.eng.Peer(p)})
	}
	return l, l.members[0], l.members[1]
}

func stats(m *member, sent [][]uint64, streams ...rtc.Stream) *rtc.PeerStats {
	for i := range streams {
		streams[i].Known = true
	}
	return &rtc.PeerStats{Name: m.spec.Name, Number: m.peer.Number, Sent: sent, Streams: streams}
}

// compare finds what a server did wrong: loss, loss that its own numbering hides, a source that never came, too much.
func TestCompare(t *testing.T) {
	l, a, b := two(t)
	from := a.peer.Number
	audio := func(got, span uint64) rtc.Stream {
		return rtc.Stream{SSRC: 1, Audio: true, Got: got, Span: span, Sender: from}
	}
	video := func(got, span uint64, layer uint8) rtc.Stream {
		return rtc.Stream{SSRC: 2, Got: got, Span: span, Sender: from, Track: 1, Layer: layer}
	}
	before := &rtc.Snapshot{Peers: map[uint32]*rtc.PeerStats{from: stats(a, [][]uint64{{100}, {10, 20, 30}}), b.peer.Number: stats(b, nil, audio(100, 100), video(30, 30, 2))}}
	switched := video(930, 930, 2)
	switched.Switches = 2
	hidden := switched
	hidden.Hidden = 5
	for name, c := range map[string]struct {
		streams             []rtc.Stream
		expected, delivered uint64
		duplicate           uint64
	}{
		"all":             {[]rtc.Stream{audio(600, 600), video(1030, 1030, 2)}, 1500, 1500, 0},
		"loss":            {[]rtc.Stream{audio(600, 600), video(1020, 1030, 2)}, 1500, 1490, 0},
		"loss at the end": {[]rtc.Stream{audio(600, 600), video(1020, 1020, 2)}, 1500, 1490, 0},
		"layers":          {[]rtc.Stream{audio(600, 600), switched}, 1400, 1400, 0},
		"hidden":          {[]rtc.Stream{audio(600, 600), hidden}, 1405, 1400, 0},
		"no audio":        {[]rtc.Stream{video(1030, 1030, 2)}, 1500, 1000, 0},
		"video stops":     {[]rtc.Stream{audio(600, 600), video(30, 30, 2)}, 600, 500, 0},
		"too much":        {[]rtc.Stream{audio(607, 607), video(1030, 1030, 2)}, 1500, 1507, 7},
		"on another SSRC": {[]rtc.Stream{audio(100, 100), {SSRC: 9, Audio: true, Got: 500, Span: 500, Sender: from}, video(1030, 1030, 2)}, 1500, 1500, 0},
	} {
		after := &rtc.Snapshot{Peers: map[uint32]*rtc.PeerStats{from: stats(a, [][]uint64{{600}, {110, 420, 1030}}), b.peer.Number: stats(b, nil, c.streams...)}}
		s := l.compare(before, after)
		if s.Expected != c.expected || s.Delivered != c.delivered || s.Wrong["duplicate"] != c.duplicate || s.Sent != 500+100+400+1000 {
			t.Errorf("%s: %d of %d, sent %d, %v", name, s.Delivered, s.Expected, s.Sent, s.Wrong)
		}
	}
}
