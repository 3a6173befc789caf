package pace

import "testing"

const ms = int64(1e6)

// send lets n packets of 1200 bytes go as soon as they may, with a tick each 10 ms, and returns how many left at once, the most in
// one tick after that, and how long all took.
func send(estimate float64, n int, narrow bool) (first, most int, took int64) {
	var b Bucket
	b.Tick(1e9, estimate, 0, 0, narrow)
	for now := int64(1e9); ; now += 10 * ms {
		if now > 1e9 {
			b.Tick(now, estimate, 0, n*1200, narrow)
		}
		k := 0
		for n > 0 && !b.Full() {
			b.Sent(1200)
			n--
			k++
		}
		if now == 1e9 {
			first = k
		} else {
			most = max(most, k)
		}
		if n == 0 {
			return first, most, now - 1e9
		}
	}
}

func TestKeyframe(t *testing.T) {
	for _, c := range []struct {
		estimate    float64
		first, most int
		took        int64 // ms
		narrow      bool
	}{
		{0, 60, 0, 0, false},         // nothing is known
		{20e6, 60, 0, 0, false},      // whole
		{2.5e6, 14, 8, 80, false},    // in a moment
		{500e3, 11, 3, 420, false},   // spread
		{100e3, 11, 3, 1_000, false}, // as fast as maxWait demands
		{20e6, 53, 7, 10, true},
		{2.5e6, 7, 4, 200, true}, // hardly faster than the path
	} {
		first, most, took := send(c.estimate, 60, c.narrow)
		if first != c.first || most > c.most || took > c.took*ms {
			t.Errorf("%.0f b/s, narrow %v: %d at once, then at most %d in 10 ms, all after %d ms", c.estimate, c.narrow, first, most, took/ms)
		}
	}
}

// At the estimate itself nothing ever waits.
func TestSteady(t *testing.T) {
	for _, estimate := range []float64{100e3, 1e6, 10e6} {
		var b Bucket
		credit := 0.0
		for now := int64(1e9); now < 11e9; now += 10 * ms {
			b.Tick(now, estimate, 0, 0, false)
			if now%(30*ms) != 0 {
				continue
			}
			for credit += estimate * 0.03 / 8; credit >= 1200; credit -= 1200 { // one frame
				if b.Full() {
					t.Fatalf("%.0f b/s: full", estimate)
				}
				b.Sent(1200)
			}
		}
	}
}

func BenchmarkFull(b *testing.B) {
	var p Bucket
	p.Tick(1, 1e9, 0, 0, false)
	for b.Loop() {
		if !p.Full() {
			p.Sent(1)
		}
	}
}
