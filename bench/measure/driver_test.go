package measure

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeLoad delivers what its fields say, at once in the time of a bubble.
type fakeLoad struct {
	rate    float64 // units per second
	lost    float64 // share
	latency time.Duration
	skipped uint64
	wrong   map[string]uint64
	labels  map[string]string
	prepare error
	events  *[]string
	name    string
	live    uint64
	fault   *Fault
	nothing bool
}

func (l *fakeLoad) log(s string) { *l.events = append(*l.events, l.name+" "+s) }

func (l *fakeLoad) Prepare(_ context.Context, progress func(string)) error {
	progress("fake")
	l.log("prepare")
	return l.prepare
}

func (l *fakeLoad) Measure(ctx context.Context, d time.Duration) (*Sample, error) {
	l.log("measure " + d.String())
	if err := Pause(ctx, d); err != nil {
		return nil, err
	}
	n := uint64(l.rate * d.Seconds())
	if l.nothing {
		n = 0
	}
	h := NewHistogram()
	for range 100 {
		_ = h.RecordValue(int64(l.latency))
	}
	s := &Sample{Unit: "packets", Elapsed: d, Sent: n, Expected: n, Delivered: n - uint64(l.lost*float64(n)), Bytes: n * 100, Skipped: l.skipped, Verified: n / 64, Wrong: l.wrong,
		Labels: l.labels, Latency: map[string]*hdrhistogram.Histogram{"video": h}, Figures: map[string]float64{"own": 7}}
	if l.fault != nil {
		s.Wrong = map[string]uint64{}
		unit := make([]byte, 8)
		for range n {
			clear(unit)
			if l.fault.Lose() {
				s.Delivered--
			} else if l.fault.Corrupt(unit) {
				s.Wrong["payload"]++
			}
		}
	}
	return s, nil
}

func (l *fakeLoad) Live() (uint64, uint64) { return l.live, l.live }
func (l *fakeLoad) Close() error           { l.log("close"); return nil }

// run measures fake servers; loads are made by name of the target.
func run(t *testing.T, cfg Config, load func(name string, scale int) *fakeLoad, names ...string) (*Report, []string, error) {
	t.Helper()
	var events []string
	for _, n := range names {
		cfg.Servers = append(cfg.Servers, Server{Name: n, Start: func(context.Context, int) (*Target, error) {
			events = append(events, n+" start")
			return &Target{Name: n, Version: "1", PIDs: []int{os.Getpid()}, Stop: func() error { events = append(events, n+" stop"); return nil }}, nil
		}})
	}
	faults := cfg.Fault != nil
	cfg.Plan = &Plan{Load: "fake", Unit: "packets", ScaleName: "things", Scale: 10, MaxScale: 10_000, Faults: faults, Make: func(t *Target, scale int) (Load, error) {
		l := load(t.Name, scale)
		l.events, l.name, l.fault = &events, t.Name, cfg.Fault
		return l, nil
	}}
	if cfg.Gates == (Gates{}) {
		cfg.Gates = DefaultGates()
	}
	if cfg.Duration == 0 {
		cfg.Duration = 10 * time.Second
	}
	var r *Report
	var err error
	synctest.Test(t, func(t *testing.T) { r, err = Run(t.Context(), cfg) })
	return r, events, err
}

func good(string, int) *fakeLoad { return &fakeLoad{rate: 1000, latency: time.Millisecond} }

func TestRoundsAlternate(t *testing.T) {
	r, events, err := run(t, Config{Rounds: 2, Drop: 1, Warmup: time.Second, Fresh: true}, good, "a", "b")
	if err != nil || len(r.Failed) != 0 {
		t.Fatal(err, r.Failed)
	}
	var want []string
	for range 2 {
		for _, n := range []string{"a", "b"} {
			want = append(want, n+" start", n+" prepare", n+" measure 1s", n+" measure 10s", n+" close", n+" stop")
		}
	}
	if !slices.Equal(events, want) {
		t.Errorf("%v\n%v", events, want)
	}
	if len(r.Rounds) != 4 || !r.Rounds[0].Dropped || r.Rounds[2].Dropped || r.Servers[0].Figures[PerSecond].N != 1 || r.Servers[0].Figures[PerSecond].Median != 1000 {
		t.Errorf("%+v", r.Servers[0].Figures[PerSecond])
	}
	if f := r.Servers[1].Figures; f["own"].Median != 7 || f[Mbps].Median != 0.8 || f[Delivery].Median != 1 || f[IdleMemory].Median <= 0 {
		t.Errorf("%+v", f)
	}
	if n := len(r.Rounds[0].Series); n != 10 {
		t.Errorf("%d points", n)
	}
	if c := r.Comparisons; len(c) != 1 || c[0].Server != "b" || c[0].Ratios[PerSecond].Median != 1 || c[0].Ratios["p50 video"].Median != 1 {
		t.Errorf("%+v", c)
	}
}

func TestServersMayStay(t *testing.T) {
	_, events, err := run(t, Config{Rounds: 3, Intervals: 2}, good, "a", "b")
	n := map[string]int{}
	for _, e := range events {
		n[e]++
	}
	if err != nil || n["a start"] != 1 || n["b start"] != 1 || n["a stop"] != 1 || n["a prepare"] != 3 || n["a measure 10s"] != 6 {
		t.Error(err, n)
	}
}

// Each gate rejects what it is there for, and nothing else.
func TestGates(t *testing.T) {
	for name, c := range map[string]struct {
		load  fakeLoad
		gates func(*Gates)
		fault *Fault
		want  string // in Failed, "" for a run that counts
	}{
		"fine":                      {load: fakeLoad{rate: 1e5}},
		"one in a hundred thousand": {load: fakeLoad{rate: 1e5, lost: 1e-5}},
		"loss":                      {load: fakeLoad{rate: 1e5, lost: 2e-4}, want: "delivery 0.99980 is below 0.99990"},
		"wrong payload":             {load: fakeLoad{rate: 1e3, wrong: map[string]uint64{"payload": 1}}, want: "1 packets with wrong payload"},
		"nothing":                   {load: fakeLoad{nothing: true}, want: "did no work"},
		"skipped":                   {load: fakeLoad{rate: 1e3, skipped: 100}, want: "skipped 100 of 10100 units"},
		"slow":                      {load: fakeLoad{rate: 1e3, latency: 60 * time.Millisecond}, gates: func(g *Gates) { g.LatencyP99 = 50 * time.Millisecond }, want: "p99 60"},
		"slow but allowed":          {load: fakeLoad{rate: 1e3, latency: 60 * time.Millisecond}},
		"injected loss":             {load: fakeLoad{rate: 1e5}, fault: &Fault{Loss: 0.001}, want: "delivery 0.99"},
		"fault without effect":      {load: fakeLoad{rate: 1e5}, fault: &Fault{Loss: 1e-12}, want: "no fault was injected"},
		"injected nonsense":         {load: fakeLoad{rate: 1e5}, fault: &Fault{Corruption: 0.001}, want: "with wrong payload"},
	} {
		t.Run(name, func(t *testing.T) {
			g := DefaultGates()
			if c.gates != nil {
				c.gates(&g)
			}
			r, _, err := run(t, Config{Gates: g, Fault: c.fault}, func(string, int) *fakeLoad { l := c.load; return &l }, "a")
			if err != nil {
				t.Fatal(err)
			}
			failed := strings.Join(r.Failed, "\n")
			if c.want == "" && failed != "" || !strings.Contains(failed, c.want) {
				t.Errorf("failed: %q, want %q", failed, c.want)
			}
			if c.want != "" && r.Servers[0].Figures[PerSecond].N != 0 {
				t.Error("figures of a failed round are used")
			}
			if c.fault != nil && !strings.Contains(strings.Join(r.Notes, " "), "on purpose") {
				t.Error(r.Notes)
			}
		})
	}
}

func TestGeneratorLimit(t *testing.T) {
	g := DefaultGates()
	g.Ratio = 0.5
	s := &Sample{Unit: "packets", Expected: 1, Delivered: 1, Verified: 1}
	failed, _ := g.judge(s, map[string]float64{GeneratorShare: 0.9, GeneratorRatio: 0.6})
	if len(failed) != 2 || !strings.Contains(failed[0], "limited by the generator: it used 90 %") || !strings.Contains(failed[1], "0.60 of the server's") {
		t.Error(failed)
	}
	failed, notes := g.judge(s, map[string]float64{GeneratorShare: 0.5, GeneratorRatio: 0.4, OthersCPU: 0.5, Steal: 0.1})
	if len(failed) != 0 || len(notes) != 3 {
		t.Error(failed, notes)
	}
	failed, _ = g.judge(&Sample{Expected: 1000, Delivered: 1010, Verified: 1}, nil)
	if len(failed) != 1 || !strings.Contains(failed[0], "only 1000 were to come") {
		t.Error(failed)
	}
	failed, _ = g.judge(&Sample{Expected: 10_100, Delivered: 10_099, Verified: 1, Kinds: map[string]Count{"audio": {100, 99}, "video": {10_000, 10_000}}, Failed: []string{"own"}}, nil)
	if len(failed) != 2 || !strings.Contains(failed[0], "delivery of audio 0.99000") || failed[1] != "own" {
		t.Error(failed)
	}
}

// What was not the same work is not compared.
func TestLabelsMustBeEqual(t *testing.T) {
	load := func(name string, _ int) *fakeLoad {
		l := good(name, 0)
		l.labels = map[string]string{"srtp": map[string]string{"a": "GCM", "b": "CM"}[name]}
		return l
	}
	r, _, err := run(t, Config{Rounds: 2}, load, "a", "b")
	if err != nil || len(r.Comparisons) != 0 || !strings.Contains(r.Refused, "srtp: a has GCM, b has CM") || len(r.Failed) != 1 {
		t.Error(err, r.Refused, r.Failed)
	}
}

func TestErrorsOfRounds(t *testing.T) {
	load := func(name string, _ int) *fakeLoad {
		l := good(name, 0)
		if name == "a" {
			l.prepare = errors.New("no way")
		}
		return l
	}
	r, events, err := run(t, Config{Rounds: 1, Fresh: true}, load, "a", "b")
	if err != nil || len(r.Rounds) != 2 || r.Rounds[0].Error != "prepare: no way" || r.Rounds[1].Error != "" || len(r.Failed) != 1 {
		t.Error(err, r.Rounds, r.Failed)
	}
	if !slices.Contains(events, "a close") || !slices.Contains(events, "a stop") {
		t.Error(events)
	}
	for name, cfg := range map[string]Config{"all dropped": {Rounds: 1, Drop: 1}, "no load": {Servers: []Server{{}}}, "no server": {Plan: &Plan{Make: func(*Target, int) (Load, error) { return nil, nil }}}} {
		if _, err := Run(t.Context(), cfg); err == nil {
			t.Error(name)
		}
	}
	cfg := Config{Fault: &Fault{Loss: 1}, Servers: []Server{{Name: "a"}}, Plan: &Plan{Make: func(*Target, int) (Load, error) { return nil, nil }}}
	if _, err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "does not inject") {
		t.Error(err)
	}
	cfg.Fault, cfg.Servers = nil, []Server{{Name: "a"}, {Name: "a"}}
	if _, err := Run(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "named a") {
		t.Error(err)
	}
}

func TestInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(15*time.Second, func() { cancel(errors.New("interrupt")) })
		var events []string
		stopped := 0
		cfg := Config{Rounds: 5, Fresh: true, Duration: 10 * time.Second, Gates: DefaultGates(), Servers: []Server{{Name: "a", Start: func(context.Context, int) (*Target, error) {
			return &Target{Stop: func() error { stopped++; return nil }}, nil
		}}}, Plan: &Plan{Make: func(*Target, int) (Load, error) { l := good("", 0); l.events = &events; return l, nil }}}
		r, err := Run(ctx, cfg)
		if err == nil || err.Error() != "interrupt" || len(r.Rounds) != 2 || r.Rounds[0].Error != "" || r.Rounds[1].Error == "" || stopped != 2 {
			t.Error(err, len(r.Rounds), stopped)
		}
	})
}

// The knee of a server that loses packets above 137 things is found.
func TestRamp(t *testing.T) {
	load := func(name string, scale int) *fakeLoad {
		l := good(name, scale)
		if limit := map[string]int{"a": 137, "b": 5, "c": 1 << 30, "d": 0}[name]; scale > limit {
			l.lost = 0.1
		}
		return l
	}
	r, events, err := run(t, Config{Ramp: &Ramp{Tries: 1}, Duration: time.Second}, load, "a", "b", "c", "d")
	if err != nil {
		t.Fatal(err)
	}
	knee := func(i int) *Knee { return r.Servers[i].Knee }
	if k := knee(0); k.Scale > 137 || k.Scale < 130 || !strings.Contains(k.Limit, "delivery") || len(k.Steps) > 10 {
		t.Errorf("%+v", k)
	}
	if k := knee(1); k.Scale != 5 {
		t.Errorf("%+v", k)
	}
	if k := knee(2); k.Scale != 10_000 || !strings.Contains(k.Limit, "allowed") {
		t.Errorf("%+v", k)
	}
	if k := knee(3); k.Scale != 0 || len(r.Failed) != 1 {
		t.Errorf("%+v %v", k, r.Failed)
	}
	if got := r.Servers[0].Figures[PerSecond]; got.N != 1 {
		t.Errorf("figures are not those at the knee: %+v", got)
	}
	if !slices.Contains(events, "a stop") {
		t.Error("servers are left running during the ramp of others")
	}
}

func TestFindKnee(t *testing.T) {
	for _, limit := range []int{0, 1, 2, 3, 99, 100, 101, 1000, 4096, 5000} {
		tries := 0
		got, err := findKnee(100, 5000, 0, func(n int) (bool, error) { tries++; return n <= limit, nil })
		if err != nil || got != limit || tries > 20 {
			t.Errorf("limit %d: %d %v after %d tries", limit, got, err, tries)
		}
	}
	if got, err := findKnee(1, 0, 0.05, func(n int) (bool, error) { return n < 100, errorAt(n, 64) }); err == nil || got != 32 {
		t.Error(got, err)
	}
}

func errorAt(n, at int) error {
	if n >= at {
		return fmt.Errorf("at %d", n)
	}
	return nil
}

func TestJSONRoundTrip(t *testing.T) {
	r, _, err := run(t, Config{Rounds: 2, Warmup: time.Second}, good, "a", "b")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := r.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	first := b.String()
	for _, field := range []string{`"schema": 1`, `"hdr": "HISTF`, `"kernel"`, `"mitigations"`, `"governor"`, `"series"`} {
		if !strings.Contains(first, field) {
			t.Errorf("lacks %s", field)
		}
	}
	back, err := ReadJSON(&b)
	if err != nil {
		t.Fatal(err)
	}
	var again bytes.Buffer
	if err := back.WriteJSON(&again); err != nil || again.String() != first {
		t.Errorf("%v: changed on the way", err)
	}
	if got := back.Servers[0].Latency["video"].TotalCount(); got != 200 {
		t.Error(got)
	}
	for _, bad := range []string{"", "{", `{"schema":2}`, `{"schema":1,"servers":[{"latency":{"a":{"hdr":"x"}}}]}`} {
		if _, err := ReadJSON(strings.NewReader(bad)); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}
