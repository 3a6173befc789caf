package bwe

import (
	"math/rand/v2"
	"testing"

	"konzil/sfu/twcc"
)

// path is a simulated bottleneck with a queue, between a sender paced at rate() and a receiver that reports every 50 ms.
type path struct {
	e        *Estimator
	r        *rand.Rand
	now      int64
	free     int64 // when the bottleneck is idle again
	capacity float64
	loss     float64
	app      float64 // most that the application sends, 0: as much as the estimate
	queue    int64   // ns of queue; more is lost
	jitter   int64
	seq      uint16
	air      []twcc.Acked // sent, not reported; ArrivalTime is set
	credit   float64
	nextFB   int64
	worst    int64 // longest queueing delay since reset
	sent     float64
}

func newPath(capacity float64) *path {
	return &path{e: New(Config{}), r: rand.New(rand.NewPCG(1, 2)), now: 1e9, capacity: capacity, queue: 300 * ms, jitter: 2 * ms}
}

const offset = 1 << 40 // the receiver's clock is another one

// run simulates for d in steps of 5 ms and calls check after each second.
func (p *path) run(d int64, check func(rate float64)) {
	for end := p.now + d; p.now < end; p.now += 5 * ms {
		rate := float64(p.e.Bitrate())
		if p.app > 0 {
			rate = min(rate, p.app)
		}
		p.credit = min(p.credit+rate*0.005, 1200*8*20)
		for p.credit >= 1200*8 {
			p.credit -= 1200 * 8
			p.seq++
			p.sent += 1200 * 8
			a := twcc.Acked{Seq: p.seq, Size: 1200, SendTime: p.now, ArrivalTime: -1}
			start := max(p.now, p.free)
			if wait := start - p.now; wait <= p.queue && p.r.Float64() >= p.loss {
				p.worst = max(p.worst, wait)
				p.free = start + int64(1200*8*1e9/p.capacity)
				a.ArrivalTime = p.free + 20*ms + p.r.Int64N(p.jitter) + offset
			}
			p.air = append(p.air, a)
		}
		if p.now >= p.nextFB {
			p.nextFB = p.now + 50*ms
			n := 0
			for n < len(p.air) && p.air[n].ArrivalTime-offset <= p.now {
				n++
			}
			if n > 0 {
				p.e.OnFeedback(p.now, p.air[:n])
				p.air = append(p.air[:0:0], p.air[n:]...)
			}
		}
		if check != nil && p.now%1e9 == 0 {
			check(float64(p.e.Bitrate()))
		}
	}
}

func TestFindsCapacity(t *testing.T) {
	for _, mbit := range []float64{0.3, 1, 4, 12} {
		p := newPath(mbit * 1e6)
		p.run(60*1000*ms, nil)
		p.worst, p.sent = 0, 0
		low, high := 1e12, 0.0
		p.run(30*1000*ms, func(r float64) { low, high = min(low, r), max(high, r) })
		if low < 0.6*p.capacity || high > 1.25*p.capacity {
			t.Errorf("%g Mb/s: estimate between %.0f and %.0f", mbit, low, high)
		}
		if p.worst > 250*ms {
			t.Errorf("%g Mb/s: queue grew to %d ms", mbit, p.worst/ms)
		}
		if use := p.sent / 30 / p.capacity; use < 0.75 {
			t.Errorf("%g Mb/s: only %.2f used", mbit, use)
		}
	}
}

func TestCapacityDrop(t *testing.T) {
	p := newPath(5e6)
	p.run(30*1000*ms, nil)
	p.capacity = 1e6
	p.run(3*1000*ms, nil)
	if r := p.e.Bitrate(); r > 1_300_000 {
		t.Errorf("%d three seconds after the drop to 1 Mb/s", r)
	}
	p.capacity = 5e6
	p.run(40*1000*ms, nil)
	if r := p.e.Bitrate(); r < 3_000_000 {
		t.Errorf("%d forty seconds after the rise to 5 Mb/s", r)
	}
}

func TestAppLimited(t *testing.T) {
	p := newPath(1e9)
	p.app = 100_000
	last := float64(p.e.Bitrate())
	p.run(40*1000*ms, func(r float64) {
		if r < last {
			t.Errorf("fell from %.0f to %.0f though nothing was wrong", last, r)
		}
		if r > last*1.1 {
			t.Errorf("leapt from %.0f to %.0f on a trickle", last, r)
		}
		last = r
	})
	if !p.e.limited || last < 10e6 {
		t.Errorf("%v %.0f", p.e.limited, last)
	}
	p.run(200*1000*ms, nil)
	if r := p.e.Bitrate(); r != DefaultMax {
		t.Errorf("%d beyond the maximum", r)
	}
}

// A busy machine holds packets up now and then. While next to nothing is sent, that must not shut the door: the estimate decides
// whether more may be sent.
func TestJoltsOfABusyMachine(t *testing.T) {
	p := newPath(1e9)
	p.app, p.jitter = 40_000, 2*ms
	low := 1e12
	for range 30 {
		p.run(1000*ms, func(r float64) { low = min(low, r) })
		for range 3 { // three packets, each later than the one before
			p.free = p.now + 60*ms
			p.run(70*ms, nil)
		}
	}
	if low < modest {
		t.Errorf("fell to %.0f", low)
	}
	if p.e.Narrow() {
		t.Error("taken for a narrow path")
	}
	p.run(5*1000*ms, nil)
	if r := p.e.Bitrate(); r < 2_000_000 {
		t.Errorf("%d five seconds after the last jolt", r)
	}
}

// An application that takes what it is allowed in big steps must not try the too big one again and again.
func TestFailedClimbsGetRarer(t *testing.T) {
	p := newPath(800e3)
	tries, above := 0, false
	for range 120 * 20 {
		p.app = 500e3
		if r := p.e.Bitrate(); r > 1_500_000 {
			p.app = 1_500_000
		}
		if now := p.app > 1e6; now != above {
			if above = now; now {
				tries++
			}
		}
		p.run(50*ms, nil)
	}
	if tries > 12 {
		t.Errorf("%d tries in two minutes", tries)
	}
}

func TestLoss(t *testing.T) {
	p := newPath(1e9)
	p.app, p.loss = 1e6, 0.3
	p.run(20*1000*ms, nil)
	if r := p.e.Bitrate(); r > 1_000_000 {
		t.Errorf("%d at 30 %% loss", r)
	}
	if l := p.e.State().LossShare; l < 0.2 || l > 0.5 {
		t.Error("loss", l)
	}
	p = newPath(1e9)
	p.app, p.loss = 1e6, 0.005
	p.run(20*1000*ms, nil)
	if r := p.e.Bitrate(); r < DefaultStart {
		t.Errorf("%d at 0.5 %% loss", r)
	}
	p = newPath(1e9)
	p.app, p.loss = 1e6, 0.05
	p.run(20*1000*ms, nil)
	if r := p.e.Bitrate(); r < DefaultStart*7/10 {
		t.Errorf("%d at 5 %% random loss", r)
	}
	e := New(Config{Start: 1e6})
	for i := range int64(10) {
		e.OnLossReport(i*1000*ms+1, 128)
	}
	if r := e.Bitrate(); r > 100_000 || r < DefaultMin {
		t.Errorf("%d after ten reports of 50 %% loss", r)
	}
}

func TestBounds(t *testing.T) {
	e := New(Config{Start: 1, Min: 100, Max: 50})
	if e.Bitrate() != 100 {
		t.Error(e.Bitrate())
	}
	e.OnFeedback(1, nil)
	e.OnRTT(-1)
	e.OnRTT(200 * ms)
}

// Times that jump about must not break anything.
func FuzzOnFeedback(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8})
	f.Fuzz(func(t *testing.T, b []byte) {
		e := New(Config{})
		now := int64(1)
		for len(b) >= 4 {
			now += int64(b[0]) * 4 * ms
			e.OnFeedback(now, []twcc.Acked{{Size: int(b[1]) * 100, SendTime: now - int64(b[2])*ms, ArrivalTime: int64(int8(b[3])) << 40}})
			if r := e.Bitrate(); r < DefaultMin || r > DefaultMax {
				t.Fatal(r)
			}
			b = b[4:]
		}
	})
}

func TestNoAllocs(t *testing.T) {
	e := New(Config{})
	acked := make([]twcc.Acked, 50)
	now := int64(0)
	if n := testing.AllocsPerRun(200, func() {
		for i := range acked {
			now += ms
			acked[i] = twcc.Acked{Size: 1200, SendTime: now, ArrivalTime: now + 20*ms}
		}
		e.OnFeedback(now, acked)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkOnFeedback50(b *testing.B) {
	e := New(Config{})
	acked := make([]twcc.Acked, 50)
	now := int64(0)
	for range b.N {
		for i := range acked {
			now += ms
			acked[i] = twcc.Acked{Size: 1200, SendTime: now, ArrivalTime: now + 20*ms}
		}
		e.OnFeedback(now, acked)
	}
}

// TestClockStep sets the receiver's clock on, and back: that is no queue, for which requests would wait and probes would not be sent, and what arrives is
// measured on.
func TestClockStep(t *testing.T) {
	e := New(Config{})
	const step = 100 * 1e9
	var seq uint16
	feed := func(from, to, late int64, size int) {
		var acked []twcc.Acked
		for now := from; now < to; now += 10 * ms {
			seq++
			acked = append(acked, twcc.Acked{Seq: seq, Size: size, SendTime: now, ArrivalTime: now + 20*ms + offset + late})
			if len(acked) == 10 {
				e.OnFeedback(now+40*ms, acked)
				acked = acked[:0]
			}
		}
	}
	feed(1e9, 10e9, 0, 1000)
	if q := e.Queue(); q > 5*ms {
		t.Fatalf("a queue of %d ms", q/ms)
	}
	feed(10e9, 11e9, step, 1000)
	if q := e.Queue(); q > 5*ms || e.crowded(11e9) {
		t.Errorf("a queue of %d ms after the clock was set", q/ms)
	}
	feed(11e9, 12e9, 0, 2000)
	if q := e.Queue(); q > 5*ms || e.crowded(12e9) {
		t.Errorf("a queue of %d ms after it was set back", q/ms)
	}
	if got := e.State().Acked; got < 1_500_000 || got > 1_700_000 {
		t.Errorf("%d bit/s arrive, not 1.6 million", got)
	}
}
