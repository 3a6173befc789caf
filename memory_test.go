package main

import (
	"context"
	"os"
	"runtime"
	"runtime/metrics"
	"testing"

	"konzil/internal/await"
)

func TestKeeper(t *testing.T) {
	var k keeper
	const mb = 1 << 20
	for i, c := range []struct {
		allocated, live, cycles uint64
		percent                 int
		sweep                   bool
	}{
		{5 * mb, 0, 0, 100, false},       // no collection yet
		{5 * mb, 4 * mb, 1, 50, false},   // calm, but nothing to gain
		{50 * mb, 10 * mb, 5, 20, false}, // busy, and it grows
		{60 * mb, 10 * mb, 7, 20, false}, // it does not grow any more
		{70 * mb, 10 * mb, 9, 20, false},
		{80 * mb, 10 * mb, 11, 20, false},
		{90 * mb, 10 * mb, 13, 300, false}, // for sure
		{130 * mb, 10 * mb, 14, 300, false},
		{170 * mb, 20 * mb, 16, 15, false}, // it grows again
		{180 * mb, 20 * mb, 18, 15, false},
		{190 * mb, 20 * mb, 20, 15, false},
		{200 * mb, 20 * mb, 22, 15, false},
		{210 * mb, 20 * mb, 24, 100, false}, // and is steady
		{240 * mb, 12 * mb, 26, 200, false}, // what comes and goes
		{270 * mb, 20 * mb, 28, 100, false}, // does not grow
		{270 * mb, 20 * mb, 28, 15, true},   // calm
		{270 * mb, 20 * mb, 29, 15, false},  // was done
		{271 * mb, 20 * mb, 29, 15, false},  // a little
		{273 * mb, 20 * mb, 29, 15, false},  // busy again
		{273 * mb, 20 * mb, 30, 15, false},  // calm, for too little
		{273 * mb, 20 * mb, 30, 15, false},
		{273 * mb, 20 * mb, 30, 15, false},
		{273 * mb, 20 * mb, 30, 15, true}, // and for so long that little is enough
		{273 * mb, 20 * mb, 30, 15, false},
	} {
		if percent, sweep := k.look(c.allocated, c.live, c.cycles, 5*mb); percent != c.percent || sweep != c.sweep {
			t.Errorf("look %d: %d %%, sweep %v", i, percent, sweep)
		}
	}
}

// After a storm it is swept for as long as that makes stacks smaller.
func TestKeeperStacks(t *testing.T) {
	k := keeper{before: 100, swept: 100}
	for i, c := range []struct {
		allocated, stacks uint64
		sweep             bool
	}{
		{90 << 20, 32 << 20, false}, // a storm
		{90 << 20, 32 << 20, true},
		{90 << 20, 16 << 20, true},
		{90 << 20, 8 << 20, true},
		{90 << 20, 8<<20 - 4096, false}, // that is all
		{90 << 20, 8<<20 - 4096, false},
		{95 << 20, 4 << 20, false}, // people leave: busy
		{95 << 20, 4 << 20, true},
		{95 << 20, 4 << 20, false},
	} {
		if _, sweep := k.look(c.allocated, 10<<20, uint64(i), c.stacks); sweep != c.sweep {
			t.Errorf("look %d: sweep %v", i, sweep)
		}
	}
}

func TestGrowthPercent(t *testing.T) {
	const mb = 1 << 20
	for _, c := range []struct {
		live    uint64
		percent int
	}{{1 * mb, 200}, {7 * mb, 25}, {16 * mb, 15}, {32 * mb, 25}, {64 * mb, 50}, {640 * mb, 50}} {
		if n := growthPercent(c.live); n != c.percent {
			t.Errorf("%d MB: %d %%, want %d", c.live/mb, n, c.percent)
		}
	}
}

// What a storm leaves goes back to the system when it is over.
func TestKeepMemory(t *testing.T) {
	t.Setenv("GOGC", "1")
	keepMemory(t.Context()) // the operator's: it returns at once
	_ = os.Unsetenv("GOGC")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); keepMemory(ctx) }()
	released := []metrics.Sample{{Name: "/memory/classes/heap/released:bytes"}}
	storm := make([]*[1 << 20]byte, 0, 100)
	for range cap(storm) {
		b := new([1 << 20]byte)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		storm = append(storm, b)
	}
	metrics.Read(released)
	before := released[0].Value.Uint64()
	runtime.KeepAlive(storm)
	await.True(t, "64 MB are given back", func() bool {
		metrics.Read(released)
		return released[0].Value.Uint64() > before+64<<20
	})
	cancel()
	<-done
}
