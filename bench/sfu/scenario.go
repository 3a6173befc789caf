package sfu

import (
	"fmt"
	"math/rand/v2"
	"time"

	"konzil/bench/sfuload"
)

// Options say what load to make.
type Options struct {
	Scenario    string        // a name in Scenarios
	Trace       string        // of video, "": that of the scenario
	Scale       int           // receivers or participants, see the scenario
	Talkers     int           // of the scenario talkers
	Profile     string        // the one SRTP profile to offer, see rtc.Profiles
	Shards      int           // threads of the engine
	Joins       int           // that are under way at a time
	Apart       time.Duration // join: between one and the next
	NoRewriting bool          // Jitsi clients do not announce SSRC rewriting
	Height      int           // lines that each wants of each video, 0: all
}

// scenario is a shape of meeting.
type scenario struct {
	name, what, unit string // unit is what the scale counts
	trace            string
	scale            int // default
	make             func(o *Options, room string) ([]*sfuload.Participant, error)
}

// roomOf is how many meet in the rooms of the scenario "rooms"; stagePublishers how many cameras there are in "switch", talkersDefault how many
// microphones in "talkers".
const (
	roomOf          = 4
	stagePublishers = 4
	talkersDefault  = 10
)

func scenarios() []scenario {
	return []scenario{
		{"1xN", "one sends a camera and a microphone, N receive", "receivers", "vp8", 100, oneToMany},
		{"NxN", "N send and receive everything", "participants", "vp8", 10, meeting},
		{"talkers", "10 microphones (-talkers), N listen", "listeners", "vp8", 500, talkers},
		{"rooms", "N in rooms of 4, all send and receive", "participants", "simulcast", 40, rooms},
		{"screen", "one shares a screen and speaks, N receive", "receivers", "screen", 100, oneToMany},
		{"storm", "N join a room at once in which one sends; joins are measured", "joins", "vp8", 100, oneToMany},
		{"join", "N join a room in which one sends, one after another (-apart), and leave; each join is measured", "joins", "vp8", 50, oneToMany},
		{"switch", "4 cameras with simulcast, N receivers look at another one every two seconds; layer switches are measured", "receivers", "simulcast", 50, stage},
	}
}

func find(name string) (scenario, error) {
	names := ""
	for _, s := range scenarios() {
		if s.name == name {
			return s, nil
		}
		names += " " + s.name
	}
	return scenario{}, fmt.Errorf("scenario %q is not one of%s", name, names)
}

// participants makes those of a scenario. Publishers come first.
func participants(o *Options) ([]*sfuload.Participant, error) {
	s, err := find(o.Scenario)
	if err != nil {
		return nil, err
	}
	if o.Trace == "" {
		o.Trace = s.trace
	}
	if o.Scale <= 0 {
		o.Scale = s.scale
	}
	ps, err := s.make(o, fmt.Sprintf("bench%08x", rand.Uint32()))
	for _, p := range ps {
		p.Want.MaxHeight = o.Height
	}
	return ps, err
}

func oneToMany(o *Options, room string) ([]*sfuload.Participant, error) {
	v, err := video(o.Trace)
	if err != nil {
		return nil, err
	}
	ps := []*sfuload.Participant{{Name: "pub0", Room: room, Publish: []*sfuload.Track{audio(), v}}}
	return receivers(ps, o.Scale, room), nil
}

func receivers(ps []*sfuload.Participant, n int, room string) []*sfuload.Participant {
	for i := range n {
		ps = append(ps, &sfuload.Participant{Name: fmt.Sprintf("sub%d", i), Room: room})
	}
	return ps
}

func meeting(o *Options, room string) ([]*sfuload.Participant, error) {
	return together(nil, o.Scale, o.Trace, room)
}

func together(ps []*sfuload.Participant, n int, trace, room string) ([]*sfuload.Participant, error) {
	for range n {
		v, err := video(trace)
		if err != nil {
			return nil, err
		}
		ps = append(ps, &sfuload.Participant{Name: fmt.Sprintf("p%d", len(ps)), Room: room, Publish: []*sfuload.Track{audio(), v}})
	}
	return ps, nil
}

func rooms(o *Options, room string) (ps []*sfuload.Participant, err error) {
	for n := 0; n < o.Scale; n += roomOf {
		if ps, err = together(ps, min(roomOf, o.Scale-n), o.Trace, fmt.Sprintf("%sr%d", room, n/roomOf)); err != nil {
			return nil, err
		}
	}
	return ps, nil
}

func talkers(o *Options, room string) ([]*sfuload.Participant, error) {
	n := o.Talkers
	if n <= 0 {
		n = talkersDefault
	}
	var ps []*sfuload.Participant
	for i := range n {
		ps = append(ps, &sfuload.Participant{Name: fmt.Sprintf("pub%d", i), Room: room, Publish: []*sfuload.Track{audio()}})
	}
	return receivers(ps, o.Scale, room), nil
}

func stage(o *Options, room string) ([]*sfuload.Participant, error) {
	ps, err := together(nil, stagePublishers, o.Trace, room)
	return receivers(ps, o.Scale, room), err
}
