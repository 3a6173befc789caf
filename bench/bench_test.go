package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"konzil/bench/meet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestParseStat(t *testing.T) {
	line := "42 (a ) b) S 1 42 42 0 -1 4194304 100 0 0 0 250 75 0 0 20 0 9 0 1234 1000000 321 18446744073709551615 1 1"
	u, err := parseStat(line)
	if err != nil || u.User != 2500*time.Millisecond || u.System != 750*time.Millisecond || u.RSS != 321*int64(os.Getpagesize()) || u.CPU() != 3250*time.Millisecond {
		t.Errorf("%+v %v", u, err)
	}
	for _, bad := range []string{"", "42 (x) S 1", strings.Replace(line, "250", "x", 1)} {
		if _, err := parseStat(bad); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
	if u, err = processUsage(os.Getpid()); err != nil || u.RSS == 0 {
		t.Errorf("%+v %v", u, err)
	}
	if _, err = processUsage(-1); err == nil {
		t.Error("process -1")
	}
}

func TestMainArguments(t *testing.T) {
	for _, c := range []struct {
		args string
		code int
		says string
	}{
		{"", 2, "usage"}, {"-h", 0, "usage"}, {"fly", 2, "unknown scenario"}, {"call -h", 0, "-min-delivery"}, {"call -x", 2, "not defined"},
		{"call -n 0", 2, "positive"}, {"call -url http://localhost/", 2, "not a WebSocket"}, {"call -url wss://192.0.2.1/x", 2, "-i-own-this-target"},
		{"call -url ws://127.0.0.1:1/x -n 1 -timeout 2s", 1, "participant 1"},
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

// A lossy run must not pass, nor one in which somebody hears nobody.
func TestGates(t *testing.T) {
	o := &callOptions{n: 2, minDelivery: 0.999, height: 720}
	run := func(x ...meet.Received) *Report {
		r := &Report{}
		snap := []meet.Snapshot{{ID: "a", Received: x}}
		var got, exp [2]uint64
		for _, y := range x {
			st := difference("a", &y, []meet.Received{received(y.SSRC, y.Kind, 10, 10)})
			r.Streams = append(r.Streams, st)
			k := 0
			if y.Kind == "video" {
				k = 1
			}
			got[k] += st.Packets
			exp[k] += st.Expected
		}
		r.AudioDelivery, r.VideoDelivery = ratio(got[0], exp[0]), ratio(got[1], exp[1])
		r.gates(o, snap)
		return r
	}
	if r := run(received(1, "audio", 1010, 1010), received(2, "video", 1010, 1010)); len(r.Failed) != 0 {
		t.Error(r.Failed)
	}
	if r := run(received(1, "audio", 1008, 1010), received(2, "video", 1010, 1010)); len(r.Failed) != 1 || !strings.Contains(r.Failed[0], "audio delivery 0.9980") {
		t.Error(r.Failed)
	}
	if r := run(received(1, "audio", 1010, 1010), received(2, "video", 10, 10)); !slices.Contains(r.Failed, "a gets video from 0 of 1 others") {
		t.Error(r.Failed)
	}
	back := received(2, "video", 1010, 1010)
	back.TSBack = 1
	if r := run(received(1, "audio", 1010, 1010), back); len(r.Failed) != 1 {
		t.Error(r.Failed)
	}
}

func TestReport(t *testing.T) {
	r := &Report{Duration: time.Second, ServerCPU: 0.5, Joins: []Join{{ID: "a", Steps: []meet.Step{{Name: "dial", At: 2e6}, {Name: "ice", At: 5e6}}}, {ID: "b", Steps: []meet.Step{{Name: "sasl", At: 3e6}}}},
		Streams: []Stream{{Receiver: "a", Source: "b-v0", Packets: 99, Expected: 100, Height: 720, Width: 1280}}, Notes: []string{"n1"}, Failed: []string{"f1"}}
	var out bytes.Buffer
	r.table(&out)
	for _, want := range []string{"dial  sasl  ice", "1280x720", "note: n1", "FAILED: f1", "0.500 CPU s/s"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("lacks %q:\n%s", want, out.String())
		}
	}
	out.Reset()
	if err := r.writeJSON("-", &out); err != nil {
		t.Fatal(err)
	}
	var back Report
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || len(back.Streams) != 1 || back.Streams[0].Packets != 99 {
		t.Error(err, back)
	}
	path := t.TempDir() + "/r.json"
	if err := r.writeJSON(path, nil); err != nil {
		t.Error(err)
	}
	if b, _ := os.ReadFile(path); !bytes.Equal(b, out.Bytes()) {
		t.Error("file differs")
	}
}

func TestPauseIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("stop"))
	if err := pause(ctx, nil, time.Hour); err == nil || err.Error() != "stop" {
		t.Error(err)
	}
	if m := machine(); m["cpus"] == "" || m["go"] == "" {
		t.Error(m)
	}
}
