package measure

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// Gates are what a round must keep to count.
type Gates struct {
	Delivery   float64       `json:"delivery"`    // least share of expected deliveries that came, 0..1
	LatencyP99 time.Duration `json:"latency_p99"` // most that the 99th percentile of any kind of traffic may be, nanoseconds; 0 is any
	Generator  float64       `json:"generator"`   // most of its CPUs that the generator may use, 0..1
	Skipped    float64       `json:"skipped"`     // most of its units that the generator may have skipped, 0..1
	Ratio      float64       `json:"ratio"`       // most CPU that the generator may use per CPU of the server; 0 is any
}

// DefaultGates lose one packet in ten thousand at most. A generator above 80 % of its CPUs shows its own queues in the latency, and one that
// skips a thousandth of its units does not send the traffic that it says.
func DefaultGates() Gates {
	return Gates{Delivery: 0.9999, Generator: 0.8, Skipped: 0.001}
}

// fairRatio is the most that a generator may cost per CPU of the fastest server without a remark.
const fairRatio = 1.0 / 3

// othersNoise and stealNoise are the CPU seconds per second of other programs, and of the hypervisor, above which a round is remarked.
const (
	othersNoise = 0.1
	stealNoise  = 0.01
)

// judge says which gates the interval did not keep, and what else a reader should know.
func (g *Gates) judge(s *Sample, f map[string]float64) (failed, notes []string) {
	fail := func(format string, args ...any) { failed = append(failed, fmt.Sprintf(format, args...)) }
	switch d := deliveryOf(s); {
	case s.Expected == 0:
		fail("nothing was to be delivered: the load did no work")
	case d < g.Delivery:
		fail("delivery %.5f is below %.5f: %d of %d %s did not come", d, g.Delivery, s.Expected-s.Delivered, s.Expected, s.Unit)
	case float64(s.Delivered) > float64(s.Expected)*(2-g.Delivery)+1:
		fail("%d %s came, only %d were to come", s.Delivered, s.Unit, s.Expected)
	}
	for _, kind := range slices.Sorted(maps.Keys(s.Kinds)) {
		if c := s.Kinds[kind]; c.Expected > 0 && float64(c.Delivered) < g.Delivery*float64(c.Expected) {
			fail("delivery of %s %.5f is below %.5f: %d of %d did not come", kind, float64(c.Delivered)/float64(c.Expected), g.Delivery, c.Expected-c.Delivered, c.Expected)
		}
	}
	failed = append(failed, s.Failed...)
	for _, kind := range slices.Sorted(maps.Keys(s.Wrong)) {
		if n := s.Wrong[kind]; n > 0 {
			fail("%d %s with wrong %s", n, s.Unit, kind)
		}
	}
	if s.Expected > 0 && s.Verified == 0 {
		notes = append(notes, "the content of what came was not checked")
	}
	for _, kind := range slices.Sorted(maps.Keys(s.Latency)) {
		if p := time.Duration((Latency{s.Latency[kind]}).Quantiles().P99); g.LatencyP99 > 0 && p > g.LatencyP99 {
			fail("latency of %s: p99 %v is above %v", kind, p.Round(time.Microsecond), g.LatencyP99)
		}
	}
	if share := f[GeneratorShare]; share > g.Generator {
		fail("limited by the generator: it used %.0f %% of its CPUs, more than %.0f %%: the figures are its own, not the server's", share*100, g.Generator*100)
	}
	if all := s.Sent + s.Skipped; all > 0 && float64(s.Skipped)/float64(all) > g.Skipped {
		fail("limited by the generator: it skipped %d of %d units because it was busy", s.Skipped, all)
	}
	if ratio, ok := f[GeneratorRatio]; ok {
		switch {
		case g.Ratio > 0 && ratio > g.Ratio:
			fail("the generator used %.2f of the server's CPU time, more than %.2f", ratio, g.Ratio)
		case ratio > fairRatio:
			notes = append(notes, "the generator used more than a third of the server's CPU time"+lessSoftirq(f))
		}
	}
	if o := f[OthersCPU]; o > othersNoise {
		notes = append(notes, "other programs were busy: the machine was not quiet")
	}
	if st := f[Steal]; st > stealNoise {
		notes = append(notes, "the hypervisor took CPU time away")
	}
	return failed, notes
}

// lessSoftirq says what is left of the generator's share without what it did for the server's receiving side.
func lessSoftirq(f map[string]float64) string {
	own, ok := f[GeneratorOwn]
	switch {
	case !ok:
		return ""
	case own > fairRatio:
		return ", also without the softirq time of its CPUs"
	}
	return ", and less than a third without the softirq time of its CPUs"
}

// unequal names a label in which two servers differ, "" when they may be compared. A label that only one has is not compared.
func unequal(a, b ServerResult) string {
	for _, k := range slices.Sorted(maps.Keys(a.Labels)) {
		if v, ok := b.Labels[k]; ok && v != a.Labels[k] {
			return fmt.Sprintf("%s: %s has %s, %s has %s", k, a.Name, a.Labels[k], b.Name, v)
		}
	}
	return ""
}
