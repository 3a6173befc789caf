package report

import (
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"konzil/bench/measure"
)

// Text writes the report as tables.
func Text(out io.Writer, r *measure.Report) {
	fmt.Fprintf(out, "\n%s: %s", r.Scenario, r.Load)
	if r.PerScale != "" {
		fmt.Fprintf(out, " (%d %s)", r.Scale, r.PerScale)
	}
	fmt.Fprintln(out)
	loadTables(out, r)
	servers(out, r)
	rounds(out, r)
	knees(out, r)
	comparisons(out, r)
	for _, n := range r.Notes {
		fmt.Fprintln(out, "note:", n)
	}
	if r.Refused != "" {
		fmt.Fprintln(out, "no ratios:", r.Refused)
	}
	for _, f := range r.Failed {
		fmt.Fprintln(out, "FAILED:", f)
	}
}

// loadTables prints the details that the load gave, of the last round of each server.
func loadTables(out io.Writer, r *measure.Report) {
	for _, s := range r.Servers {
		var last *measure.Round
		for i := range r.Rounds {
			if x := &r.Rounds[i]; x.Server == s.Name && len(x.Tables) > 0 {
				last = x
			}
		}
		if last == nil {
			continue
		}
		for _, t := range last.Tables {
			fmt.Fprintf(out, "\n%s, round %d: %s\n", s.Name, last.Number, t.Title)
			w := table(out)
			fmt.Fprintln(w, strings.Join(t.Head, "\t")+"\t")
			for _, row := range t.Rows {
				fmt.Fprintln(w, strings.Join(row, "\t")+"\t")
			}
			_ = w.Flush()
		}
	}
}

func table(out io.Writer) *tabwriter.Writer {
	return tabwriter.NewWriter(out, 2, 8, 2, ' ', tabwriter.AlignRight)
}

// servers is one line for each server, and one for each of its latencies and steps.
func servers(out io.Writer, r *measure.Report) {
	fmt.Fprintln(out)
	w := table(out)
	fmt.Fprintf(w, "server\trounds\t%s/CPU-s\tmin–max\tspread\t%s/s\tdelivery\tserver CPU\tus/unit\tgenerator CPU\tidle MB\tKB/unit of scale\t\n", r.Unit, r.Unit)
	for _, s := range r.Servers {
		f := s.Figures
		per := f[measure.PerCPUSecond]
		fmt.Fprintf(w, "%s\t%d\t%s\t%s–%s\t%.1f %%\t%s\t%.5f\t%.3f\t%.2f\t%.3f (%s)\t%.1f\t%.1f\t\n", s.Name, f[measure.Delivery].N, Number(per.Median), Number(per.Min), Number(per.Max), per.Relative()*100,
			Number(f[measure.PerSecond].Median), f[measure.Delivery].Median, f[measure.ServerCPU].Median, f[measure.CPUPerUnit].Median/1000, f[measure.GeneratorCPU].Median,
			generatorShare(f), f[measure.IdleMemory].Median, f[measure.MemoryPerScale].Median)
	}
	_ = w.Flush()
	fmt.Fprintln(out)
	w = table(out)
	fmt.Fprintln(w, "latency\tp50\tp90\tp99\tp99.9\tmax\tcount\t")
	row := func(name string, q measure.Quantiles, n int64) {
		fmt.Fprintf(w, "%s\t%v\t%v\t%v\t%v\t%v\t%d\t\n", name, dur(q.P50), dur(q.P90), dur(q.P99), dur(q.P999), dur(q.Max), n)
	}
	for _, s := range r.Servers {
		for _, k := range slices.Sorted(maps.Keys(s.Latency)) {
			row(s.Name+" "+k, s.Latency[k].Quantiles(), s.Latency[k].TotalCount())
			if q, ok := s.Added[k]; ok {
				row("  less null relay", q, s.Latency[k].TotalCount())
			}
		}
		if s.Null != nil {
			row(s.Name+" null relay", s.Null.Quantiles(), s.Null.TotalCount())
		}
	}
	_ = w.Flush()
	steps(out, r)
	own(out, r)
}

// generatorShare is what the generator used of the server's CPU time, in words.
func generatorShare(f map[string]measure.Spread) string {
	s := fmt.Sprintf("%.2f of server's", f[measure.GeneratorRatio].Median)
	if own, ok := f[measure.GeneratorOwn]; ok {
		s += fmt.Sprintf(", %.2f less softirq", own.Median)
	}
	return s
}

func steps(out io.Writer, r *measure.Report) {
	rows := stepRows(r)
	if len(rows) == 0 {
		return
	}
	fmt.Fprintln(out)
	w := table(out)
	fmt.Fprint(w, "step, p50 / p99 / max\t")
	for _, s := range r.Servers {
		fmt.Fprintf(w, "%s\t", s.Name)
	}
	fmt.Fprintln(w)
	for _, row := range rows {
		fmt.Fprintf(w, "%s\t%s\t\n", row.Name, strings.Join(row.Values, "\t"))
	}
	_ = w.Flush()
}

// own prints the figures that only this load has.
func own(out io.Writer, r *measure.Report) {
	names := map[string]bool{}
	for _, s := range r.Servers {
		for k := range s.Figures {
			if !known(k) {
				names[k] = true
			}
		}
	}
	if len(names) == 0 {
		return
	}
	fmt.Fprintln(out)
	w := table(out)
	fmt.Fprint(w, "figure\t")
	for _, s := range r.Servers {
		fmt.Fprintf(w, "%s\tmin–max\t", s.Name)
	}
	fmt.Fprintln(w)
	for _, k := range slices.Sorted(maps.Keys(names)) {
		fmt.Fprintf(w, "%s\t", k)
		for _, s := range r.Servers {
			f := s.Figures[k]
			fmt.Fprintf(w, "%s\t%s–%s\t", Number(f.Median), Number(f.Min), Number(f.Max))
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush()
}

// known tells whether a figure is one that the driver computes for all loads.
func known(name string) bool {
	switch name {
	case measure.PerCPUSecond, measure.CPUPerUnit, measure.PerSecond, measure.SentPerSecond, measure.Mbps, measure.Delivery, measure.ServerCPU, measure.ServerUser,
		measure.GeneratorCPU, measure.GeneratorShare, measure.GeneratorRatio, measure.GeneratorOwn, measure.OthersCPU, measure.SoftIRQ, measure.Steal, measure.MemoryPerScale,
		measure.IdleMemory, measure.PrepareCPU:
		return true
	}
	return false
}

// rounds is one line for each round, when there are several.
func rounds(out io.Writer, r *measure.Report) {
	if len(r.Rounds) < 2 {
		return
	}
	fmt.Fprintln(out)
	w := table(out)
	fmt.Fprintf(w, "round\tserver\tscale\t%s/CPU-s\t%s/s\tdelivery\tserver CPU\tgenerator\tothers\tp50\tp99\tstate\t\n", r.Unit, r.Unit)
	for i := range r.Rounds {
		x := &r.Rounds[i]
		f := x.Figures
		p50, p99 := worst(x.Latency)
		state := "counts"
		switch {
		case x.Error != "":
			state = "error"
		case len(x.Failed) > 0:
			state = "failed"
		case x.Dropped:
			state = "dropped"
		}
		fmt.Fprintf(w, "%d\t%s\t%d\t%s\t%s\t%.5f\t%.3f\t%.3f\t%.2f\t%v\t%v\t%s\t\n", x.Number, x.Server, x.Scale, Number(f[measure.PerCPUSecond]), Number(f[measure.PerSecond]), f[measure.Delivery],
			f[measure.ServerCPU], f[measure.GeneratorCPU], f[measure.OthersCPU], dur(p50), dur(p99), state)
	}
	_ = w.Flush()
}

func knees(out io.Writer, r *measure.Report) {
	for _, s := range r.Servers {
		if s.Knee != nil {
			fmt.Fprintf(out, "\nknee of %s: %d %s; above it: %s\n", s.Name, s.Knee.Scale, r.PerScale, s.Knee.Limit)
		}
	}
}

// comparisons prints the ratios that matter first, then those of the load's own figures.
func comparisons(out io.Writer, r *measure.Report) {
	for _, c := range r.Comparisons {
		fmt.Fprintf(out, "\n%s / %s\n", c.Server, c.Against)
		w := table(out)
		fmt.Fprintln(w, "figure\tratio\tmin–max\tinterval\t")
		for _, k := range ratioNames(c) {
			s := c.Ratios[k]
			fmt.Fprintf(w, "%s\t%.3f\t%.3f–%.3f\t%.3f–%.3f (%.0f %%)\t\n", k, s.Median, s.Min, s.Max, s.Low, s.High, s.Confidence*100)
		}
		_ = w.Flush()
	}
}

// ratioNames are the ratios worth showing, in order.
func ratioNames(c measure.Comparison) []string {
	var out []string
	for _, k := range []string{measure.PerCPUSecond, measure.PerSecond, measure.ServerCPU, measure.MemoryPerScale, measure.IdleMemory, measure.PrepareCPU} {
		if _, ok := c.Ratios[k]; ok {
			out = append(out, k)
		}
	}
	for _, k := range slices.Sorted(maps.Keys(c.Ratios)) {
		if !known(k) {
			out = append(out, k)
		}
	}
	return out
}

// worst is the highest p50 and p99 of all kinds of traffic.
func worst(m map[string]measure.Latency) (p50, p99 int64) {
	for _, l := range m {
		q := l.Quantiles()
		p50, p99 = max(p50, q.P50), max(p99, q.P99)
	}
	return p50, p99
}

// dur shows nanoseconds with three digits.
func dur(ns int64) string {
	d := time.Duration(ns)
	switch {
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}

// Number shows a figure with three or four digits and k, M or G.
func Number(v float64) string {
	a := math.Abs(v)
	switch {
	case a >= 1e10:
		return fmt.Sprintf("%.1fG", v/1e9)
	case a >= 1e7:
		return fmt.Sprintf("%.1fM", v/1e6)
	case a >= 1e6:
		return fmt.Sprintf("%.2fM", v/1e6)
	case a >= 1e4:
		return fmt.Sprintf("%.1fk", v/1e3)
	case a >= 100 || v == math.Trunc(v):
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// Bytes shows an amount of memory.
func Bytes(n int64) string {
	switch {
	case n >= 10<<30:
		return fmt.Sprintf("%.1f GB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f KB", float64(n)/1024)
}
