package udpio

import (
	"os"
	"runtime"
	"sync"
	"time"
)

// calm is for how long nobody must have waited in the kernel for an added processor to go: adding and removing it stops the world for some 50 µs.
const calm = 10 * time.Second

// Processors are those of the Go scheduler (GOMAXPROCS), of which goroutines may hold one each while they wait in a system call of their own, see
// vigil. The runtime's monitor takes a processor away from who is in a system call, and looks each 20 µs where there is one to take, unless another one is
// idle: so there has to be one that nobody holds. Where there is none, as on one CPU, one is added for as long as somebody wants to wait so.
type Processors struct {
	fixed bool           // the operator has chosen how many there are
	wg    sync.WaitGroup // of what changes their number

	mu     sync.Mutex // guards the fields below
	held   int
	added  bool
	closed bool
	idle   *time.Timer // removes the added one; nil: it is needed, or there is none
}

// NewProcessors is for the whole program: there should be one.
func NewProcessors() *Processors { return &Processors{fixed: os.Getenv("GOMAXPROCS") != ""} }

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
