package report

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"konzil/bench/measure"
)

//go:embed page.html
var pageText string

// page is what page.html shows.
type page struct {
	R        *measure.Report
	Verdict  string
	Good     bool
	Cards    []card
	Ratios   []ratios
	Figures  []figure
	Latency  []latencyRow
	Rounds   []roundRow
	Own      []ownRow
	Steps    []stepRow
	Tables   []loadTable
	Settings []pair
	Machine  []pair
	Gates    []pair
}

type card struct {
	Class, Name, Version   string
	PerCPU, Range          string
	Confidence             string
	Delivery, P50, P99     string
	Added                  string
	CPU, Generator, Memory string
	Rounds                 int
	Knee                   string
	Unit                   string
	Labels                 []pair
}

type ratios struct {
	Title string
	Rows  []ratioRow
}

type ratioRow struct {
	Name, Median, Range, Interval string
	// The bar of the interval between 1/4 and 4 on a log axis, in percent of its width.
	From, To, At float64
}

type latencyRow struct {
	Class, Name, Kind             string
	Count                         int64
	P50, P90, P99, P999, Max, Add string
}

type roundRow struct {
	Class, Name, State, PerCPU, PerSecond, Delivery, CPU, Generator, Others, P50, P99 string
	Number, Interval, Scale                                                           int
	Why                                                                               []string
}

type ownRow struct {
	Name   string
	Values []string
}

type loadTable struct {
	Title string
	measure.Table
}

type pair struct{ Key, Value string }

func pairs(m map[string]string) (out []pair) {
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, pair{k, m[k]})
	}
	return out
}

// HTML writes the report as one page without outside resources and without script.
func HTML(w io.Writer, r *measure.Report) error {
	t, err := template.New("page").Funcs(template.FuncMap{"date": func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }, "join": strings.Join, "pairs": pairs}).Parse(pageText)
	if err != nil {
		return fmt.Errorf("report: %w", err)
	}
	p := page{R: r, Good: len(r.Failed) == 0, Verdict: "all gates kept", Figures: figures(r), Settings: pairs(r.Settings), Machine: pairs(r.Machine), Gates: gates(r)}
	if !p.Good {
		p.Verdict = "gates not kept: do not quote these figures"
	}
	classes := map[string]string{}
	for i, s := range r.Servers {
		classes[s.Name] = class(i)
		p.Cards = append(p.Cards, cardOf(r, i))
		p.Latency = append(p.Latency, latencyRows(s, class(i))...)
	}
	for _, c := range r.Comparisons {
		p.Ratios = append(p.Ratios, ratiosOf(c))
	}
	for i := range r.Rounds {
		p.Rounds = append(p.Rounds, rowOf(&r.Rounds[i], classes[r.Rounds[i].Server]))
	}
	p.Own, p.Steps = ownRows(r), stepRows(r)
	for _, s := range r.Servers {
		for i := len(r.Rounds) - 1; i >= 0; i-- {
			if x := &r.Rounds[i]; x.Server == s.Name && len(x.Tables) > 0 {
				for _, t := range x.Tables {
					p.Tables = append(p.Tables, loadTable{fmt.Sprintf("%s, round %d: %s", s.Name, x.Number, t.Title), t})
				}
				break
			}
		}
	}
	if err := t.Execute(w, p); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

func cardOf(r *measure.Report, i int) card {
	s := r.Servers[i]
	f := s.Figures
	per := f[measure.PerCPUSecond]
	p50, p99 := worst(s.Latency)
	c := card{Class: class(i), Name: s.Name, Version: s.Version, Unit: r.Unit, Rounds: f[measure.Delivery].N, PerCPU: "–", Delivery: "–", P50: "–", P99: "–", Labels: pairs(s.Labels)}
	if per.N > 0 {
		c.PerCPU = Number(per.Median)
		c.Range = Number(per.Min) + "–" + Number(per.Max)
		if per.N > 1 {
			c.Confidence = fmt.Sprintf("median between %s and %s with %.0f %% confidence", Number(per.Low), Number(per.High), per.Confidence*100)
		}
	}
	if d := f[measure.Delivery]; d.N > 0 {
		c.Delivery = fmt.Sprintf("%.3f %%", d.Median*100)
	}
	if p99 > 0 {
		c.P50, c.P99 = dur(p50), dur(p99)
	}
	for _, q := range s.Added {
		if a := dur(q.P50); c.Added == "" || q.P50 > 0 {
			c.Added = a
		}
	}
	c.CPU = fmt.Sprintf("%.3f", f[measure.ServerCPU].Median)
	c.Generator = fmt.Sprintf("%.3f (%s)", f[measure.GeneratorCPU].Median, generatorShare(f))
	if m := f[measure.IdleMemory]; m.N > 0 {
		c.Memory = fmt.Sprintf("%.1f MB + %s KB each", m.Median, Number(f[measure.MemoryPerScale].Median))
	}
	if s.Knee != nil {
		c.Knee = fmt.Sprintf("%d %s", s.Knee.Scale, r.PerScale)
	}
	return c
}

func ratiosOf(c measure.Comparison) ratios {
	out := ratios{Title: c.Server + " against " + c.Against}
	for _, k := range ratioNames(c) {
		s := c.Ratios[k]
		out.Rows = append(out.Rows, ratioRow{Name: figureLabel(k), Median: fmt.Sprintf("%.3g×", s.Median), Range: fmt.Sprintf("%.3g–%.3g", s.Min, s.Max),
			Interval: fmt.Sprintf("%.3g–%.3g (%.0f %%)", s.Low, s.High, s.Confidence*100), From: ratioAt(s.Min), To: ratioAt(s.Max), At: ratioAt(s.Median)})
	}
	return out
}

// ratioAt is the place of a ratio on the bar, in percent.
func ratioAt(v float64) float64 {
	a := axis{min: 1.0 / 8, max: 8, log: true}
	return a.share(v) * 100
}

func latencyRows(s measure.ServerResult, class string) (out []latencyRow) {
	row := func(kind string, l measure.Latency, add string) {
		if l.Histogram == nil {
			return
		}
		q := l.Quantiles()
		out = append(out, latencyRow{class, s.Name, kind, l.TotalCount(), dur(q.P50), dur(q.P90), dur(q.P99), dur(q.P999), dur(q.Max), add})
	}
	for _, k := range slices.Sorted(maps.Keys(s.Latency)) {
		add := "–"
		if q, ok := s.Added[k]; ok {
			add = dur(q.P50) + " / " + dur(q.P99)
		}
		row(k, s.Latency[k], add)
	}
	if s.Null != nil {
		row("null relay", *s.Null, "–")
	}
	return out
}

// stepRow is one step of a login or a join, with its p50 and p99 for each server.
type stepRow struct {
	Name   string
	Values []string
	p50    int64
}

// stepRows are in the order in which the steps happen: that of their medians.
func stepRows(r *measure.Report) (out []stepRow) {
	names := map[string]bool{}
	for _, s := range r.Servers {
		for k := range s.Steps {
			names[k] = true
		}
	}
	for _, k := range slices.Sorted(maps.Keys(names)) {
		row := stepRow{Name: k}
		for _, s := range r.Servers {
			v := "–"
			if l := s.Steps[k]; l.Histogram != nil {
				q := l.Quantiles()
				v = fmt.Sprintf("%s / %s / %s", dur(q.P50), dur(q.P99), dur(q.Max))
				row.p50 = max(row.p50, q.P50)
			}
			row.Values = append(row.Values, v)
		}
		out = append(out, row)
	}
	slices.SortStableFunc(out, func(a, b stepRow) int { return int(a.p50 - b.p50) })
	return out
}

func rowOf(x *measure.Round, class string) roundRow {
	f := x.Figures
	p50, p99 := worst(x.Latency)
	r := roundRow{Class: class, Name: x.Server, Number: x.Number, Interval: x.Interval, Scale: x.Scale, PerCPU: Number(f[measure.PerCPUSecond]), PerSecond: Number(f[measure.PerSecond]),
		Delivery: fmt.Sprintf("%.4f %%", f[measure.Delivery]*100), CPU: fmt.Sprintf("%.3f", f[measure.ServerCPU]), Generator: fmt.Sprintf("%.3f", f[measure.GeneratorCPU]),
		Others: fmt.Sprintf("%.2f", f[measure.OthersCPU]), P50: dur(p50), P99: dur(p99), State: "counts", Why: x.Failed}
	switch {
	case x.Error != "":
		r.State, r.Why = "error", append([]string{x.Error}, x.Failed...)
	case len(x.Failed) > 0:
		r.State = "failed"
	case x.Dropped:
		r.State = "dropped"
	}
	return r
}

func ownRows(r *measure.Report) (out []ownRow) {
	names := map[string]bool{}
	for _, s := range r.Servers {
		for k := range s.Figures {
			if k != measure.PerCPUSecond {
				names[k] = true
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(names)) {
		row := ownRow{Name: figureLabel(k)}
		for _, s := range r.Servers {
			f := s.Figures[k]
			row.Values = append(row.Values, fmt.Sprintf("%s (%s–%s)", Number(f.Median), Number(f.Min), Number(f.Max)))
		}
		out = append(out, row)
	}
	return out
}

func gates(r *measure.Report) []pair {
	g := r.Gates
	out := []pair{{"delivery, of all and of each kind", fmt.Sprintf("at least %.4f %%", g.Delivery*100)}, {"wrong payload, order, addressee", "none"},
		{"generator's share of its CPUs", fmt.Sprintf("at most %.0f %%", g.Generator*100)}, {"units that the generator skipped", fmt.Sprintf("at most %.2g %%", g.Skipped*100)}}
	if g.LatencyP99 > 0 {
		out = append(out, pair{"latency p99", "at most " + g.LatencyP99.String()})
	}
	if g.Ratio > 0 {
		out = append(out, pair{"generator's CPU per server's CPU", fmt.Sprintf("at most %.2f", g.Ratio)})
	}
	return out
}

// figureLabel says in words what a figure's name means.
func figureLabel(name string) string {
	switch name {
	case measure.PerCPUSecond:
		return "deliveries per CPU-second"
	case measure.CPUPerUnit:
		return "server CPU per delivery, ns"
	case measure.PerSecond:
		return "deliveries per second"
	case measure.SentPerSecond:
		return "sent per second"
	case measure.Mbps:
		return "Mbit/s delivered"
	case measure.Delivery:
		return "delivered / expected"
	case measure.ServerCPU:
		return "server CPU, s/s"
	case measure.ServerUser:
		return "user share of server CPU"
	case measure.GeneratorCPU:
		return "generator CPU, s/s"
	case measure.GeneratorShare:
		return "generator's share of its CPUs"
	case measure.GeneratorRatio:
		return "generator CPU / server CPU"
	case measure.GeneratorOwn:
		return "the same less softirq on the generator's CPUs"
	case measure.OthersCPU:
		return "other programs' CPU, s/s"
	case measure.SoftIRQ:
		return "softirq of the machine, s/s"
	case measure.Steal:
		return "taken by the hypervisor, s/s"
	case measure.MemoryPerScale:
		return "memory for each unit of scale, KB"
	case measure.IdleMemory:
		return "memory before the load, MB"
	case measure.PrepareCPU:
		return "server CPU to prepare one, ms"
	}
	return name
}
