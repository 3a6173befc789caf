package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"konzil/bench/measure"
)

// sample is a report of two servers, one of them with a name that is no good HTML.
func sample(ramp bool) *measure.Report {
	r := &measure.Report{Schema: measure.Schema, Scenario: "sfu", Load: "1x200 <video>", Unit: "packets", Scale: 200, PerScale: "receivers", Command: []string{"konzil", "bench", "sfu"},
		Started: time.Unix(1e9, 0), Machine: map[string]string{"cpu": "c", "cpus": "2", "kernel": "6"}, Gates: measure.DefaultGates(), Failed: []string{}, Notes: []string{"n & m"}}
	lat := func(base int64) map[string]measure.Latency {
		h := hdrhistogram.New(1000, 60e9, 3)
		for i := range int64(2000) {
			_ = h.RecordValue(base + i*i)
		}
		return map[string]measure.Latency{"video": {Histogram: h}}
	}
	for i, name := range []string{"konzil", `<script>alert("x")</script>`} {
		s := measure.ServerResult{Name: name, Version: "1", Config: map[string]string{"a.conf": "x <y>"}, Labels: map[string]string{"srtp": "GCM"}, Figures: map[string]measure.Spread{},
			Latency: lat(100_000), Steps: lat(5e6)}
		var per []float64
		for n := 1; n <= 5; n++ {
			x := measure.Round{Server: name, Number: n, Interval: 1, Scale: 200, Latency: lat(100_000), Figures: map[string]float64{measure.PerCPUSecond: 1e5 * float64(n+i), measure.Delivery: 1, "own figure": 3}}
			if ramp {
				x.Scale = 100 << n
			}
			if n == 5 {
				x.Failed = []string{"delivery <low>"}
			}
			for t := range 10 {
				x.Series = append(x.Series, measure.Point{T: float64(t + 1), CPU: 0.5, Generator: 0.1, RSS: 50 << 20})
			}
			x.Tables = []measure.Table{{Title: "t", Head: []string{"h"}, Rows: [][]string{{"cell"}}}}
			per = append(per, x.Figures[measure.PerCPUSecond])
			r.Rounds = append(r.Rounds, x)
		}
		s.Figures[measure.PerCPUSecond], s.Figures["own figure"] = measure.NewSpread(per), measure.NewSpread([]float64{3})
		s.Figures[measure.Delivery] = measure.NewSpread([]float64{1})
		n := lat(10_000)["video"]
		s.Null, s.Added = &n, map[string]measure.Quantiles{"video": {P50: 90_000}}
		if ramp {
			s.Knee = &measure.Knee{Scale: 1600, Limit: "delivery"}
		}
		r.Servers = append(r.Servers, s)
	}
	r.Comparisons = []measure.Comparison{{Server: r.Servers[1].Name, Against: "konzil", Ratios: map[string]measure.Spread{measure.PerCPUSecond: measure.NewSpread([]float64{1, 2, 3}), "p50 video": measure.NewSpread([]float64{1})}}}
	return r
}

// voidElement is those of our elements that HTML never closes.
var voidElement = regexp.MustCompile(`(<meta [^>]*)>`)

// The page is well-formed, needs nothing from outside, runs no script, and shows what is in the report.
func TestHTML(t *testing.T) {
	empty := &measure.Report{Failed: []string{"nothing went"}, Refused: "labels"}
	for name, r := range map[string]*measure.Report{"rounds": sample(false), "ramp": sample(true), "empty": empty} {
		var b bytes.Buffer
		if err := HTML(&b, r); err != nil {
			t.Fatal(name, err)
		}
		text := b.String()
		d := xml.NewDecoder(strings.NewReader(voidElement.ReplaceAllString(text, "$1/>")))
		d.Entity = xml.HTMLEntity
		elements := map[string]int{}
		for {
			tok, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if e, ok := tok.(xml.StartElement); ok {
				elements[e.Name.Local]++
				for _, a := range e.Attr {
					switch a.Name.Local {
					case "src", "href", "srcset", "action", "onload", "onclick":
						t.Errorf("%s: %s in %s", name, a.Name.Local, e.Name.Local)
					}
				}
			}
		}
		for _, bad := range []string{"script", "link", "img", "iframe", "object", "foreignObject", "use", "image"} {
			if elements[bad] > 0 {
				t.Errorf("%s has %s", name, bad)
			}
		}
		for _, bad := range []string{"@import", "url(", "NaN", "+Inf", "-Inf"} {
			if strings.Contains(text, bad) {
				t.Errorf("%s contains %q", name, bad)
			}
		}
		if name == "empty" {
			if !strings.Contains(text, "do not quote") || !strings.Contains(text, "No ratios: labels") {
				t.Error("an invalid run looks valid")
			}
			continue
		}
		if elements["svg"] != 4 || elements["polyline"] < 2*(1+5) || elements["circle"] != 10 {
			t.Errorf("%s: %v", name, elements)
		}
		for _, want := range []string{"prefers-color-scheme: dark", "@media print", "viewport", "all gates kept", "1x200 &lt;video&gt;", "srtp", "x &lt;y&gt;", "cell", "own figure", "n &amp; m", "99.9 %", "null relay"} {
			if !strings.Contains(text, want) {
				t.Errorf("%s lacks %q", name, want)
			}
		}
		if ramp := name == "ramp"; strings.Contains(text, "1600 receivers") != ramp || strings.Contains(text, "by load") != ramp {
			t.Errorf("%s: knee", name)
		}
	}
}

func TestText(t *testing.T) {
	var b strings.Builder
	Text(&b, sample(false))
	for _, want := range []string{"1x200", "300.0k", "100.0k–500.0k", "own figure", "less null relay", "failed", "2.000  1.000–3.000", "note: n & m"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("lacks %q:\n%s", want, b.String())
		}
	}
	b.Reset()
	Text(&b, &measure.Report{Refused: "labels", Failed: []string{"f"}})
	if s := b.String(); !strings.Contains(s, "no ratios: labels") || !strings.Contains(s, "FAILED: f") {
		t.Error(s)
	}
}

func TestAxes(t *testing.T) {
	a := linear("x", 0.37, Number)
	if a.max != 0.4 || len(a.ticks) != 5 {
		t.Errorf("%+v", a)
	}
	if a = linear("x", 0, Number); a.max != 1 {
		t.Errorf("%+v", a)
	}
	l := logarithmic("x", 3e4, 2e6, duration)
	if math.Abs(l.min-1e4) > 1 || math.Abs(l.max-1e7) > 1 || len(l.ticks) != 4 || l.ticks[2].text != "1 ms" || math.Abs(l.share(1e5)-1.0/3) > 1e-6 || l.share(1) != 0 || l.share(1e12) != 1 {
		t.Errorf("%+v", l)
	}
	for v, want := range map[float64]string{0: "0", 12: "12", 0.1234: "0.123", 123.4: "123", 12_345: "12.3k", 1_234_567: "1.23M", 2e10: "20.0G"} {
		if got := Number(v); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
	if Bytes(1536) != "1.5 KB" || Bytes(5<<20) != "5.0 MB" || Bytes(20<<30) != "20.0 GB" {
		t.Error(Bytes(1536), Bytes(5<<20), Bytes(20<<30))
	}
}
