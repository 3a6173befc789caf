package linksim

import (
	"math/rand/v2"
	"testing"
)

const ms = int64(1e6)

// Ten packets of 1250 bytes at 1 Mb/s come out 10 ms apart; a rate that doubles on the way holds for those that wait.
func TestRateAndDelay(t *testing.T) {
	l := Link{Rate: 1e6, Delay: 20 * ms}
	for i := range uint64(10) {
		if !l.Push(0, 1250, i) {
			t.Fatal("lost")
		}
	}
	if w := l.Wait(0); w != 100*ms {
		t.Errorf("queue %d", w)
	}
	for i := range int64(5) {
		tag, at, ok := l.Pop((30 + 10*i) * ms)
		if !ok || tag != uint64(i) || at != (30+10*i)*ms {
			t.Fatalf("packet %d: %d at %d, %v", i, tag, at, ok)
		}
	}
	l.advance(70 * ms)
	l.Rate = 2e6
	next, ok := l.Next(70 * ms)
	if !ok || next != 75*ms+1 { // number 7 leaves the bottleneck
		t.Errorf("next %d %v", next, ok)
	}
	var last int64
	n := 0
	for {
		_, at, ok := l.Pop(1000 * ms)
		if !ok {
			break
		}
		last = at
		n++
	}
	if n != 5 || last != (70+15+20)*ms {
		t.Errorf("%d more, the last at %d", n, last)
	}
}

func TestQueueAndLoss(t *testing.T) {
	l := Link{Rate: 1e6, Queue: 50 * ms}
	n := 0
	for range 20 {
		if l.Push(0, 1250, 0) {
			n++
		}
	}
	if n != 6 || l.Dropped != 14 {
		t.Errorf("%d of 20 fitted, %d dropped", n, l.Dropped)
	}
	for _, burst := range []float64{0, 5} {
		l := Link{Loss: 0.1, Burst: burst, Jitter: 5 * ms, Rand: rand.New(rand.NewPCG(1, 2))}
		runs, before := 0, false
		for i := range int64(50_000) {
			lost := !l.Push(i*ms, 100, 0)
			if lost && !before {
				runs++
			}
			before = lost
		}
		if l.Lost < 4500 || l.Lost > 5500 {
			t.Errorf("burst %g: %d of 50000 lost", burst, l.Lost)
		}
		if mean := float64(l.Lost) / float64(runs); burst > 1 && (mean < 4 || mean > 6) || burst == 0 && mean > 1.3 {
			t.Errorf("burst %g: runs of %.1f", burst, mean)
		}
		last := int64(0)
		for {
			_, at, ok := l.Pop(1 << 50)
			if !ok {
				break
			}
			if at < last {
				t.Fatal("order lost")
			}
			last = at
		}
	}
}
