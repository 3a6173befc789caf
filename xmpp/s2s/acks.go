package s2s

import (
	"slices"
	"sync"

	"konzil/xmpp/stanza"
)

// acks is what was sent and not acknowledged (XEP-0198 §4), oldest first.
type acks struct {
	mu    sync.Mutex // guards items
	items []*stanza.Stanza
}

func (a *acks) len() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.items)
}

func (a *acks) add(sts []*stanza.Stanza) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.items = append(a.items, sts...)
}

// again gives all without removing it.
func (a *acks) again() []*stanza.Stanza {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.items)
}

// drop removes the n oldest; false: there are not so many.
func (a *acks) drop(n int) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if n < 0 || n > len(a.items) {
		return false
	}
	clear(a.items[:n])
	if a.items = a.items[n:]; len(a.items) == 0 {
		a.items = nil
	}
	return true
}

// all empties it.
func (a *acks) all() []*stanza.Stanza {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := a.items
	a.items = nil
	return out
}
