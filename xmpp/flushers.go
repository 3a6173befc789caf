package xmpp

import "sync"

// flushers are goroutines that have written for a stream and wait for the next one that has something to write: a new goroutine's stack is copied twice
// until it is large enough for TLS, each time, which was a tenth of the delivery in a room. A stream whose peer does not read holds up its own flusher alone.
type flushers struct {
	mu     sync.Mutex // guards all below
	idle   []*flusher // the one that worked last is taken first
	closed bool       // no more wait
}

// maxIdleFlushers is how many wait at most: a round through a large room. The collector takes from each all but 2 KB of stack, and batches are small.
const maxIdleFlushers = 256

// flusher is one of these goroutines.
type flusher struct {
	next  chan *stream // has room for one; closed: end
	batch []outItem    // empty, kept for its memory
}

// maxBatchKept is the largest batch whose memory is kept.
const maxBatchKept = 32

// start has a flusher write for st until nothing is left.
func (p *flushers) start(st *stream) {
	p.mu.Lock()
	n := len(p.idle) - 1
	if n < 0 {
		p.mu.Unlock()
		go p.work(st)
		return
	}
	f := p.idle[n]
	p.idle[n], p.idle = nil, p.idle[:n]
	p.mu.Unlock()
	f.next <- st
}

func (p *flushers) work(st *stream) {
	f := &flusher{next: make(chan *stream, 1)}
	for ok := true; ok; {
		f.batch = st.flush(f.batch)
		if cap(f.batch) > maxBatchKept {
			f.batch = nil
		}
		if !p.wait(f) {
			return
		}
		st, ok = <-f.next
	}
}

// wait puts f among the idle; false: they are enough.
func (p *flushers) wait(f *flusher) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) >= maxIdleFlushers {
		return false
	}
	p.idle = append(p.idle, f)
	return true
}

// close ends the idle, and the others when they have done their work.
func (p *flushers) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, f := range p.idle {
		close(f.next)
	}
	p.idle = nil
}
