package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"

	"konzil/bench/meet"
)

// Report is the result of a run, and what -json writes. Durations are in nanoseconds there.
type Report struct {
	Scenario     string
	Started      time.Time
	Machine      map[string]string
	Target       string
	Participants int
	Duration     time.Duration

	Joins   []Join
	Streams []Stream

	AudioDelivery float64 // received / expected over all streams, 0..1
	VideoDelivery float64
	ReceivedPPS   float64 // packets that reached the clients per second, that is: forwarded by the server
	SentPPS       float64
	ReceivedMbps  float64
	Latency       Latency

	ServerCPU        float64 // CPU seconds per second; -1: no -pid
	ServerNsPacket   float64 // CPU time per forwarded packet, ns
	ServerRSS        int64
	GeneratorCPU     float64
	GeneratorShare   float64 // of the machine
	GeneratorSkipped float64 // share of the generators' ticks that fell out because the machine was busy
	GeneratorLimits  bool

	Failed []string // gates that were not passed
	Notes  []string
}

// Join is the time that one participant took.
type Join struct {
	ID    string
	Steps []meet.Step
}

// Stream is what one receiver got of one source in the measured time.
type Stream struct {
	Receiver, Source, Kind      string
	SSRC                        uint32
	Packets, Expected, Bytes    uint64
	Keyframes, Frames           uint64
	Width, Height               int
	Duplicates, TSBack, Strange uint64
	P50, P99                    time.Duration
}

// Latency from sender to receiver over all streams.
type Latency struct {
	P50, P99, P999, Max time.Duration // Max: since the streams began
	Count               uint64
}

// generatorShare is how much of the machine the generator may use before its own delays show in the figures.
const generatorShare = 0.8

// maxSkipped is the share of ticks that may fall out before the traffic is not what it claims to be.
const maxSkipped = 0.01

// measurement takes counters before and after.
type measurement struct {
	o          *callOptions
	clients    []*meet.Client
	at         time.Time
	before     map[string]meet.Snapshot
	srv0, own0 Usage
}

func (m *measurement) begin() (err error) {
	m.before = make(map[string]meet.Snapshot)
	if m.o.pid != 0 {
		if m.srv0, err = processUsage(m.o.pid); err != nil {
			return err
		}
	}
	m.own0 = ownUsage()
	m.at = time.Now()
	for _, c := range m.clients {
		m.before[c.ID()] = c.Snapshot()
	}
	return nil
}

func (m *measurement) end(r *Report) error {
	sec := time.Since(m.at).Seconds()
	var after []meet.Snapshot
	for _, c := range m.clients {
		after = append(after, c.Snapshot())
	}
	own := ownUsage()
	r.ServerCPU = -1
	var received, sent, bytes, ticks, skipped uint64
	var got, expected [2]uint64
	var lat meet.Hist
	for _, s := range after {
		b := m.before[s.ID]
		skipped += s.Sent.Skipped - b.Sent.Skipped
		ticks += s.Sent.Ticks - b.Sent.Ticks
		sent += s.Sent.AudioPackets + s.Sent.VideoPackets - b.Sent.AudioPackets - b.Sent.VideoPackets
		for _, n := range s.Notes {
			r.Notes = append(r.Notes, s.ID+": "+n)
		}
		if s.Terminated > 0 {
			r.Notes = append(r.Notes, fmt.Sprintf("%s: session ended %d times", s.ID, s.Terminated))
		}
		for _, x := range s.Received {
			st := difference(s.ID, &x, b.Received)
			r.Streams = append(r.Streams, st)
			k := 0
			if st.Kind == "video" {
				k = 1
			}
			got[k] += st.Packets
			expected[k] += st.Expected
			received += st.Packets
			bytes += st.Bytes
			lat.Merge(&x.Latency)
		}
	}
	for i := range r.Joins { // milestones that were reached after the join
		for _, s := range after {
			if s.ID == r.Joins[i].ID {
				r.Joins[i].Steps = s.Steps
			}
		}
	}
	r.AudioDelivery, r.VideoDelivery = ratio(got[0], expected[0]), ratio(got[1], expected[1])
	r.ReceivedPPS, r.SentPPS, r.ReceivedMbps = float64(received)/sec, float64(sent)/sec, float64(bytes)*8/1e6/sec
	r.Latency = Latency{lat.Quantile(0.5), lat.Quantile(0.99), lat.Quantile(0.999), lat.Max, lat.Count}
	r.GeneratorCPU = (own.CPU() - m.own0.CPU()).Seconds() / sec
	r.GeneratorShare = r.GeneratorCPU / float64(runtime.NumCPU())
	r.GeneratorSkipped = ratio(skipped, ticks+skipped)
	r.GeneratorLimits = r.GeneratorShare > generatorShare || r.GeneratorSkipped > maxSkipped
	if m.o.pid != 0 {
		srv, err := processUsage(m.o.pid)
		if err != nil {
			return err
		}
		cpu := (srv.CPU() - m.srv0.CPU()).Seconds()
		r.ServerCPU, r.ServerRSS = cpu/sec, srv.RSS
		if received > 0 {
			r.ServerNsPacket = cpu * 1e9 / float64(received)
		}
	}
	r.gates(m.o, after)
	return nil
}

// difference is what came between two snapshots; x.Latency is reduced to that time, too.
func difference(receiver string, x *meet.Received, before []meet.Received) Stream {
	for i := range before {
		if before[i].SSRC == x.SSRC {
			x.Latency.Sub(&before[i].Latency)
		}
	}
	st := Stream{Receiver: receiver, Source: x.Source, Kind: x.Kind, SSRC: x.SSRC, Packets: x.Packets, Expected: x.Expected, Bytes: x.Bytes, Keyframes: x.Keyframes,
		Frames: x.Frames, Width: x.Width, Height: x.Height, Duplicates: x.Duplicates, TSBack: x.TSBack, Strange: x.Unstamped + x.SeqJumps,
		P50: x.Latency.Quantile(0.5), P99: x.Latency.Quantile(0.99)}
	for _, b := range before {
		if b.SSRC == x.SSRC {
			st.Packets -= b.Packets
			st.Expected -= b.Expected
			st.Bytes -= b.Bytes
			st.Keyframes -= b.Keyframes
			st.Frames -= b.Frames
			st.Duplicates -= b.Duplicates
			st.TSBack -= b.TSBack
			st.Strange -= b.Unstamped + b.SeqJumps
		}
	}
	return st
}

func ratio(got, expected uint64) float64 {
	if expected == 0 {
		return 0
	}
	// A packet that was missing when counting began and came later counts as received: more than all is all.
	return min(float64(got)/float64(expected), 1)
}

// gates decides whether the run counts.
func (r *Report) gates(o *callOptions, after []meet.Snapshot) {
	fail := func(format string, args ...any) { r.Failed = append(r.Failed, fmt.Sprintf(format, args...)) }
	check := func(kind string, off bool, delivery float64) {
		if off || o.n < 2 {
			return
		}
		if delivery < o.minDelivery {
			fail("%s delivery %.4f is below %.4f", kind, delivery, o.minDelivery)
		}
		for _, s := range after {
			n := 0
			for _, st := range r.Streams {
				if st.Receiver == s.ID && st.Kind == kind && st.Packets > 0 {
					n++
				}
			}
			if n < o.n-1 {
				fail("%s gets %s from %d of %d others", s.ID, kind, n, o.n-1)
			}
		}
	}
	check("audio", o.NoAudio, r.AudioDelivery)
	check("video", o.NoVideo || o.height == 0, r.VideoDelivery)
	if r.GeneratorLimits {
		fail("the generator used %.0f %% of the machine and lost %.1f %% of its ticks: figures are of the generator, not of the server", r.GeneratorShare*100, r.GeneratorSkipped*100)
	}
	for _, st := range r.Streams {
		if st.TSBack > 0 || st.Strange > 0 {
			fail("%s: stream %d of %s: %d timestamps went back, %d leaps or foreign payloads", st.Receiver, st.SSRC, st.Source, st.TSBack, st.Strange)
		}
	}
}

func (r *Report) table(out io.Writer) {
	w := tabwriter.NewWriter(out, 2, 8, 2, ' ', tabwriter.AlignRight)
	if names := stepNames(r.Joins); len(names) > 0 {
		fmt.Fprint(w, "join, ms\t")
		for _, n := range names {
			fmt.Fprintf(w, "%s\t", n)
		}
		fmt.Fprintln(w)
		for _, j := range r.Joins {
			fmt.Fprintf(w, "%s\t", j.ID)
			for _, n := range names {
				v := "-"
				for _, s := range j.Steps {
					if s.Name == n {
						v = fmt.Sprintf("%.0f", float64(s.At)/1e6)
					}
				}
				fmt.Fprintf(w, "%s\t", v)
			}
			fmt.Fprintln(w)
		}
		_ = w.Flush()
		fmt.Fprintln(out)
	}
	if len(r.Streams) > 0 {
		fmt.Fprintln(w, "receiver\tsource\tpackets\tlost\tpackets/s\tkb/s\tpicture\tkeyframes\tp50\tp99\t")
		for _, s := range r.Streams {
			pic := "-"
			if s.Height > 0 {
				pic = fmt.Sprintf("%dx%d", s.Width, s.Height)
			}
			lost := int64(s.Expected) - int64(s.Packets)
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%.0f\t%.0f\t%s\t%d\t%v\t%v\t\n", s.Receiver, s.Source, s.Packets, lost, float64(s.Packets)/r.Duration.Seconds(),
				float64(s.Bytes)*8/1000/r.Duration.Seconds(), pic, s.Keyframes, s.P50.Round(10*time.Microsecond), s.P99.Round(10*time.Microsecond))
		}
		_ = w.Flush()
		fmt.Fprintf(out, "\ndelivery: audio %.4f, video %.4f   forwarded %.0f packets/s, %.1f Mb/s   sent %.0f packets/s\n", r.AudioDelivery, r.VideoDelivery, r.ReceivedPPS,
			r.ReceivedMbps, r.SentPPS)
		fmt.Fprintf(out, "latency: p50 %v  p99 %v  p99.9 %v  max %v  (%d packets)\n", r.Latency.P50, r.Latency.P99, r.Latency.P999, r.Latency.Max.Round(time.Microsecond), r.Latency.Count)
		if r.ServerCPU >= 0 {
			fmt.Fprintf(out, "server: %.3f CPU s/s, %.1f us per forwarded packet, RSS %d MB   ", r.ServerCPU, r.ServerNsPacket/1000, r.ServerRSS>>20)
		}
		fmt.Fprintf(out, "generator: %.3f CPU s/s (%.0f %% of the machine), %.1f %% of ticks lost\n", r.GeneratorCPU, r.GeneratorShare*100, r.GeneratorSkipped*100)
	}
	for _, n := range r.Notes {
		fmt.Fprintln(out, "note:", n)
	}
	for _, f := range r.Failed {
		fmt.Fprintln(out, "FAILED:", f)
	}
}

// stepNames lists all steps in the order in which they were reached.
func stepNames(js []Join) []string {
	first := map[string]time.Duration{}
	var names []string
	for _, j := range js {
		for _, s := range j.Steps {
			at, ok := first[s.Name]
			if !ok {
				names = append(names, s.Name)
			}
			if !ok || s.At < at {
				first[s.Name] = s.At
			}
		}
	}
	slices.SortFunc(names, func(a, b string) int { return int(first[a] - first[b]) })
	return names
}

func (r *Report) writeJSON(path string, out io.Writer) error {
	if path == "" {
		return nil
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	b = append(b, '\n')
	if path == "-" {
		_, err = out.Write(b)
		return err
	}
	return os.WriteFile(path, b, 0o644)
}
