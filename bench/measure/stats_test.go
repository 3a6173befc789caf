package measure

import (
	"context"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"konzil/internal/await"
)

func TestSpread(t *testing.T) {
	if s := NewSpread(nil); s != (Spread{}) {
		t.Error(s)
	}
	if s := NewSpread([]float64{3}); s.Median != 3 || s.Low != 3 || s.High != 3 || s.Confidence != 0 || s.Relative() != 0 {
		t.Error(s)
	}
	s := NewSpread([]float64{5, 1, 3, 2, 4})
	if s.Median != 3 || s.Min != 1 || s.Max != 5 || s.Low != 1 || s.High != 5 || math.Abs(s.Confidence-0.9375) > 1e-9 || math.Abs(s.Relative()-4.0/3) > 1e-9 {
		t.Errorf("%+v", s)
	}
	// The table of Conover, Practical Nonparametric Statistics: with 10 values the 2nd and the 9th hold the median with 97.9 %.
	s = NewSpread([]float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
	if s.Low != 2 || s.High != 9 || math.Abs(s.Confidence-0.9785) > 1e-3 || s.Median != 5.5 {
		t.Errorf("%+v", s)
	}
}

// The interval holds the true median as often as it says.
func TestSpreadCovers(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	const runs = 4000
	hit, want := 0, 0.0
	for range runs {
		v := make([]float64, 12)
		for i := range v {
			v[i] = rnd.ExpFloat64()
		}
		s := NewSpread(v)
		want = s.Confidence
		if s.Low <= math.Ln2 && math.Ln2 <= s.High {
			hit++
		}
	}
	if got := float64(hit) / runs; math.Abs(got-want) > 0.01 {
		t.Errorf("held in %.3f, said %.3f", got, want)
	}
}

func TestParseStat(t *testing.T) {
	line := "42 (a ) b) S 1 42 42 0 -1 4194304 100 0 0 0 250 75 10 5 20 0 9 0 1234 1000000 321 18446744073709551615 1 1"
	u, children, err := parseStat(line)
	if err != nil || u.User != 2600*time.Millisecond || u.System != 800*time.Millisecond || u.CPU != 3400*time.Millisecond || children != 150*time.Millisecond ||
		u.Threads != 9 || u.RSS != 321*int64(os.Getpagesize()) {
		t.Errorf("%+v %v", u, err)
	}
	for _, bad := range []string{"", "42 (x) S 1", strings.Replace(line, "250", "x", 1)} {
		if _, _, err := parseStat(bad); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
	m := parseMachineTimes("cpu  100 5 50 1000 7 2 3 4 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\ncpu1 1 1 1 1 1 1 2 1 0 0\nintr 5\n", []int{1})
	if m.busy != 1600*time.Millisecond || m.softirq != 30*time.Millisecond || m.steal != 40*time.Millisecond || m.own != 20*time.Millisecond || parseMachineTimes("x", nil) != (machineTimes{}) {
		t.Errorf("%+v", m)
	}
}

// The CPU time of a process that works for a known time is found, that of a child too, and memory.
func TestUsageOfProcesses(t *testing.T) {
	cmd := exec.Command("sh", "-c", "sh -c 'while :; do :; done' & wait")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	target := &Target{PIDs: []int{cmd.Process.Pid}}
	defer func() {
		for _, p := range processTree(target.PIDs) {
			if q, err := os.FindProcess(p); err == nil {
				_ = q.Kill()
			}
		}
		_ = cmd.Wait()
	}()
	await.True(t, "the figures of two processes", func() bool {
		u, err := ReadUsage(target, true)
		if err != nil {
			t.Fatal(err)
		}
		return u.CPU > 30*time.Millisecond && u.RSS > 0 && u.PSS > 0 && u.Threads == 2
	})
	if _, err := ReadUsage(&Target{PIDs: []int{-1}}, false); err == nil {
		t.Error("process -1")
	}
}

func TestCgroupUsage(t *testing.T) {
	dir := t.TempDir()
	if _, err := ReadUsage(&Target{Cgroup: dir}, false); err == nil {
		t.Error("empty folder")
	}
	for name, text := range map[string]string{"cpu.stat": "usage_usec 3000000\nuser_usec 1000000\nsystem_usec 2000000\nnr_periods 0\n", "memory.current": "4096\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	u, err := ReadUsage(&Target{Cgroup: dir}, false)
	if err != nil || u.CPU != 3*time.Second || u.User != time.Second || u.System != 2*time.Second || u.RSS != 4096 {
		t.Errorf("%+v %v", u, err)
	}
}

// CPU time is that of the window that the load counted in, also when the call took longer.
func TestWindow(t *testing.T) {
	t0 := time.Now()
	at := func(sec float64, cpu time.Duration) reading {
		return reading{at: t0.Add(time.Duration(sec * float64(time.Second))), server: Usage{CPU: cpu, User: cpu}, own: cpu / 2}
	}
	rs := []reading{at(0, 0), at(1, 100*time.Millisecond), at(2, 300*time.Millisecond), at(2.05, 310*time.Millisecond)}
	if r := readingAt(rs, t0.Add(1500*time.Millisecond)); r.server.CPU != 200*time.Millisecond || r.own != 100*time.Millisecond {
		t.Errorf("%+v", r)
	}
	if r := readingAt(rs, t0.Add(-time.Second)); r.server.CPU != 0 {
		t.Errorf("%+v", r)
	}
	if r := readingAt(rs, t0.Add(time.Minute)); r.server.CPU != 310*time.Millisecond {
		t.Errorf("%+v", r)
	}
	if p := series(rs, t0.Add(1200*time.Millisecond)); len(p) != 1 {
		t.Errorf("%+v", p)
	}
	p := series(rs, t0.Add(2*time.Second))
	if len(p) != 2 || math.Abs(p[1].CPU-0.2) > 1e-9 || p[1].T != 2 {
		t.Errorf("%+v", p)
	}
	iv := interval{first: rs[0], last: rs[2], generators: 2, sample: &Sample{Elapsed: 2 * time.Second, Sent: 10, Expected: 3000, Delivered: 3000}}
	f := iv.figures()
	if f[PerCPUSecond] != 10_000 || f[CPUPerUnit] != 100_000 || f[ServerCPU] != 0.15 || f[GeneratorRatio] != 0.5 || f[GeneratorShare] != 0.0375 || f[ServerUser] != 1 {
		t.Errorf("%+v", f)
	}
}

// The window is that of the marks, else that of the sample, else the whole; who measures nothing marks nothing.
func TestMarks(t *testing.T) {
	Mark(t.Context())
	s, err := startSampler(&Target{PIDs: []int{os.Getpid()}}, &fakeLoad{}, nil, nil, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.WithValue(t.Context(), markKey{}, s)
	Mark(ctx)
	Mark(ctx)
	rs, err := s.finish()
	if err != nil {
		t.Fatal(err)
	}
	if len(rs) != 4 || rs[1].pos != opens || rs[2].pos != closes {
		t.Fatalf("%+v", rs)
	}
	began := Sample{Began: rs[1].at, Elapsed: rs[3].at.Sub(rs[1].at)}
	if from, to := window(rs, &began); from.at != rs[1].at || to.at != rs[2].at || from.own > to.own {
		t.Errorf("marks: %+v %+v", from, to)
	}
	if from, to := window(rs[2:], &Sample{}); from.at != rs[2].at || to.at != rs[2].at {
		t.Errorf("from the first reading: %+v %+v", from, to)
	}
	plain := []reading{rs[0], rs[3]}
	if from, to := window(plain, &began); !from.at.Equal(rs[1].at) || !to.at.Equal(rs[3].at) {
		t.Errorf("sample: %+v %+v", from, to)
	}
	if from, to := window(plain, &Sample{}); from.at != rs[0].at || to.at != rs[3].at {
		t.Errorf("whole: %+v %+v", from, to)
	}
}

func TestMachine(t *testing.T) {
	m := machine()
	for _, k := range []string{"go", "cpus", "kernel", "mitigations", "governor", "memory"} {
		if m[k] == "" {
			t.Errorf("no %s: %v", k, m)
		}
	}
}

// The relay measures a path in this process and through one of its own: this test binary.
const nullTestTime = 200 * time.Millisecond

func TestNullRelay(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []NullRelay{{Network: "udp", Size: 1200, For: nullTestTime}, {Network: "tcp", Size: 200, For: nullTestTime},
		{Network: "udp", For: nullTestTime, Command: []string{exe, "-test.run=TestEchoProgram$", "--", "echo"}}} {
		h, err := n.Measure(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if h.TotalCount() < int64(nullRate*nullTestTime.Seconds())/2 || h.ValueAtQuantile(50) <= 0 || h.ValueAtQuantile(50) > int64(time.Second) {
			t.Errorf("%+v: %d, p50 %d", n, h.TotalCount(), h.ValueAtQuantile(50))
		}
	}
	if _, err := (NullRelay{Network: "sctp"}).Measure(t.Context()); err == nil {
		t.Error("sctp")
	}
}

// TestEchoProgram is the relay when this binary runs as one, see TestNullRelay.
func TestEchoProgram(t *testing.T) {
	if len(os.Args) < 2 || os.Args[len(os.Args)-2] != "echo" {
		t.Skip("only as the program of TestNullRelay")
	}
	if err := EchoMain(os.Args[len(os.Args)-1], os.Stdin, os.Stdout); err != nil {
		t.Fatal(err)
	}
}

// A round counts once, with the median of its intervals.
func TestPerRound(t *testing.T) {
	p := perRound{}
	for _, x := range []struct {
		round int
		v     float64
	}{{1, 10}, {1, 90}, {1, 11}, {2, 12}} {
		p.add("f", &Round{Number: x.round}, x.v)
	}
	if s := p.spread("f"); s.N != 2 || s.Min != 11 || s.Max != 12 {
		t.Errorf("%+v", s)
	}
}
