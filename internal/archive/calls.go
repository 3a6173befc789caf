package archive

import "sync"

// call is one that somebody asked for, with what became of the message.
type call struct {
	then func(error)
	err  error
}

// calls are made in order by one goroutine, beside the one that writes: what is called may route a stanza, and a stanza may have to wait until another is on
// disk. Its length is bounded by mayAppend: with maxPending calls waiting nothing more is taken (refused_total).
type calls struct {
	done chan struct{} // closed when run has ended

	mu     sync.Mutex // guards the rest
	cond   *sync.Cond
	next   []call
	ending bool
}

func newCalls() *calls {
	c := &calls{done: make(chan struct{})}
	c.cond = sync.NewCond(&c.mu)
	return c
}

func (c *calls) add(all []func(error), err error) {
	if len(all) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, then := range all {
		c.next = append(c.next, call{then, err})
	}
	c.cond.Signal()
}

func (c *calls) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.next)
}

// end lets run return when all that was added has been called.
func (c *calls) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ending = true
	c.cond.Signal()
}

func (c *calls) run() {
	defer close(c.done)
	var now []call
	for {
		c.mu.Lock()
		for len(c.next) == 0 && !c.ending {
			c.cond.Wait()
		}
		if len(c.next) == 0 {
			c.mu.Unlock()
			return
		}
		now, c.next = c.next, now[:0]
		c.mu.Unlock()
		for _, x := range now {
			x.then(x.err)
		}
		clear(now)
		if cap(now) > maxPending/64 { // a burst's memory is not kept
			now = nil
		}
	}
}
