package sfu

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"konzil/sfu/alloc"
	"konzil/sfu/bwe"
	"konzil/sfu/linksim"
	"konzil/sfu/pace"
	"konzil/sfu/twcc"
)

// A receiver of many cameras in simulated time: the real estimator, pacing, measured rates, allocation and its hysteresis over a path that has room for
// all, while the server, or the receiver, stands still for a moment.

const simMS = int64(1e6)

// cameras are sources of one layer each, in frames at 30 a second of 7 packets.
type cameras struct {
	now  int64
	e    *Endpoint
	est  *bwe.Estimator
	link *linksim.Link

	tracks    []*track
	bytes     []uint64 // that came of each since the last look
	lookout   lookout
	nextLook  int64
	allocated int64
	sources   []alloc.Source
	choices   []alloc.Choice
	on        []bool  // what the allocation lets pass
	frameAt   []int64 // when the next frame of each comes

	bucket  pace.Bucket
	waiting []int // packets of each that came and were not yet looked at,
	held    int   // and of all that the pacer holds back
	probe   uint8
	probed  int
	probeAt int64

	seq      uint16
	air      map[uint64]twcc.Acked
	got      []twcc.Acked // arrived, not yet told of
	tag      uint64
	nextFeed int64
	back     []feedbackAt

	server, client standstill
	audio          bool // somebody speaks
	stamped        bool // the server's clock was read before it stood still
}

// standstill is a time in which nothing is done, ns.
type standstill struct{ from, to int64 }

func (s standstill) at(now int64) bool { return now >= s.from && now < s.to }

type feedbackAt struct {
	at   int64
	what []twcc.Acked
}

const (
	camPacket    = 1200
	audioPacket  = 150
	framePackets = 7
	camEvery     = int64(1e9) / 30
)

func newCameras(n int, link *linksim.Link) *cameras {
	s := &cameras{now: 1e9, link: link, e: &Endpoint{sh: &shard{}}, on: make([]bool, n), air: map[uint64]twcc.Acked{}}
	s.est = newEstimator()
	s.est.SetProbing(true)
	s.e.m.est = s.est
	s.bytes, s.waiting = make([]uint64, n), make([]int, n)
	for i := range n {
		s.frameAt = append(s.frameAt, s.now+int64(i)*camEvery/int64(n))
		s.tracks = append(s.tracks, &track{ssrc: uint32(i + 1)})
		s.sources = append(s.sources, alloc.Source{Name: fmt.Sprint(i)})
	}
	return s
}

// shown is how many cameras pass.
func (s *cameras) shown() (n int) {
	for _, on := range s.on {
		if on {
			n++
		}
	}
	return n
}

// run goes on for d.
func (s *cameras) run(d int64, each func()) {
	for end := s.now + d; s.now < end; s.now += simMS {
		s.arrive()
		for i := range s.frameAt {
			if s.now >= s.frameAt[i] {
				s.frameAt[i] += camEvery
				s.waiting[i] += framePackets
			}
		}
		if !s.server.at(s.now) {
			s.serve()
		}
		if each != nil {
			each()
		}
	}
}

// serve is what the server does in a millisecond.
func (s *cameras) serve() {
	for len(s.back) > 0 && s.back[0].at <= s.now {
		s.est.OnRTT(2 * s.link.Delay)
		s.est.OnFeedback(s.now, s.back[0].what)
		s.back = s.back[1:]
	}
	if s.now >= s.nextLook { // before the packets that it has not read: the worst case
		s.nextLook = s.now - s.now%int64(look) + int64(look) // as a Ticker goes on
		if !s.lookout.putsOff(s.now) {
			s.decide()
		}
	}
	for i := range s.waiting {
		s.bytes[i] += uint64(s.waiting[i] * camPacket)
		for ; s.waiting[i] > 0; s.waiting[i]-- {
			switch {
			case !s.on[i]:
			case !s.bucket.Full() && s.held == 0:
				s.send(camPacket)
			case s.held < maxHeld:
				s.held++
			}
		}
	}
	if s.audio && s.now%(20*simMS) == 0 {
		s.send(audioPacket)
	}
	if s.now%(10*simMS) == 0 {
		s.bucket.Tick(s.now, float64(s.est.Bitrate()), s.est.ProbeRate(), s.held*camPacket, s.est.Narrow())
		for s.held > 0 && !s.bucket.Full() {
			s.held--
			s.send(camPacket)
		}
		s.fill()
	}
}

// send lets a packet out. Of a server that has read its clock before it stood still, what the path sees comes later than that.
func (s *cameras) send(size int) {
	s.tag++
	s.seq++
	s.bucket.Sent(size)
	if s.probe != 0 {
		s.probed += size
	}
	left := s.now
	if s.stamped && s.server.from-simMS == s.now {
		left = s.server.to
	}
	if s.link.Push(left, size, s.tag) {
		s.air[s.tag] = twcc.Acked{Seq: s.seq, Size: size, SendTime: s.now, Probe: s.probe}
	}
}

// fill sends what a probe needs beside the media.
func (s *cameras) fill() {
	p, ok := s.est.Due(s.now)
	if !ok {
		s.probe = 0
		return
	}
	if s.probe != p.ID {
		s.probe, s.probed, s.probeAt = p.ID, 0, s.now
	}
	for s.held == 0 && !s.bucket.Full() && float64(s.probed) < p.Rate*float64(s.now-s.probeAt+10*simMS)/8e9 {
		s.send(camPacket)
	}
}

// decide is a look of the control loop.
func (s *cameras) decide() {
	d := &s.e.down
	d.estimate, d.cost = s.est.Bitrate(), 0
	again := false
	for i, tr := range s.tracks {
		_, full := tr.seen.note(s.now, &rates[uint64]{{s.bytes[i]}}, &rates[uint32]{})
		again = again || full
		s.bytes[i] = 0
		s.sources[i].Layers = tr.seen.layers(s.sources[i].Layers[:0], tr.ssrc, guessTop)
		if s.on[i] {
			d.cost += s.sources[i].Layers[0].Bitrate
		}
	}
	if !again && !d.stale() && s.now-s.allocated < int64(allocateAgain) {
		return
	}
	s.allocated = s.now
	want := alloc.Want{LastN: -1, Default: alloc.Limit{MaxHeight: 720}}
	s.choices = alloc.Allocate(s.sources, &want, d.budget(), s.choices[:0])
	s.e.note(s.sources, s.choices)
	for i := range s.choices {
		s.on[s.choices[i].Index] = s.choices[i].Layer >= 0
	}
}

// arrive is the receiver: feedback each 50 ms. One that stands still takes all that has come afterwards, at one time.
func (s *cameras) arrive() {
	if s.client.at(s.now) {
		return
	}
	for {
		tag, at, ok := s.link.Pop(s.now)
		if !ok {
			break
		}
		if at < s.client.to && at >= s.client.from {
			at = s.client.to
		}
		a := s.air[tag]
		delete(s.air, tag)
		a.ArrivalTime = at
		s.got = append(s.got, a)
	}
	if s.now >= s.nextFeed && len(s.got) > 0 {
		s.nextFeed = s.now + 50*simMS
		s.back = append(s.back, feedbackAt{s.now + s.link.Delay, slices.Clone(s.got)})
		s.got = s.got[:0]
	}
}

// TestStandstill: who has all cameras keeps them while the server or its client stands still, and gets all soon in the first place.
func TestStandstill(t *testing.T) {
	for _, rate := range []float64{1e9, 25e6} {
		for _, delay := range []int64{0, 20 * simMS} {
			for _, c := range []struct {
				server  bool
				d       int64
				stamped bool
			}{
				{true, 200 * simMS, false}, {true, 200 * simMS, true}, {true, 500 * simMS, false}, {true, 1000 * simMS, true}, {true, 2000 * simMS, false},
				{false, 200 * simMS, false}, {false, 1000 * simMS, false}, {false, 2000 * simMS, false},
			} {
				link := &linksim.Link{Rate: rate, Queue: 300 * simMS, Delay: delay, Jitter: simMS / 5, Rand: rand.New(rand.NewPCG(1, 2))}
				t.Run(fmt.Sprintf("%.0fMbps/%dms/server=%v/%dms/stamped=%v", rate/1e6, delay/simMS, c.server, c.d/simMS, c.stamped), func(t *testing.T) {
					standStill(t, newCameras(9, link), c.server, c.d, c.stamped)
				})
			}
		}
	}
}

func standStill(t *testing.T, s *cameras, server bool, d int64, stamped bool) {
	n := len(s.on)
	first, begin := int64(-1), s.now
	s.run(12e9, func() {
		if first < 0 && s.shown() == n {
			first = s.now - begin
		}
	})
	if first < 0 || first > 2e9 {
		t.Fatalf("all cameras after %d ms, then %d; estimate %.1f Mbit/s", first/simMS, s.shown(), float64(s.est.Bitrate())/1e6)
	}
	before := s.est.Bitrate()
	still := standstill{s.now + 3*simMS, s.now + 3*simMS + d}
	if s.stamped = stamped; server {
		s.server = still
	} else {
		s.client = still
	}
	low, least, back := before, n, int64(0)
	s.run(12e9, func() {
		low, least = min(low, s.est.Bitrate()), min(least, s.shown())
		if s.shown() < n {
			back = s.now - still.to
		}
	})
	t.Logf("all after %d ms; estimate %.1f, then at least %.1f Mbit/s", first/simMS, float64(before)/1e6, float64(low)/1e6)
	if least < n {
		t.Errorf("only %d of %d cameras, all again after %d ms", least, n, back/simMS)
	}
}

// TestOutage: after a moment in which the path carried less than one camera all of them are soon back, also when nothing else flows.
func TestOutage(t *testing.T) {
	for _, audio := range []bool{true, false} {
		for _, delay := range []int64{5 * simMS, 50 * simMS, 100 * simMS} {
			for _, low := range []float64{0.2e6, 2e6, 8e6} {
				for _, d := range []int64{200 * simMS, 500 * simMS, 3000 * simMS} {
					link := &linksim.Link{Rate: 25e6, Queue: 300 * simMS, Delay: delay, Jitter: simMS / 5, Rand: rand.New(rand.NewPCG(1, 2))}
					s := newCameras(9, link)
					s.audio = audio
					s.run(12e9, nil)
					link.Rate = low
					s.run(d, nil)
					link.Rate = 25e6
					begin, least, back := s.now, s.shown(), int64(0)
					s.run(15e9, func() {
						if least = min(least, s.shown()); s.shown() < len(s.on) {
							back = s.now - begin
						}
					})
					t.Logf("audio %v, round trip %d ms, %.1f Mbit/s for %d ms: at least %d cameras, all again after %d ms", audio, 2*delay/simMS, low/1e6, d/simMS, least, back/simMS)
					most := int64(3e9)
					if !audio { // a probe is what finds out that the queue is gone
						most = 8e9
					}
					if back > most {
						t.Errorf("all again after %d ms", back/simMS)
					}
				}
			}
		}
	}
}
