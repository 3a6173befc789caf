package udpio

import (
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// calm is for how long nobody must have waited in the kernel for an added processor to go: adding and removing it stops the world for some 50 µs.
	calm = 10 * time.Second
	// rest is for how long nobody waits in the kernel when the runtime has wanted a processor back: longer than the 10 ms between two looks of the
	// runtime's monitor.
	rest = 12 * time.Millisecond
	// restEvery is the least time between the beginnings of two rests: where the monitor has reasons to stay awake they do not help.
	restEvery = 100 * time.Millisecond
)

// Processors are those of the Go scheduler (GOMAXPROCS), of which goroutines may hold one each while they wait in a system call that the scheduler is not
// told of, see vigil. For all others there has to be one that nobody holds. Where there is none, as on one CPU, one is added for as long as somebody wants to
// wait so.
//
// The runtime's monitor, a thread that looks 100 times a second and more often, sleeps when it has found all processors idle; a timer wakes it, or a system call that
// the scheduler is told of. Then it wants back, by a signal, who has run for 10 ms. So all waits are in the runtime's poller for a moment after such a signal,
// in which the monitor finds its rest.
type Processors struct {
	fixed bool           // the operator has chosen how many there are
	wg    sync.WaitGroup // of what changes their number
	start time.Time

	restFrom atomic.Int64 // when the last rest began, ns since start
	resting  atomic.Bool  // it is not over, as far as anybody has seen

	mu     sync.Mutex // guards the fields below
	held   int
	added  bool
	closed bool
	idle   *time.Timer // removes the added one; nil: it is needed, or there is none
}

// NewProcessors is for the whole program: there should be one.
func NewProcessors() *Processors {
	p := &Processors{fixed: os.Getenv("GOMAXPROCS") != "", start: time.Now()}
	p.restFrom.Store(-int64(restEvery))
	return p
}

// take holds a processor; false when there is none to hold now.
func (p *Processors) take() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return false
	}
	if p.held+1 < runtime.GOMAXPROCS(0) {
		p.held++
		p.stay()
		return true
	}
	if !p.fixed && !p.added {
		p.added = true
		p.wg.Go(func() { runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1) }) // which waits for the end of a collection
	}
	return false
}

// suffice tells whether there is still one that nobody holds: their number may be changed by others.
func (p *Processors) suffice() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.held < runtime.GOMAXPROCS(0)
}

// disturbed is told that the runtime wants a processor back.
func (p *Processors) disturbed() {
	now, from := int64(time.Since(p.start)), p.restFrom.Load()
	if now-from >= int64(restEvery) && p.restFrom.CompareAndSwap(from, now) {
		p.resting.Store(true)
	}
}

// rests tells whether nobody is to wait in the kernel now.
func (p *Processors) rests() bool {
	if !p.resting.Load() {
		return false
	}
	if int64(time.Since(p.start))-p.restFrom.Load() < int64(rest) {
		return true
	}
	p.resting.Store(false)
	return false
}

// giveBack ends a hold.
func (p *Processors) giveBack() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.held--; p.held == 0 && p.added && !p.closed {
		p.idle = time.AfterFunc(calm, p.remove)
	}
}

// stay lets the added one be. Caller holds mu.
func (p *Processors) stay() {
	if p.idle != nil {
		p.idle.Stop()
		p.idle = nil
	}
}

// remove takes the added one away again, unless somebody needs it by now.
func (p *Processors) remove() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.added && (p.held == 0 || p.closed) {
		p.added = false
		p.wg.Go(runtime.SetDefaultGOMAXPROCS)
	}
}

// Close lets nobody hold one any more, and puts their number back.
func (p *Processors) Close() {
	p.mu.Lock()
	p.closed = true
	p.stay()
	p.mu.Unlock()
	p.wg.Wait() // one may just be added
	p.remove()
	p.wg.Wait()
}
