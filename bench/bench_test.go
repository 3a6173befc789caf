package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"konzil/bench/measure"
	"konzil/bench/meet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestMainArguments(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"", 2, "usage"}, {"-h", 0, "usage"}, {"fly", 2, "unknown scenario"}, {"call -h", 0, "-min-delivery"}, {"call -x", 2, "not defined"},
		{"call -n 0", 2, "positive"}, {"call -url http://localhost/", 2, "not a WebSocket"}, {"call -url wss://192.0.2.1/x", 2, "-i-own-this-target"},
		{"call -url ws://127.0.0.1:1/x -n 1 -timeout 2s -null=false", 1, "participant 1"},
		{"call -d 0s", 2, "positive"}, {"call -rounds -1", 2, "positive"}, {"call more", 2, "unexpected"}, {"call -inject-loss 2", 2, "shares"},
		{"call -vs konzil,prosody", 2, "cannot drive"}, {"call -vs a,b -target c", 2, "exclude"}, {"call -target konzil=ftp://x", 2, "scheme"},
		{"call -target konzil:x", 2, "key=value"}, {"call -pid x", 2, "no process id"}, {"call -cpus 9999 -target konzil", 2, "may use"},
		{"call -inject-corruption -timeout 1s", 1, "does not inject"}, {"report", 2, "usage"}, {"report /does/not/exist", 1, "no such file"}, {"echo sctp", 1, "no null relay"},
		{"servers", 0, "konzil"},
	} {
		var out bytes.Buffer
		if code := Main(strings.Fields(c.args), &out); code != c.code || !strings.Contains(out.String(), c.says) {
			t.Errorf("%q: %d\n%s", c.args, code, out.String())
		}
	}
}

func received(ssrc uint32, kind string, packets, expected uint64) meet.Received {
	return meet.Received{SSRC: ssrc, Kind: kind, Source: "s", Packets: packets, Expected: expected, Bytes: packets * 100}
}

// A lossy run must not pass, nor one in which somebody hears nobody. What the gates say of a sample is tested in package measure.
func TestCallSample(t *testing.T) {
	l := &callLoad{n: 2, o: callOptions{height: 720}}
	run := func(x ...meet.Received) *measure.Sample {
		before := meet.Snapshot{ID: "a"}
		for _, y := range x {
			before.Received = append(before.Received, received(y.SSRC, y.Kind, 10, 10))
		}
		return l.sample(map[string]meet.Snapshot{"a": before}, []meet.Snapshot{{ID: "a", Received: x, Steps: []meet.Step{{Name: "ice", At: 5e6}, {Name: "dial", At: 2e6}}}}, time.Second)
	}
	s := run(received(1, "audio", 1008, 1010), received(2, "video", 1010, 1010))
	if s.Expected != 2000 || s.Delivered != 1998 || s.Kinds["audio"] != (measure.Count{Expected: 1000, Delivered: 998}) || len(s.Failed) != 0 || len(s.Wrong) != 0 {
		t.Errorf("%+v", s)
	}
	if h := s.Tables[0].Head; !slices.Equal(h, []string{"participant", "dial", "ice"}) {
		t.Error(h)
	}
	if n := s.Steps["ice"].TotalCount(); n != 1 {
		t.Error(n)
	}
	if s = run(received(1, "audio", 1010, 1010), received(2, "video", 10, 10)); !slices.Contains(s.Failed, "a gets video from 0 of 1 others") {
		t.Error(s.Failed)
	}
	back := received(2, "video", 1010, 1010)
	back.TSBack = 1
	if s = run(received(1, "audio", 1010, 1010), back); s.Wrong["timestamp"] != 1 {
		t.Error(s.Wrong)
	}
}

func TestPauseIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("stop"))
	if err := pauseWith(ctx, nil, time.Hour); err == nil || err.Error() != "stop" {
		t.Error(err)
	}
}

func TestSpecs(t *testing.T) {
	for text, want := range map[string]spec{
		"konzil":                       {alias: "konzil", peer: "konzil"},
		"janus:event_loops=2;x=y":      {alias: "janus:event_loops=2;x=y", peer: "janus", options: map[string]string{"event_loops": "2", "x": "y"}},
		"old=konzil:binary=/a=b":       {alias: "old", peer: "konzil", options: map[string]string{"binary": "/a=b"}},
		"livekit=ws://127.0.0.1:1/a":   {alias: "livekit", peer: "livekit", url: "ws://127.0.0.1:1/a"},
		"wss://localhost:8443/?a=b:c;": {alias: "first", peer: "first", url: "wss://localhost:8443/?a=b:c;"},
	} {
		got, err := parseSpec(text, "first")
		if err != nil || got.alias != want.alias || got.peer != want.peer || got.url != want.url || len(got.options) != len(want.options) {
			t.Errorf("%q: %+v %v", text, got, err)
		}
		for k, v := range want.options {
			if got.options[k] != v {
				t.Errorf("%q: %v", text, got.options)
			}
		}
	}
}

func TestCPUs(t *testing.T) {
	for _, c := range []struct {
		server, generator string
		all               []int
		srv, gen          string
	}{
		{"auto", "auto", []int{0, 1}, "0", "1"}, {"auto", "auto", []int{3}, "any", "any"}, {"none", "auto", []int{0, 1}, "any", "any"},
		{"0-1,3", "auto", []int{0, 1, 2, 3}, "0,1,3", "2"}, {"0", "0-1", []int{0, 1}, "0", "0,1"}, {"auto", "none", []int{0, 1, 2}, "0", "any"},
	} {
		srv, gen, err := splitCPUs(c.server, c.generator, c.all)
		if err != nil || cpuList(srv) != c.srv || cpuList(gen) != c.gen {
			t.Errorf("%+v: %v %v %v", c, srv, gen, err)
		}
	}
	for _, bad := range []string{"x", "2-1", "7", "1-"} {
		if _, _, err := splitCPUs(bad, "auto", []int{0, 1, 2}); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}

func TestProgress(t *testing.T) {
	var out bytes.Buffer
	p := newProgress(&out, "auto")
	x := measure.Progress{Stage: "measure", Server: "a", Round: 1, Rounds: 2, Unit: "packets", Delivered: 123456, ServerCPU: 0.5, SoFar: map[string]float64{"a": 250000}}
	p.tell(x)
	p.tell(x) // the same stage within a moment: not again
	p.end()
	if s := out.String(); strings.Count(s, "\n") != 1 || !strings.Contains(s, "123.5k packets/s") || !strings.Contains(s, "so far, per CPU-s: a 250.0k") {
		t.Error(s)
	}
	out.Reset()
	p = newProgress(&out, "line")
	p.tell(x)
	p.tell(x)
	p.end()
	if s := out.String(); strings.Contains(s, "\n") || strings.Count(s, "\r") != 3 || len([]rune(clip(s, 20))) != 19 || clip("short", 20) != "short" {
		t.Errorf("%q", s)
	}
}

func TestReportCommand(t *testing.T) {
	r := &measure.Report{Schema: measure.Schema, Scenario: "call", Load: "l", Failed: []string{"gate x"}}
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "r.json")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	if code := Main([]string{"report", path}, &out); code != 0 || !strings.Contains(out.String(), "FAILED: gate x") {
		t.Error(code, out.String())
	}
	out.Reset()
	if code := Main([]string{"report", path, "-html", "-"}, &out); code != 0 || !strings.Contains(out.String(), "<!doctype html>") {
		t.Error(code, out.String())
	}
}

func TestMicro(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, values ...string) string {
		var b strings.Builder
		b.WriteString("goos: linux\npkg: konzil/sfu/seal\n")
		for _, v := range values {
			b.WriteString("BenchmarkSeal/GCM-2   \t 1000\t " + v + " ns/op\t 0 B/op\t 0 allocs/op\nBenchmarkSeal says something\n")
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a, b, c := write("a", "100", "101", "102", "103", "104"), write("b", "50", "51", "52", "53", "54"), write("c", "99", "101", "102", "103", "200")
	for _, x := range []struct{ a, b, want string }{{a, b, "0.510 differs"}, {a, c, "1.000 no difference shown"}} {
		var out bytes.Buffer
		if code := Main([]string{"micro", x.a, x.b}, &out); code != 0 || !strings.Contains(strings.Join(strings.Fields(out.String()), " "), x.want) || !strings.Contains(out.String(), "sfu/seal Seal/GCM-2 ns/op") {
			t.Errorf("%d\n%s", code, out.String())
		}
	}
	var out bytes.Buffer
	if Main([]string{"micro", a}, &out) != 2 || Main([]string{"micro", a, "/does/not/exist"}, &out) != 1 {
		t.Error(out.String())
	}
}
