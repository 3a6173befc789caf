package bench

import (
	"fmt"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"konzil/bench/measure"
	"konzil/bench/meet"
)

// stream is what one receiver got of one source in the measured time.
type stream struct {
	receiver, source, kind      string
	ssrc                        uint32
	packets, expected, bytes    uint64
	keyframes, frames           uint64
	width, height               int
	duplicates, tsBack, strange uint64
	latency                     meet.Hist
}

// sample is what the clients counted between two snapshots.
func (l *callLoad) sample(before map[string]meet.Snapshot, after []meet.Snapshot, elapsed time.Duration) *measure.Sample {
	s := &measure.Sample{Unit: "packets", Elapsed: elapsed, Kinds: map[string]measure.Count{}, Wrong: map[string]uint64{}, Figures: map[string]float64{},
		Latency: map[string]*hdrhistogram.Histogram{}, Steps: map[string]*hdrhistogram.Histogram{}}
	var streams []stream
	for _, a := range after {
		b := before[a.ID]
		s.Skipped += a.Sent.Skipped - b.Sent.Skipped
		s.Sent += a.Sent.AudioPackets + a.Sent.VideoPackets - b.Sent.AudioPackets - b.Sent.VideoPackets
		for _, n := range a.Notes {
			s.Notes = append(s.Notes, a.ID+": "+n)
		}
		if a.Terminated > 0 {
			s.Notes = append(s.Notes, fmt.Sprintf("%s: session ended %d times", a.ID, a.Terminated))
		}
		for _, step := range a.Steps {
			record(s.Steps, step.Name, step.At, 1)
		}
		for i := range a.Received {
			streams = append(streams, difference(a.ID, &a.Received[i], b.Received))
		}
	}
	for i := range streams {
		st := &streams[i]
		// A packet that was missing when counting began and came later counts as received: more than all is all.
		got := min(st.packets, st.expected)
		k := s.Kinds[st.kind]
		k.Expected += st.expected
		k.Delivered += got
		s.Kinds[st.kind] = k
		s.Expected += st.expected
		s.Delivered += got
		s.Verified += st.packets // each carries a stamp that was read
		s.Bytes += st.bytes
		add := func(kind string, n uint64) {
			if n > 0 {
				s.Wrong[kind] += n
			}
		}
		add("timestamp", st.tsBack)
		add("payload or leap of sequence numbers", st.strange)
		st.latency.Each(func(d time.Duration, n uint32) { record(s.Latency, st.kind, d, int64(n)) })
	}
	s.Failed = l.missing(streams, after)
	s.Tables = []measure.Table{joinTable(after), streamTable(streams, elapsed)}
	return s
}

func record(m map[string]*hdrhistogram.Histogram, name string, d time.Duration, n int64) {
	h := m[name]
	if h == nil {
		h = measure.NewHistogram()
		m[name] = h
	}
	_ = h.RecordValues(max(int64(d), 1), n) // above a minute is not recorded: joins and deliveries that long have failed anyway
}

// missing says who hears or sees fewer than all others.
func (l *callLoad) missing(streams []stream, after []meet.Snapshot) (failed []string) {
	for _, k := range []struct {
		kind string
		off  bool
	}{{"audio", l.o.NoAudio}, {"video", l.o.NoVideo || l.o.height == 0}} {
		if k.off || l.n < 2 {
			continue
		}
		for _, a := range after {
			n := 0
			for i := range streams {
				if st := &streams[i]; st.receiver == a.ID && st.kind == k.kind && st.packets > 0 {
					n++
				}
			}
			if n < l.n-1 {
				failed = append(failed, fmt.Sprintf("%s gets %s from %d of %d others", a.ID, k.kind, n, l.n-1))
			}
		}
	}
	return failed
}

// difference is what came between two snapshots; x.Latency is reduced to that time, too.
func difference(receiver string, x *meet.Received, before []meet.Received) stream {
	st := stream{receiver: receiver, source: x.Source, kind: x.Kind, ssrc: x.SSRC, packets: x.Packets, expected: x.Expected, bytes: x.Bytes, keyframes: x.Keyframes,
		frames: x.Frames, width: x.Width, height: x.Height, duplicates: x.Duplicates, tsBack: x.TSBack, strange: x.Unstamped + x.SeqJumps}
	for i := range before {
		b := &before[i]
		if b.SSRC != x.SSRC {
			continue
		}
		x.Latency.Sub(&b.Latency)
		st.packets -= b.Packets
		st.expected -= b.Expected
		st.bytes -= b.Bytes
		st.keyframes -= b.Keyframes
		st.frames -= b.Frames
		st.duplicates -= b.Duplicates
		st.tsBack -= b.TSBack
		st.strange -= b.Unstamped + b.SeqJumps
	}
	st.latency = x.Latency
	return st
}

// joinTable is the time of each step of each participant.
func joinTable(after []meet.Snapshot) measure.Table {
	names := stepNames(after)
	t := measure.Table{Title: "joins, ms since the start", Head: append([]string{"participant"}, names...)}
	for _, a := range after {
		row := []string{a.ID}
		for _, n := range names {
			v := "-"
			for _, s := range a.Steps {
				if s.Name == n {
					v = fmt.Sprintf("%.0f", float64(s.At)/1e6)
				}
			}
			row = append(row, v)
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

// stepNames lists all steps in the order in which they were reached.
func stepNames(after []meet.Snapshot) []string {
	first := map[string]time.Duration{}
	var names []string
	for _, a := range after {
		for _, s := range a.Steps {
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

func streamTable(streams []stream, elapsed time.Duration) measure.Table {
	t := measure.Table{Title: "streams", Head: []string{"receiver", "source", "packets", "lost", "packets/s", "kb/s", "picture", "keyframes", "p50", "p99"}}
	for i := range streams {
		s := &streams[i]
		pic := "-"
		if s.height > 0 {
			pic = fmt.Sprintf("%dx%d", s.width, s.height)
		}
		sec := elapsed.Seconds()
		t.Rows = append(t.Rows, []string{s.receiver, s.source, fmt.Sprint(s.packets), fmt.Sprint(int64(s.expected) - int64(s.packets)), fmt.Sprintf("%.0f", float64(s.packets)/sec),
			fmt.Sprintf("%.0f", float64(s.bytes)*8/1000/sec), pic, fmt.Sprint(s.keyframes), s.latency.Quantile(0.5).Round(10 * time.Microsecond).String(),
			s.latency.Quantile(0.99).Round(10 * time.Microsecond).String()})
	}
	return t
}
