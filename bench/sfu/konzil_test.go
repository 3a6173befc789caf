package sfu

import (
	"context"
	"testing"
	"time"

	"konzil/bench/measure"
	"konzil/bench/peers"
	"konzil/bench/rtc"
)

// What reaches five receivers through the real program is all and right; injected loss and damage are found.
func TestKonzil(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	target, err := peers.Start(ctx, "konzil", peers.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := target.Stop(); err != nil {
			t.Error(err)
		}
	}()
	// repeat measures until enough says so of the last interval, at most maxIntervals times, after one that warms up, of which enough is told only.
	const maxIntervals = 6
	repeat := func(t *testing.T, o Options, cfg rtc.Config, enough func(*measure.Sample) bool) *measure.Sample {
		t.Helper()
		a, err := adapter(&o, target, false)
		if err != nil {
			t.Fatal(err)
		}
		l, err := New(o, a, cfg)
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}()
		if err := l.Prepare(ctx, func(string) {}); err != nil {
			t.Fatal(err)
		}
		interval := time.Second
		if o.Scenario == "switch" {
			interval = 6 * time.Second // somebody looks elsewhere every two
		}
		s, err := l.Measure(ctx, 100*time.Millisecond)
		if err == nil {
			enough(s)
		}
		for n := 0; err == nil && n < maxIntervals; n++ {
			if s, err = l.Measure(ctx, interval); err == nil && enough(s) {
				return s
			}
		}
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	measureOnce := func(t *testing.T, o Options, cfg rtc.Config) *measure.Sample {
		t.Helper()
		return repeat(t, o, cfg, func(*measure.Sample) bool { return true })
	}
	for _, o := range []Options{{Scenario: "1xN", Scale: 5}, {Scenario: "NxN", Scale: 3, Trace: "simulcast"}, {Scenario: "1xN", Scale: 2, Profile: "AES128_CM_SHA1_80"}} {
		t.Run(o.Scenario+o.Trace+o.Profile, func(t *testing.T) {
			var d debt
			s := repeat(t, o, rtc.Config{}, func(s *measure.Sample) bool { return d.add(s) })
			if s.Expected == 0 || s.Delivered != s.Expected || d.owed != 0 || len(s.Wrong) > 0 || s.Verified == 0 || s.Kinds["audio"].Expected == 0 || s.Kinds["video"].Expected == 0 || s.Latency["video"] == nil ||
				s.Steps["first keyframe"] == nil {
				t.Errorf("%d owed, %+v", d.owed, s)
			}
		})
	}
	t.Run("loss", func(t *testing.T) {
		n := 0 // only the one shard calls it
		// a tenth: on a busy machine some dozens of packets of the warm-up are delivered in the interval
		s := measureOnce(t, Options{Scenario: "1xN", Scale: 5}, rtc.Config{Lose: func() bool { n++; return n%10 == 0 }})
		if g := measure.DefaultGates(); s.Expected == 0 || float64(s.Delivered) >= g.Delivery*float64(s.Expected) {
			t.Errorf("%d of %d passes the gate", s.Delivered, s.Expected)
		}
	})
	t.Run("wrong payload", func(t *testing.T) {
		f := &measure.Fault{Corruption: 0.5} // of about 20 that are looked at
		if s := measureOnce(t, Options{Scenario: "1xN", Scale: 5}, rtc.Config{Corrupt: f.Corrupt}); s.Wrong["payload"] == 0 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("storm", func(t *testing.T) {
		if s := measureOnce(t, Options{Scenario: "storm", Scale: 5}, rtc.Config{}); s.Delivered != 5 || s.Steps["dtls"] == nil || s.Steps["dtls"].TotalCount() != 5 {
			t.Errorf("%+v", s)
		}
	})
	t.Run("switch", func(t *testing.T) {
		if s := measureOnce(t, Options{Scenario: "switch", Scale: 2}, rtc.Config{}); s.Steps["layer switch"] == nil {
			t.Errorf("%+v", s)
		}
	})
}

// debt is what is missing of the packets of several intervals. A server that was held up between two of them delivers in the second what belongs to
// the first: so much may come then, and must, to the last packet, but for what is missing of the first interval, where not everybody sees
// everything yet.
type debt struct {
	begun bool
	early int // of the first interval: may come
	owed  int // must come
}

// add takes an interval. It returns true when that was exact and nothing is owed, or when more is wrong than lateness explains.
func (d *debt) add(s *measure.Sample) bool {
	late := int(s.Wrong["duplicate"])
	missing := int(s.Expected) - int(s.Delivered) + late
	if !d.begun {
		d.begun, d.early = true, missing
		return false
	}
	paid := min(d.early, late)
	d.early -= paid
	d.owed += missing - (late - paid)
	return d.owed < 0 || len(s.Wrong) > 1 || late == 0 && len(s.Wrong) > 0 || d.owed == 0 && missing == 0 && late == 0
}

func TestDebt(t *testing.T) {
	sample := func(expected, delivered, late int, other uint64) *measure.Sample {
		s := &measure.Sample{Expected: uint64(expected), Delivered: uint64(delivered), Wrong: map[string]uint64{}}
		if late > 0 {
			s.Wrong["duplicate"] = uint64(late)
		}
		if other > 0 {
			s.Wrong["payload"] = other
		}
		return s
	}
	for name, c := range map[string]struct {
		intervals []*measure.Sample
		done      bool
		owed      int
	}{
		"exact":                     {[]*measure.Sample{sample(10, 4, 0, 0), sample(100, 100, 0, 0)}, true, 0},
		"late":                      {[]*measure.Sample{sample(10, 10, 0, 0), sample(100, 70, 0, 0), sample(100, 130, 30, 0), sample(100, 100, 0, 0)}, true, 0},
		"late, of the first":        {[]*measure.Sample{sample(10, 4, 0, 0), sample(100, 106, 6, 0), sample(100, 100, 0, 0)}, true, 0},
		"one is lost":               {[]*measure.Sample{sample(10, 10, 0, 0), sample(100, 70, 0, 0), sample(100, 129, 29, 0), sample(100, 100, 0, 0)}, false, 1},
		"lost behind the late ones": {[]*measure.Sample{sample(10, 4, 0, 0), sample(100, 100, 6, 0), sample(100, 100, 0, 0)}, false, 6},
		"one too many":              {[]*measure.Sample{sample(10, 10, 0, 0), sample(100, 101, 1, 0)}, true, -1},
		"something else is wrong":   {[]*measure.Sample{sample(10, 10, 0, 0), sample(100, 100, 0, 1)}, true, 0},
	} {
		var d debt
		done := false
		for _, s := range c.intervals {
			done = d.add(s)
		}
		if done != c.done || d.owed != c.owed {
			t.Errorf("%s: %v, %d owed", name, done, d.owed)
		}
	}
}
