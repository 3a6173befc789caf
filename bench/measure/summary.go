package measure

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// finish makes the servers' results of their rounds, compares them, and gathers what failed.
func (d *driver) finish() {
	r := d.report
	r.Elapsed = time.Since(r.Started).Seconds()
	for _, s := range d.Servers {
		r.Servers = append(r.Servers, d.result(s))
	}
	for i := range r.Rounds {
		x := &r.Rounds[i]
		if x.Dropped || d.Ramp != nil {
			continue
		}
		where := fmt.Sprintf("%s round %d: ", x.Server, x.Number)
		if x.Error != "" {
			r.Failed = append(r.Failed, where+x.Error)
		}
		for _, f := range x.Failed {
			r.Failed = append(r.Failed, where+f)
		}
	}
	for name, k := range d.knees {
		if k.Scale == 0 {
			r.Failed = append(r.Failed, fmt.Sprintf("%s: no scale kept the gates: %s", name, k.Limit))
		}
	}
	d.compare()
	r.Notes = append(r.Notes, commonNotes(r.Rounds)...)
}

// result is one server over the rounds that count.
func (d *driver) result(s Server) ServerResult {
	res := ServerResult{Name: s.Name, Attached: s.Attached, Labels: map[string]string{}, Figures: map[string]Spread{}, Latency: map[string]Latency{}, Knee: d.knees[s.Name]}
	if t := d.seen[s.Name]; t != nil {
		res.Version, res.Command, res.Config = t.Version, t.Command, t.Config
	}
	values := perRound{}
	var null map[string]Latency
	for i := range d.report.Rounds {
		r := &d.report.Rounds[i]
		if r.Server != s.Name {
			continue
		}
		for k, v := range r.Labels {
			if old, ok := res.Labels[k]; ok && old != v {
				v = "mixed"
			}
			res.Labels[k] = v
		}
		if !r.counts() || d.Ramp != nil && (res.Knee == nil || r.Scale != res.Knee.Scale) {
			continue // figures of a ramp are those at the knee
		}
		for k, v := range r.Figures {
			values.add(k, r, v)
		}
		res.Latency = merge(res.Latency, r.Latency)
		res.Steps = merge(res.Steps, r.Steps)
		if r.Null != nil {
			null = merge(null, map[string]Latency{"": *r.Null})
		}
	}
	for k := range values {
		res.Figures[k] = values.spread(k)
	}
	if n, ok := null[""]; ok {
		res.Null = &n
		res.Added = map[string]Quantiles{}
		for k, l := range res.Latency {
			res.Added[k] = l.Quantiles().less(n.Quantiles())
		}
	}
	return res
}

// perRound is the values of figures, by name and round. A round with several intervals counts once, with their median: what disturbs one of them
// for a moment is no difference between rounds.
type perRound map[string]map[[2]int][]float64

func (p perRound) add(name string, r *Round, v float64) {
	if p[name] == nil {
		p[name] = map[[2]int][]float64{}
	}
	at := [2]int{r.Number, r.Scale}
	p[name][at] = append(p[name][at], v)
}

func (p perRound) spread(name string) Spread {
	var medians []float64
	for _, v := range p[name] {
		medians = append(medians, NewSpread(v).Median)
	}
	return NewSpread(medians)
}

// compare divides each server's figures by the first server's of the same round, unless they did not do the same work.
func (d *driver) compare() {
	r := d.report
	if len(r.Servers) < 2 {
		return
	}
	a := r.Servers[0]
	for _, b := range r.Servers[1:] {
		if why := unequal(a, b); why != "" {
			r.Refused = "not the same work: " + why
			r.Failed = append(r.Failed, "comparison refused: "+why)
			return
		}
	}
	for _, b := range r.Servers[1:] {
		c := Comparison{Server: b.Name, Against: a.Name, Ratios: map[string]Spread{}}
		values := perRound{}
		for i := range r.Rounds {
			x := &r.Rounds[i]
			if x.Server != b.Name || !x.counts() {
				continue
			}
			y := d.pair(x, a.Name)
			if y == nil {
				continue
			}
			for k, v := range x.Figures {
				if w := y.Figures[k]; w > 0 && v > 0 {
					values.add(k, x, v/w)
				}
			}
			for k, l := range x.Latency {
				v, w := l.Quantiles(), y.Latency[k].Quantiles()
				if w.P50 > 0 && w.P99 > 0 {
					values.add("p50 "+k, x, float64(v.P50)/float64(w.P50))
					values.add("p99 "+k, x, float64(v.P99)/float64(w.P99))
				}
			}
		}
		for k := range values {
			c.Ratios[k] = values.spread(k)
		}
		r.Comparisons = append(r.Comparisons, c)
	}
}

// pair is the round of server that belongs with x: same number, interval and scale. Nil when it does not count.
func (d *driver) pair(x *Round, server string) *Round {
	for i := range d.report.Rounds {
		y := &d.report.Rounds[i]
		if y.Server == server && y.Number == x.Number && y.Interval == x.Interval && y.Scale == x.Scale && y.counts() {
			return y
		}
	}
	return nil
}

// commonNotes are remarks on rounds, each once with how many rounds it was made of.
func commonNotes(rounds []Round) []string {
	n := map[string]int{}
	for i := range rounds {
		seen := map[string]bool{}
		for _, note := range rounds[i].Notes {
			if text := rounds[i].Server + ": " + note; !seen[text] {
				seen[text] = true
				n[text]++
			}
		}
	}
	var out []string
	for _, text := range slices.Sorted(maps.Keys(n)) {
		if n[text] > 1 {
			text = fmt.Sprintf("%s (%d rounds)", text, n[text])
		}
		out = append(out, text)
	}
	return out
}
