package jitsi

import (
	"sync"

	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// Queue makes many goroutines say things in one order: what is put between Lock and Unlock is routed without the lock, by one goroutine at a
// time. Its lock guards the state of whoever embeds it.
type Queue struct {
	Router xmpp.Router

	mu      sync.Mutex // guards all below and the state beside; not held while something is routed
	queue   []queued
	routing bool
}

// queued is a stanza for some recipients, none: it has its address already; or something to do.
type queued struct {
	st *stanza.Stanza
	to []stanza.JID
	do func()
}

// Lock begins a change of the state.
func (q *Queue) Lock() { q.mu.Lock() }

// Unlock ends it, and routes what was queued, unless another goroutine is at it.
func (q *Queue) Unlock() {
	if q.routing {
		q.mu.Unlock()
		return
	}
	q.routing = true
	for len(q.queue) > 0 {
		batch := q.queue
		q.queue = nil
		q.mu.Unlock()
		for _, x := range batch {
			q.route(x)
		}
		q.mu.Lock()
	}
	q.routing = false
	q.mu.Unlock()
}

func (q *Queue) route(x queued) {
	switch {
	case x.do != nil:
		x.do()
	case x.to == nil:
		q.Router.Route(x.st)
	}
	for _, to := range x.to {
		q.Router.Route(x.st.WithTo(to))
	}
}

// Put queues a stanza that has its address; nil is passed over. The lock is held.
func (q *Queue) Put(st *stanza.Stanza) {
	if st != nil {
		q.queue = append(q.queue, queued{st: st})
	}
}

// PutTo queues st for each of to, which is not changed afterwards. The lock is held.
func (q *Queue) PutTo(st *stanza.Stanza, to []stanza.JID) {
	if len(to) > 0 {
		q.queue = append(q.queue, queued{st: st, to: to})
	}
}

// Later queues f, which runs without the lock. The lock is held.
func (q *Queue) Later(f func()) { q.queue = append(q.queue, queued{do: f}) }

// Waiting is how many entries are queued and not taken yet. The lock is held.
func (q *Queue) Waiting() int { return len(q.queue) }
