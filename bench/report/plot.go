package report

import (
	"fmt"
	"html/template"
	"math"
	"strings"
	"time"
)

// Size of a plot in its own units, and the margins that hold the axes. At 360 pixels, a phone, the text is still 9 pixels high.
const (
	plotWidth  = 480.0
	plotHeight = 270.0
	marginL    = 52.0
	marginR    = 12.0
	marginT    = 10.0
	marginB    = 38.0
)

// xy is a point in data units.
type xy struct{ x, y float64 }

// line is one series of a plot.
type line struct {
	class  string // of CSS: s0, s1, ... for servers, null for the relay
	style  string // further classes: dash, faint
	name   string // tooltip
	points []xy
	dots   bool         // mark the points
	hollow map[int]bool // of the dots: not filled, for what does not count
	noLine bool
}

// axis maps data to a length. Ticks are where it says something.
type axis struct {
	label    string
	min, max float64
	log      bool
	ticks    []tick
}

type tick struct {
	at   float64
	text string
}

func (a *axis) share(v float64) float64 {
	lo, hi := a.min, a.max
	if a.log {
		lo, hi, v = math.Log10(lo), math.Log10(hi), math.Log10(math.Max(v, a.min))
	}
	if hi <= lo {
		return 0
	}
	return math.Min(math.Max((v-lo)/(hi-lo), 0), 1)
}

// linear is an axis from 0 over all values, with round ticks.
func linear(label string, top float64, text func(float64) string) axis {
	a := axis{label: label, max: top}
	if top <= 0 {
		a.max = 1
	}
	step := niceStep(a.max / 5)
	a.max = math.Ceil(a.max/step-1e-9) * step
	for v := 0.0; v <= a.max+step/1e6; v += step {
		a.ticks = append(a.ticks, tick{v, text(v)})
	}
	return a
}

// niceStep is the least of 1, 2, 5 times a power of ten that is not below v.
func niceStep(v float64) float64 {
	p := math.Pow(10, math.Floor(math.Log10(v)))
	for _, m := range []float64{1, 2, 5} {
		if m*p >= v*(1-1e-9) {
			return m * p
		}
	}
	return 10 * p
}

// logarithmic is an axis of decades that hold min and max.
func logarithmic(label string, lo, hi float64, text func(float64) string) axis {
	lo = math.Pow(10, math.Floor(math.Log10(math.Max(lo, 1e-9))))
	hi = math.Pow(10, math.Ceil(math.Log10(math.Max(hi, lo*10))-1e-9))
	a := axis{label: label, min: lo, max: hi, log: true}
	for v := lo; v <= hi*1.001; v *= 10 {
		a.ticks = append(a.ticks, tick{v, text(v)})
	}
	return a
}

// svg draws the lines. All text in it is escaped.
func svg(title string, x, y axis, lines []line) template.HTML {
	var b strings.Builder
	px := func(v float64) float64 { return marginL + x.share(v)*(plotWidth-marginL-marginR) }
	py := func(v float64) float64 { return plotHeight - marginB - y.share(v)*(plotHeight-marginT-marginB) }
	fmt.Fprintf(&b, `<svg viewBox="0 0 %g %g" role="img" aria-label="%s">`, plotWidth, plotHeight, escape(title))
	for _, t := range x.ticks {
		fmt.Fprintf(&b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%g" y2="%g"/>`, px(t.at), px(t.at), marginT, plotHeight-marginB)
		anchor := "middle"
		if px(t.at) > plotWidth-marginR-1 {
			anchor = "end" // in the middle it would be cut off
		}
		fmt.Fprintf(&b, `<text class="tick" x="%.1f" y="%g" text-anchor="%s">%s</text>`, px(t.at), plotHeight-marginB+15, anchor, escape(t.text))
	}
	for _, t := range y.ticks {
		fmt.Fprintf(&b, `<line class="grid" x1="%g" x2="%g" y1="%.1f" y2="%.1f"/>`, marginL, plotWidth-marginR, py(t.at), py(t.at))
		fmt.Fprintf(&b, `<text class="tick" x="%g" y="%.1f" text-anchor="end">%s</text>`, marginL-5, py(t.at)+4, escape(t.text))
	}
	fmt.Fprintf(&b, `<text class="label" x="%g" y="%g" text-anchor="middle">%s</text>`, (marginL+plotWidth-marginR)/2, plotHeight-5, escape(x.label))
	for _, l := range lines {
		drawLine(&b, l, px, py)
	}
	b.WriteString("</svg>")
	return template.HTML(b.String()) // made of numbers, own class names and escaped text
}

func drawLine(b *strings.Builder, l line, px, py func(float64) float64) {
	if len(l.points) == 0 {
		return
	}
	fmt.Fprintf(b, `<g class="%s %s">`, escape(l.class), escape(l.style))
	if !l.dots && l.name != "" {
		fmt.Fprintf(b, "<title>%s</title>", escape(l.name))
	}
	if !l.noLine {
		b.WriteString(`<polyline points="`)
		for i, p := range l.points {
			if i > 0 {
				b.WriteByte(' ')
			}
			fmt.Fprintf(b, "%.1f,%.1f", px(p.x), py(p.y))
		}
		b.WriteString(`"/>`)
	}
	if l.dots {
		for i, p := range l.points {
			class := "dot"
			if l.hollow[i] {
				class = "dot hollow"
			}
			fmt.Fprintf(b, `<circle class="%s" cx="%.1f" cy="%.1f" r="4"><title>%s: %s, %s</title></circle>`, class, px(p.x), py(p.y), escape(l.name), Number(p.x), Number(p.y))
		}
	}
	b.WriteString("</g>")
}

func escape(s string) string { return template.HTMLEscapeString(s) }

// duration shows nanoseconds on an axis.
func duration(ns float64) string {
	d := time.Duration(ns)
	switch {
	case d >= time.Second:
		return fmt.Sprintf("%g s", d.Seconds())
	case d >= time.Millisecond:
		return fmt.Sprintf("%g ms", float64(d)/1e6)
	}
	return fmt.Sprintf("%g µs", float64(d)/1e3)
}
