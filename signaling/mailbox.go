package signaling

import "sync"

// mailbox is a bounded queue of work for one goroutine; put never blocks.
type mailbox struct {
	mu     sync.Mutex // guards items, closed
	items  []func()
	closed bool
	wake   chan struct{} // holds one token while items may be there, or closed is set
}

func newMailbox() *mailbox { return &mailbox{wake: make(chan struct{}, 1)} }

// put queues f unless limit items wait already or the box is closed.
func (b *mailbox) put(f func(), limit int) bool {
	b.mu.Lock()
	if b.closed || len(b.items) >= limit {
		b.mu.Unlock()
		return false
	}
	b.items = append(b.items, f)
	b.mu.Unlock()
	b.signal()
	return true
}

func (b *mailbox) isClosed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

func (b *mailbox) signal() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// take is all that waits, in order; done tells that the box is closed and this is the last.
func (b *mailbox) take() (items []func(), done bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	items, b.items = b.items, nil
	return items, b.closed
}

// close lets nothing more in; what waits is still taken.
func (b *mailbox) close() {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.signal()
}

// run does what comes until the box is closed and empty.
func (b *mailbox) run() {
	for {
		<-b.wake
		items, done := b.take()
		for _, f := range items {
			f()
		}
		if done {
			return
		}
	}
}
