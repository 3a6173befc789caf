package bridge

import "sync"

// maxQueue is how many events and messages may wait for a conference's goroutine. Clients' own share is bounded by
// maxPending each; the rest are the sfu's events, a few per endpoint and second. What comes above is dropped and counted.
const maxQueue = 65536

// queue is a bounded queue of work for one goroutine; put never blocks.
type queue struct {
	mu     sync.Mutex // guards items, waits, closed
	items  []func()
	waits  map[string]int // messages that wait, by client
	closed bool
	wake   chan struct{} // holds one token while there is something to see
}

func newQueue() *queue { return &queue{wake: make(chan struct{}, 1), waits: map[string]int{}} }

// pending adds n to the messages of a client that wait, and gives the sum.
func (q *queue) pending(client string, n int) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	sum := q.waits[client] + n
	if sum == 0 {
		delete(q.waits, client)
	} else {
		q.waits[client] = sum
	}
	return sum
}

func (q *queue) put(f func()) bool {
	q.mu.Lock()
	if q.closed || len(q.items) >= maxQueue {
		closed := q.closed
		q.mu.Unlock()
		return closed // after the end nothing is lost
	}
	q.items = append(q.items, f)
	q.mu.Unlock()
	q.signal()
	return true
}

func (q *queue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) take() (items []func(), done bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	items, q.items = q.items, nil
	return items, q.closed
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.signal()
}
