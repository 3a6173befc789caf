package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Memory that is not in use costs participants as much as what is: they come in storms, each of which leaves a megabyte of garbage, and the
// collector keeps the room for it. While there is much to do garbage is cheap and collecting is not, so a small heap gets room for
// garbageRoom; when it has become calm the rest is collected and given back to the system. Forwarding media makes no garbage.
const (
	garbageRoom = 32 << 20 // bytes that may become garbage before a collection, at least
	memoryLook  = 250 * time.Millisecond
	calmBytes   = 1 << 20 // allocated between two looks at most: then it is calm
	sweepBytes  = 8 << 20 // allocated since the last time at least: then it is worth it
	quietLooks  = 4       // calm looks in a row, after which quietBytes are enough
	quietBytes  = 2 << 20
)

// keeper watches the heap. It belongs to one goroutine.
type keeper struct {
	before  uint64 // allocated until the last look, bytes
	swept   uint64 // and when the last one was swept
	calm    int    // looks in a row
	percent int    // target of the collector, as set last
}

// keepMemory runs until ctx ends, unless the operator has chosen (GOGC).
func keepMemory(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	t := time.NewTicker(memoryLook)
	defer t.Stop()
	var k keeper
	heap := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}}
	for {
		metrics.Read(heap)
		percent, sweep := k.look(heap[0].Value.Uint64(), heap[1].Value.Uint64())
		if percent != k.percent {
			k.percent = percent
			debug.SetGCPercent(percent)
		}
		if sweep {
			debug.FreeOSMemory()
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// look says how much garbage there may be, in percent of what is in use, and whether it is time to sweep. allocated is the total since the
// start, live what was in use after the last collection, in bytes.
func (k *keeper) look(allocated, live uint64) (percent int, sweep bool) {
	percent = 100
	if live > 0 && live < garbageRoom {
		percent = int(garbageRoom * 100 / live)
		percent -= percent % 100 // in steps, so that it seldom changes
	}
	if allocated-k.before < calmBytes {
		k.calm++
	} else {
		k.calm = 0
	}
	k.before = allocated
	since := allocated - k.swept
	if k.calm > 0 && since >= sweepBytes || k.calm >= quietLooks && since >= quietBytes {
		k.swept = allocated
		return percent, true
	}
	return percent, false
}
