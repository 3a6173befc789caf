package bwe

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"konzil/sfu/linksim"
	"konzil/sfu/twcc"
)

const ms = int64(1e6)

// sim is simulated time with links and the flows over them.
type sim struct {
	now   int64
	link  *linksim.Link // the bottleneck, shared
	flows []*flow
	tcp   []*tcp
	seq   uint64
	by    map[uint64]func(at int64) // packets in the link
	rand  *rand.Rand
	worst int64 // longest queue since reset
	qsum  float64
	qn    int
}

func newSim(rate float64, delay, queue int64) *sim {
	r := rand.New(rand.NewPCG(1, 2))
	return &sim{now: 1e9, link: &linksim.Link{Rate: rate, Delay: delay, Queue: queue, Rand: r, Jitter: ms}, by: map[uint64]func(int64){}, rand: r}
}

func (s *sim) push(size int, got func(at int64)) {
	s.seq++
	if s.link.Push(s.now, size, s.seq) {
		s.by[s.seq] = got
	}
}

// run goes on for d in steps of a millisecond.
func (s *sim) run(d int64, each func()) {
	for end := s.now + d; s.now < end; s.now += ms {
		for {
			tag, at, ok := s.link.Pop(s.now)
			if !ok {
				break
			}
			got := s.by[tag]
			delete(s.by, tag)
			got(at)
		}
		for _, f := range s.flows {
			f.step()
		}
		for _, t := range s.tcp {
			t.step()
		}
		w := s.link.Wait(s.now)
		s.worst = max(s.worst, w)
		s.qsum += float64(w)
		s.qn++
		if each != nil {
			each()
		}
	}
}

func (s *sim) reset() { s.worst, s.qsum, s.qn = 0, 0, 0 }

func (s *sim) meanQueue() int64 {
	if s.qn == 0 {
		return 0
	}
	return int64(s.qsum / float64(s.qn))
}

// flow is an SFU's traffic to one receiver: layers of a camera, of which it sends the best that the estimate allows, in frames at 30 a
// second, and probes. Without layers it sends as much as the estimate.
type flow struct {
	s      *sim
	e      *Estimator
	layers []float64 // bits per second, low to high
	off    bool
	extra  int64 // ns of one-way delay that is this flow's own, each way
	fbLost float64
	fbWait int64 // ns that feedback waits on its way
	back   []report

	seq      uint16
	air      []twcc.Acked // in order of sending; ArrivalTime 0: not arrived
	newest   uint16       // that arrived
	nextFB   int64
	credit   float64
	nextSend int64
	probed   float64 // bits of the probe at hand
	probe    uint8
	probeAt  int64

	layer int
	sent  float64 // bits since reset
	got   float64
	probN int

	lost, full int // packets reported lost, and those of them that are put down to a full queue
}

const skew = 1 << 40 // the receiver's clock is another one

func (s *sim) flow(layers ...float64) *flow {
	f := &flow{s: s, e: New(Config{}), layers: layers, layer: -1, nextSend: s.now, nextFB: s.now}
	f.e.SetProbing(true)
	s.flows = append(s.flows, f)
	return f
}

func (f *flow) step() {
	now := f.s.now
	f.reports()
	if !f.off && now >= f.nextSend {
		every := 10 * ms
		rate := float64(f.e.Bitrate())
		if len(f.layers) > 0 {
			every = 33 * ms
			rate = f.choose(rate)
		} else {
			f.e.SetWish(DefaultMax, DefaultMax)
		}
		f.nextSend = now + every
		f.credit += rate * float64(every) / 1e9
		f.emit(0)
	}
	if !f.off && now%(10*ms) == 0 {
		f.fill()
	}
	if now >= f.nextFB {
		f.nextFB = now + 100*ms
		f.feedback()
	}
}

// choose takes the best layer and tells the wish.
func (f *flow) choose(rate float64) float64 {
	f.layer = -1
	for i, l := range f.layers {
		if l*1.05 <= rate || i == 0 {
			f.layer = i
		}
	}
	if f.layer+1 < len(f.layers) {
		f.e.SetWish(uint64(1.05*f.layers[f.layer+1]), uint64(1.05*f.layers[len(f.layers)-1]))
	} else {
		f.e.SetWish(0, 0)
	}
	return f.layers[f.layer]
}

func (f *flow) emit(reserve float64) {
	const size = 1200
	for f.credit-reserve >= size*8 {
		f.credit -= size * 8
		f.packet(size)
	}
}

func (f *flow) packet(size int) {
	f.seq++
	f.air = append(f.air, twcc.Acked{Seq: f.seq, Size: size, SendTime: f.s.now, ArrivalTime: 0, Probe: f.probe})
	f.sent += float64(size * 8)
	if f.probe != 0 {
		f.probed += float64(size * 8)
	}
	seq := f.seq
	f.s.push(size, func(at int64) {
		f.got += float64(size * 8)
		for j := range f.air {
			if f.air[j].Seq == seq {
				f.air[j].ArrivalTime = at + f.extra + skew
				if d := int16(seq - f.newest); d > 0 {
					f.newest = seq
				}
				return
			}
		}
	})
}

// fill sends what a probe needs beyond the media.
func (f *flow) fill() {
	p, ok := f.e.Due(f.s.now)
	if !ok {
		f.probe = 0
		return
	}
	if f.probe != p.ID {
		f.probe, f.probed, f.probeAt = p.ID, 0, f.s.now
		f.probN++
	}
	for f.probed < p.Rate*float64(f.s.now-f.probeAt+10*ms)/1e9 {
		f.packet(1200)
	}
}

// feedback reports everything up to the newest arrival, with this flow's own way back.
func (f *flow) feedback() {
	now := f.s.now
	n := 0
	var out []twcc.Acked
	for n < len(f.air) && int16(f.newest-f.air[n].Seq) >= 0 {
		a := f.air[n]
		if a.ArrivalTime-skew > now {
			break
		}
		if a.ArrivalTime == 0 {
			a.ArrivalTime = -1
		}
		out = append(out, a)
		n++
	}
	if n == 0 || f.fbLost > 0 && f.s.rand.Float64() < f.fbLost {
		return
	}
	f.air = slices.Clone(f.air[n:])
	f.back = append(f.back, report{now + f.s.link.Delay + f.extra + f.fbWait, out})
}

// report is feedback on its way.
type report struct {
	at   int64
	what []twcc.Acked
}

// reports hands over the feedback that has arrived.
func (f *flow) reports() {
	for len(f.back) > 0 && f.back[0].at <= f.s.now {
		f.e.OnRTT(2*(f.s.link.Delay+f.extra) + f.fbWait + f.s.link.Wait(f.s.now))
		f.e.OnFeedback(f.s.now, f.back[0].what)
		for i := range f.back[0].what {
			if f.back[0].what[i].ArrivalTime < 0 {
				f.lost++
				if f.e.Congested() {
					f.full++
				}
			}
		}
		f.back = f.back[1:]
	}
}

// tcp is a long-lived flow with NewReno's window: one more packet a round trip, half at loss.
type tcp struct {
	s        *sim
	cwnd     float64
	ssthresh float64
	flight   int
	cutAt    int64
	got      float64
}

func (s *sim) addTCP() *tcp {
	t := &tcp{s: s, cwnd: 10, ssthresh: 1e9}
	s.tcp = append(s.tcp, t)
	return t
}

func (t *tcp) step() {
	for t.flight < int(t.cwnd) {
		t.flight++
		sent := t.s.now
		dropped := t.s.link.Dropped + t.s.link.Lost
		t.s.push(1500, func(at int64) {
			t.flight--
			t.got += 1500 * 8
			if t.cwnd < t.ssthresh {
				t.cwnd++
			} else {
				t.cwnd += 1 / t.cwnd
			}
		})
		if t.s.link.Dropped+t.s.link.Lost > dropped {
			t.flight--
			if sent-t.cutAt > 2*t.s.link.Delay+t.s.link.Wait(sent) {
				t.cutAt = sent
				t.cwnd = max(2, t.cwnd/2)
				t.ssthresh = t.cwnd
			}
			return
		}
	}
}

// camera is the usual three layers of 720p.
var camera = []float64{200e3, 600e3, 2000e3}

// row prints one line of the table, which go test -v shows.
func row(t *testing.T, what, f string, a ...any) {
	t.Helper()
	t.Logf("%-42s %s", what, fmt.Sprintf(f, a...))
}

// TestSteps is the path that the issue names: 3 → 0.5 → 3 Mbit/s.
func TestSteps(t *testing.T) {
	for _, c := range []struct {
		name  string
		rtt   int64
		queue int64
		loss  float64
		back  float64 // seconds allowed to the top
	}{
		{"RTT 40 ms", 40 * ms, 300 * ms, 0, 8},
		{"RTT 200 ms", 200 * ms, 300 * ms, 0, 10},
		{"RTT 40 ms, short queue", 40 * ms, 60 * ms, 0, 8},
		{"RTT 40 ms, 1 % loss", 40 * ms, 300 * ms, 0.01, 8},
		{"RTT 40 ms, 5 % loss", 40 * ms, 300 * ms, 0.05, 12},
	} {
		s := newSim(3e6, c.rtt/2, c.queue)
		s.link.Loss = c.loss
		f := s.flow(camera...)
		top := int64(0)
		s.run(20e9, func() {
			if f.layer == 2 && top == 0 {
				top = s.now
			}
		})
		if f.layer != 2 {
			t.Errorf("%s: layer %d of a 3 Mbit/s path", c.name, f.layer)
		}
		s.link.Rate = 0.5e6
		s.reset()
		f.lost, f.full = 0, 0
		down, drained, begin := int64(-1), int64(-1), s.now
		s.run(30e9, func() {
			if down < 0 && f.e.Bitrate() < 500e3 {
				down = s.now - begin
			}
			if down >= 0 && drained < 0 && s.link.Wait(s.now) < 20*ms {
				drained = s.now - begin
			}
		})
		worst, queue := s.worst, s.meanQueue()
		if c.loss == 0 && c.queue > 100*ms && f.full < 9*f.lost/10 { // a short queue looks like chance
			t.Errorf("%s: %d of %d lost packets are put down to congestion", c.name, f.full, f.lost)
		}
		if c.queue > 100*ms && !f.e.Narrow() {
			t.Errorf("%s: the path is not known to be narrow", c.name)
		}
		if down < 0 || down > 2e9 {
			t.Errorf("%s: %d ms to a safe rate", c.name, down/ms)
		}
		s.link.Rate = 3e6
		up := int64(-1)
		begin = s.now
		s.run(30e9, func() {
			if up < 0 && f.layer == 2 {
				up = s.now - begin
			}
		})
		if f.e.Narrow() {
			t.Errorf("%s: the path is still thought to be narrow", c.name)
		}
		if up < 0 || float64(up) > c.back*1e9 {
			t.Errorf("%s: %d ms back to the top", c.name, up/ms)
		}
		row(t, "3→0.5→3, "+c.name, "safe rate after %4d ms, queue empty after %4d ms, queue at 0.5: worst %3d ms mean %3d ms, top again after %5d ms, probes %d, lost %d, %d of them in a full queue",
			down/ms, drained/ms, worst/ms, queue/ms, up/ms, f.probN, f.lost, f.full)
	}
}

// TestRandomLoss is loss that no rate would cure.
func TestRandomLoss(t *testing.T) {
	for _, c := range []struct {
		loss, burst float64
		least       float64
	}{{0.01, 0, 2.1e6}, {0.05, 0, 2.1e6}, {0.05, 3, 1.5e6}, {0.10, 0, 2e6}, {0.20, 0, 0.1e6}, {0.30, 0, 0.1e6}} {
		s := newSim(5e6, 20*ms, 300*ms)
		s.link.Loss, s.link.Burst = c.loss, c.burst
		f := s.flow(camera...)
		s.run(10e9, nil)
		low, atTop, n := 1e12, 0, 0
		s.run(60e9, func() {
			low = min(low, float64(f.e.Bitrate()))
			n++
			if f.layer == 2 {
				atTop++
			}
		})
		if c.loss <= 0.1 && f.full > f.lost/50 {
			t.Errorf("%g loss: %d of %d lost packets are put down to congestion", c.loss, f.full, f.lost)
		}
		row(t, fmt.Sprintf("%g %% random loss, runs of %g", c.loss*100, max(c.burst, 1)), "lowest estimate %.2f Mbit/s, in the top layer %d %%", low/1e6, 100*atTop/n)
		if low < c.least {
			t.Errorf("%g loss: fell to %.0f", c.loss, low)
		}
		if c.loss > 0.25 && low > 1.5e6 {
			t.Errorf("%g loss: %.0f", c.loss, low)
		}
	}
}

// TestDelayJump is a path that changes: packets take longer at once, and no longer after that. Nothing is to be learnt about its capacity.
func TestDelayJump(t *testing.T) {
	for _, c := range []struct {
		rate     float64
		from, to int64
		loss     float64
	}{{5e6, 20 * ms, 100 * ms, 0}, {5e6, 100 * ms, 20 * ms, 0}, {3e6, 20 * ms, 100 * ms, 0.02}, {5e6, 10 * ms, 50 * ms, 0}, {5e6, 20 * ms, 300 * ms, 0}} {
		s := newSim(c.rate, c.from, 300*ms)
		s.link.Loss = c.loss
		f := s.flow(camera...)
		s.run(20e9, nil)
		s.link.Delay = c.to
		low, top, n := 1e12, 0, 0
		s.run(10e9, func() {
			low = min(low, float64(f.e.Bitrate()))
			n++
			if f.layer == 2 {
				top++
			}
		})
		row(t, fmt.Sprintf("delay %d→%d ms each way, %g %% loss", c.from/ms, c.to/ms, 100*c.loss), "lowest estimate %.2f Mbit/s, in the top layer %d %%", low/1e6, 100*top/n)
		if top < 99*n/100 {
			t.Errorf("left the top layer: %d of %d", top, n)
		}
		// What it believes of queues afterwards is right: a real one is still seen at once.
		s.link.Rate = 0.5e6
		down, begin := int64(-1), s.now
		s.run(5e9, func() {
			if down < 0 && f.e.Bitrate() < 500e3 {
				down = s.now - begin
			}
		})
		if down < 0 || down > 2e9+2*(c.to-20*ms) {
			t.Errorf("%d ms to a safe rate afterwards", down/ms)
		}
	}
}
