package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// Memory that is not in use costs participants as much as what is: they come in storms, each of which leaves a megabyte of garbage, and the
// collector keeps the room for it. While there is much to do that leaves nothing behind, such as routing, garbage is cheap and collecting is not,
// so a small heap gets room for garbageRoom. While what is in use grows, what stays is scattered among the garbage, and its pages stay with it: then
// there is less, from leastGrowth on in a small heap. When it has become calm the rest is collected and given back to the system. A collection
// halves the stacks of which less than a quarter is used, and a handshake needs eight times the stack of a session that waits: so there are more of
// them while that gains something. Forwarding media makes no garbage.
const (
	garbageRoom  = 32 << 20 // bytes that may become garbage before a collection, at least
	leastGrowth  = 2 << 20  // the same while what is in use grows,
	fullGrowth   = 64 << 20 // and with so much in use leastGC: to collect costs what is in use, each time
	leastPercent = 15       // in between
	leastGC      = 50       // percent of what is in use that may become garbage, at least
	growthBytes  = 1 << 20  // more in use after a collection than ever since it was calm: it grows
	steadyGCs    = 2        // collections between two looks from which on it can be told that it does not,
	steadyLooks  = 4        // and so many such looks after each other make sure
	memoryLook   = 250 * time.Millisecond
	restLooks    = 20 // calm looks in a row, after which the next one is memoryRest later: each wakes the process, and the runtime's monitor with it
	memoryRest   = time.Second
	calmBytes    = 1 << 20 // allocated between two looks at most: then it is calm
	sweepBytes   = 8 << 20 // allocated since the last time at least: then it is worth it
	quietLooks   = 4       // calm looks in a row, after which quietBytes are enough
	quietBytes   = 2 << 20
	shrinkBytes  = 512 << 10 // by which stacks have become smaller since the last sweep at least: then the next one may gain as much
)

// keeper watches the heap. It belongs to one goroutine.
type keeper struct {
	before  uint64 // allocated until the last look, bytes
	swept   uint64 // and when the last one was swept
	stacks  uint64 // in use before that, bytes
	calm    int    // looks in a row
	most    uint64 // that was in use since it was calm, within growthBytes
	cycles  uint64 // collections until the last look
	steady  int    // looks since when much has been done, and what is in use has not grown; steadyLooks at most
	percent int    // target of the collector, as set last
}

// keepMemory runs until ctx ends, unless the operator has chosen (GOGC).
func keepMemory(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	t := time.NewTimer(memoryLook)
	defer t.Stop()
	var k keeper
	heap := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/gc/cycles/total:gc-cycles"}, {Name: "/memory/classes/heap/stacks:bytes"}}
	for {
		metrics.Read(heap)
		percent, sweep := k.look(heap[0].Value.Uint64(), heap[1].Value.Uint64(), heap[2].Value.Uint64(), heap[3].Value.Uint64())
		if percent != k.percent {
			k.percent = percent
			debug.SetGCPercent(percent)
		}
		if sweep {
			debug.FreeOSMemory()
		}
		if k.calm >= restLooks {
			t.Reset(memoryRest)
		} else {
			t.Reset(memoryLook)
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

// growthPercent is how much garbage there may be while what is in use grows, in percent of that: leastGC of a large heap, in proportion less of a
// small one, but room for leastGrowth. In steps, so that it seldom changes.
func growthPercent(live uint64) int {
	percent := leastGC * min(live, fullGrowth) / fullGrowth
	percent = max(percent, leastGrowth*100/live)
	return int(max(leastPercent, percent-percent%5))
}

// look says how much garbage there may be, in percent of what is in use, and whether it is time to sweep. allocated is the total since the
// start, live what was in use after the last collection, in bytes, cycles is the number of collections, stacks what stacks take, in bytes.
func (k *keeper) look(allocated, live, cycles, stacks uint64) (percent int, sweep bool) {
	if allocated-k.before < calmBytes {
		k.calm++
	} else {
		k.calm = 0
	}
	switch {
	case k.calm > 0 || live > k.most+growthBytes: // what comes and goes, as messages do on their way into the archive, does not grow
		k.steady, k.most = 0, live
	case cycles-k.cycles >= steadyGCs && k.steady < steadyLooks:
		k.steady++
	}
	k.before, k.cycles = allocated, cycles
	percent = 100
	switch {
	case live == 0: // no collection yet
	case k.steady < steadyLooks:
		percent = growthPercent(live)
	case live < garbageRoom:
		percent = int(garbageRoom * 100 / live)
		percent -= percent % 100 // in steps, so that it seldom changes
	}
	since := allocated - k.swept
	if k.calm > 0 && (since >= sweepBytes || stacks+shrinkBytes <= k.stacks) || k.calm >= quietLooks && since >= quietBytes {
		k.swept, k.stacks = allocated, stacks
		return percent, true
	}
	return percent, false
}
