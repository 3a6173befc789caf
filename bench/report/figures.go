package report

import (
	"fmt"
	"html/template"
	"maps"
	"math"
	"slices"

	"konzil/bench/measure"
)

// figure is a plot with its words.
type figure struct {
	Title   string
	Caption string
	SVG     template.HTML
	Legend  []legend
}

type legend struct{ Class, Name string }

// maxSeries is how many servers have a colour of their own; more share them.
const maxSeries = 6

func class(i int) string { return fmt.Sprintf("s%d", i%maxSeries) }

func legends(r *measure.Report) (out []legend) {
	for i, s := range r.Servers {
		out = append(out, legend{class(i), s.Name})
	}
	return out
}

// figures are all plots for which there is something to show.
func figures(r *measure.Report) (out []figure) {
	add := func(f figure) {
		if f.SVG != "" {
			out = append(out, f)
		}
	}
	for _, kind := range kinds(r) {
		add(latencyFigure(r, kind))
	}
	add(loadFigure(r))
	add(timeFigure(r, "CPU over time", "CPU seconds per second of the server (solid) and of the generator (dashed), each interval a line.", "CPU-s/s", func(p measure.Point) (float64, float64) { return p.CPU, p.Generator },
		func(v float64) string { return fmt.Sprintf("%.3g", v) }))
	add(timeFigure(r, "Memory over time", "Resident memory of the server, each interval a line.", "MB", func(p measure.Point) (float64, float64) { return float64(p.RSS) / (1 << 20), 0 },
		func(v float64) string { return fmt.Sprintf("%.4g", v) }))
	return out
}

// kinds of traffic whose latency was measured.
func kinds(r *measure.Report) []string {
	m := map[string]bool{}
	for _, s := range r.Servers {
		for k, l := range s.Latency {
			if l.Histogram != nil && l.TotalCount() > 0 {
				m[k] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(m))
}

// cdfStep is the distance of the points of a latency plot, in decades of the share that is slower.
const cdfStep = 0.05

// latencyFigure is the cumulative distribution of one kind: how long, by the share that took no longer. Its vertical axis stretches the slow
// end: each tick is ten times rarer than the one below.
func latencyFigure(r *measure.Report, kind string) figure {
	var lines []line
	lo, hi, top := math.Inf(1), 0.0, 0.0
	curve := func(l measure.Latency, class, style, name string) {
		if l.Histogram == nil || l.TotalCount() == 0 {
			return
		}
		depth := math.Log10(float64(l.TotalCount()))
		var pts []xy
		for d := 0.0; d <= depth; d += cdfStep {
			v := float64(max(l.ValueAtQuantile(100*(1-math.Pow(10, -d))), l.Min()))
			pts = append(pts, xy{v, d})
			lo, hi = math.Min(lo, v), math.Max(hi, v)
		}
		pts = append(pts, xy{float64(l.Max()), depth})
		hi, top = math.Max(hi, float64(l.Max())), math.Max(top, depth)
		lines = append(lines, line{class: class, style: style, name: name, points: pts})
	}
	for i, s := range r.Servers {
		curve(s.Latency[kind], class(i), "", s.Name)
	}
	leg := legends(r)
	for _, s := range r.Servers {
		if s.Null != nil {
			curve(*s.Null, "null", "dash", "null relay, beside "+s.Name)
		}
	}
	if len(lines) > len(r.Servers) {
		leg = append(leg, legend{"null", "null relay"})
	}
	if top == 0 {
		return figure{}
	}
	y := axis{label: "share", max: top}
	for _, t := range []tick{{0.30103, "50 %"}, {1, "90 %"}, {2, "99 %"}, {3, "99.9 %"}, {4, "99.99 %"}, {5, "99.999 %"}, {6, "99.9999 %"}} {
		if t.at <= top {
			y.ticks = append(y.ticks, t)
		}
	}
	title, caption := "Latency of "+kind, "Share of deliveries that took no longer, all counted rounds together"
	if len(lines) > len(r.Servers) {
		caption += "; the null relay is the path without a server"
	}
	return figure{Title: title, Caption: caption + ".",
		SVG: svg(title, logarithmic("from sending to delivery", lo, hi, duration), y, lines), Legend: leg}
}

// loadFigure is deliveries per second of server CPU by load: by scale when there were several (a ramp), else by round.
func loadFigure(r *measure.Report) figure {
	scales := map[int]bool{}
	for i := range r.Rounds {
		scales[r.Rounds[i].Scale] = true
	}
	byScale := len(scales) > 1
	var lines []line
	top, right, left := 0.0, 0.0, math.Inf(1)
	for i, s := range r.Servers {
		l := line{class: class(i), name: s.Name, dots: true, hollow: map[int]bool{}, noLine: true}
		for j := range r.Rounds {
			x := &r.Rounds[j]
			v, ok := x.Figures[measure.PerCPUSecond]
			if x.Server != s.Name || !ok {
				continue
			}
			at := float64(x.Number)
			if byScale {
				at = float64(x.Scale)
			}
			if x.Dropped || len(x.Failed) > 0 {
				l.hollow[len(l.points)] = true
			}
			l.points = append(l.points, xy{at, v})
			top, right, left = math.Max(top, v), math.Max(right, at), math.Min(left, at)
		}
		lines = append(lines, l)
		if byScale {
			lines = append(lines, kept(l))
		}
	}
	if top == 0 {
		return figure{}
	}
	f := figure{Title: r.Unit + " per CPU-second by round", Caption: "Each dot is a measured interval; hollow ones do not count.", Legend: legends(r)}
	x := linear("round", right, Number)
	if byScale {
		f.Title, f.Caption = r.Unit+" per CPU-second by load", "Each dot is a measured interval; hollow ones did not keep the gates."
		x = logarithmic(r.PerScale, left, right, Number)
	} else {
		x.ticks = x.ticks[:0]
		for n := 0; n <= int(right)+1; n += max(1, int(right)/10) {
			x.ticks = append(x.ticks, tick{float64(n), fmt.Sprint(n)})
		}
		x.max = right + 1
		x.ticks = slices.DeleteFunc(x.ticks, func(t tick) bool { return t.at == 0 || t.at > right })
	}
	f.SVG = svg(f.Title, x, linear("", top, Number), lines)
	return f
}

// kept is the line through the dots that count, in the order of the load.
func kept(l line) line {
	out := line{class: l.class}
	for i, p := range l.points {
		if !l.hollow[i] {
			out.points = append(out.points, p)
		}
	}
	slices.SortFunc(out.points, func(a, b xy) int { return int(a.x - b.x) })
	return out
}

// timeFigure draws something of every second of every round. A second value that is always 0 is not drawn.
func timeFigure(r *measure.Report, title, caption, unit string, get func(measure.Point) (float64, float64), text func(float64) string) figure {
	var lines []line
	top, right := 0.0, 0.0
	for i, s := range r.Servers {
		for j := range r.Rounds {
			x := &r.Rounds[j]
			if x.Server != s.Name || len(x.Series) == 0 {
				continue
			}
			name := fmt.Sprintf("%s, round %d", s.Name, x.Number)
			a, b, second := line{class: class(i), name: name}, line{class: class(i), style: "dash", name: name + ", generator"}, false
			from := 0.0
			for _, p := range x.Series { // each is of the time since the one before
				v, w := get(p)
				a.points, b.points = append(a.points, xy{from, v}, xy{p.T, v}), append(b.points, xy{from, w}, xy{p.T, w})
				second, from = second || w != 0, p.T
				top, right = math.Max(top, math.Max(v, w)), math.Max(right, p.T)
			}
			lines = append(lines, a)
			if second {
				lines = append(lines, b)
			}
		}
	}
	if top == 0 || right == 0 {
		return figure{}
	}
	return figure{Title: title, Caption: caption, SVG: svg(title, linear("seconds", right, Number), linear(unit, top, text), lines), Legend: legends(r)}
}
