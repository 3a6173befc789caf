package xmpp

import (
	"sync"
	"time"
)

const (
	backoffFree    = 5               // wrong passwords before anything happens
	backoffFirst   = 2 * time.Second // then this, doubled with each
	backoffLongest = 5 * time.Minute
	backoffForget  = 30 * time.Minute // after the last wrong one
	backoffEntries = 20_000           // account and network pairs remembered; above, the stale ones go, then any
)

// backoff slows down guessing per account and network: a stranger elsewhere cannot lock a member out.
type backoff struct {
	mu  sync.Mutex // guards m
	m   map[backoffKey]backoffEntry
	now func() time.Time
}

type backoffKey struct{ user, network string }

type backoffEntry struct {
	fails int
	last  time.Time
}

func newBackoff() *backoff { return &backoff{m: map[backoffKey]backoffEntry{}, now: time.Now} }

// blocked tells whether that account may not be tried from that network now.
func (b *backoff) blocked(user, network string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	e, ok := b.m[backoffKey{user, network}]
	if !ok || e.fails < backoffFree {
		return false
	}
	wait := min(backoffFirst<<min(e.fails-backoffFree, 16), backoffLongest)
	return b.now().Sub(e.last) < wait
}

func (b *backoff) failed(user, network string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k, now := backoffKey{user, network}, b.now()
	e := b.m[k]
	if now.Sub(e.last) > backoffForget {
		e.fails = 0
	}
	if len(b.m) >= backoffEntries {
		b.prune(now)
	}
	b.m[k] = backoffEntry{e.fails + 1, now}
}

func (b *backoff) prune(now time.Time) {
	for k, e := range b.m {
		if now.Sub(e.last) > backoffForget {
			delete(b.m, k)
		}
	}
	for k := range b.m {
		if len(b.m) < backoffEntries {
			return
		}
		delete(b.m, k)
	}
}

func (b *backoff) succeeded(user, network string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.m, backoffKey{user, network})
}
