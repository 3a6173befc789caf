package main

import (
	"context"
	"os"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"
)

func TestKeeper(t *testing.T) {
	var k keeper
	const mb = 1 << 20
	for i, c := range []struct {
		allocated, live uint64
		percent         int
		sweep           bool
	}{
		{5 * mb, 0, 100, false},          // no collection yet
		{5 * mb, 4 * mb, 800, false},     // calm, but nothing to gain
		{90 * mb, 10 * mb, 300, false},   // busy
		{130 * mb, 20 * mb, 100, false},  // busy
		{130 * mb, 20 * mb, 100, true},   // calm
		{130 * mb, 20 * mb, 100, false},  // was done
		{131 * mb, 20 * mb, 100, false},  // a little each time
		{137 * mb, 20 * mb, 100, false},  // adds up
		{139 * mb, 200 * mb, 100, false}, // busy again
		{139 * mb, 200 * mb, 100, true},
		{142 * mb, 20 * mb, 100, false},
		{142 * mb, 20 * mb, 100, false}, // calm, for too little
		{142 * mb, 20 * mb, 100, false},
		{142 * mb, 20 * mb, 100, false},
		{142 * mb, 20 * mb, 100, true}, // and for so long that little is enough
		{142 * mb, 20 * mb, 100, false},
	} {
		if percent, sweep := k.look(c.allocated, c.live); percent != c.percent || sweep != c.sweep {
			t.Errorf("look %d: %d %%, sweep %v", i, percent, sweep)
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
	for deadline := time.Now().Add(20 * time.Second); ; runtime.Gosched() {
		if metrics.Read(released); released[0].Value.Uint64() > before+64<<20 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d MB were given back", (released[0].Value.Uint64()-before)>>20)
		}
	}
	cancel()
	<-done
}
