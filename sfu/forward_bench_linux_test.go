package sfu

import (
	"fmt"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"konzil/internal/udpio"
)

// threadTime is the CPU time of this thread in ns.
func threadTime(b *testing.B) int64 {
	var ts unix.Timespec
	must(b, unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts))
	return ts.Nano()
}

// BenchmarkForward is one sender's packets to receivers: demux, open, forward, seal, send; CPU time of
// the forwarding thread per packet out, so that a busy machine does not matter.
func BenchmarkForward(b *testing.B) {
	for _, gso := range []bool{true, false} {
		for _, receivers := range []int{1, 10, 100} {
			b.Run(fmt.Sprintf("gso=%v/receivers=%d", gso, receivers), func(b *testing.B) {
				benchForward(b, receivers, !gso)
			})
		}
	}
}

func benchForward(b *testing.B, receivers int, plain bool) {
	bd := newBed(b, receivers, 1, func(c *Config) { c.NoOffload = plain })
	bd.drain()
	var scratch batch
	list := make([]udpio.Packet, 0, 64)
	bd.warm(&scratch, list)
	// The made rates are far above any estimate: the control loop must not look at them.
	frozen, thaw := make(chan struct{}), make(chan struct{})
	go bd.c.do(func() { close(frozen); <-thaw })
	<-frozen
	defer close(thaw)
	before := bd.s.Counters()
	const chunk = 64
	var frames [][][]byte
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var ns int64
	start := threadTime(b)
	for b.Loop() {
		if len(frames) == 0 {
			b.StopTimer()
			ns += threadTime(b) - start
			for range chunk {
				// Seven packets of 1200 bytes: a frame of 2 Mb/s at 30 a second.
				var f [][]byte
				for range 2 {
					for _, p := range bd.enc[0].frame(false) {
						p.Payload = append(p.Payload, make([]byte, 1150-len(p.Payload))...)
						f = append(f, bd.protect(p, 200, ptVP8))
					}
				}
				frames = append(frames, f)
			}
			start = threadTime(b)
			b.StartTimer()
		}
		bd.feed(&scratch, frames[0], list)
		frames = frames[1:]
	}
	ns += threadTime(b) - start
	after := bd.s.Counters()
	out := after["packets_out"] - before["packets_out"]
	per := float64(ns) / float64(out)
	b.ReportMetric(per, "cpu-ns/packet-out")
	b.ReportMetric(1e9/per, "packets/cpu-s")
	b.ReportMetric(float64(out)/float64(after["send_calls"]-before["send_calls"]), "packets/call")
}
