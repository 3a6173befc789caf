package main

import (
	"net/http"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"konzil/signaling/brewery"
)

// load tells how busy the process is.
type load struct {
	drain   atomic.Bool
	retired atomic.Bool // ends after the last conference

	last  atomic.Int64  // when it was asked, Unix ns
	used  atomic.Int64  // CPU time until then, ns
	level atomic.Uint64 // thousandths of all CPUs since the time before
}

// loadInterval is the shortest time over which the load is worked out.
const loadInterval = time.Second

// stress is the share of the machine's CPUs that the process used lately, from 0 to 1.
func (l *load) stress() float64 {
	now := time.Now().UnixNano()
	last := l.last.Load()
	if now-last >= int64(loadInterval) && l.last.CompareAndSwap(last, now) {
		var ru syscall.Rusage
		if syscall.Getrusage(syscall.RUSAGE_SELF, &ru) == nil {
			used := ru.Utime.Nano() + ru.Stime.Nano()
			before := l.used.Swap(used)
			if last != 0 {
				cpus := min(runtime.NumCPU(), runtime.GOMAXPROCS(0)) // the latter by a limit of the container; udpio.Processors may have added one
				l.level.Store(uint64(max(0, 1000*(used-before)/(int64(cpus)*(now-last)))))
			}
		}
	}
	return float64(min(l.level.Load(), 1000)) / 1000
}

// bridgeStats is how the bridge is now.
func (s *server) bridgeStats() brewery.Stats {
	sfu := s.sfu.Counters()
	return brewery.Stats{Stress: s.load.stress(), Healthy: true, Drain: s.load.drain.Load(), GracefulShutdown: s.load.retired.Load(),
		Conferences: int(sfu["conferences"]), Endpoints: int(sfu["endpoints"])}
}

// openDrain lets an operator take the bridge out of use and back (POST /colibri/drain/enable, disable), where health and metrics are.
func (s *server) openDrain() {
	for path, on := range map[string]bool{"enable": true, "disable": false} {
		s.http.HandlePrivate("POST /colibri/drain/"+path, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			s.load.drain.Store(on)
			s.log.Info("drain", "on", on)
		}))
	}
}
