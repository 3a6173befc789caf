// Package slots bounds what is under way at a time: so many in all, and of them so many for each who asks, so that nobody takes all.
package slots

import (
	"sync"
	"sync/atomic"
)

// Slots are the places. Its methods may be called from any goroutine.
type Slots[K comparable] struct {
	all, each int

	mu    sync.Mutex // guards the fields below
	taken int
	by    map[K]int

	refused atomic.Uint64
}

// New makes so many places in all, of which each may take so many; 0 of each: all.
func New[K comparable](all, each int) *Slots[K] {
	if each == 0 {
		each = all
	}
	return &Slots[K]{all: all, each: each, by: map[K]int{}}
}

// Take takes a place for who, which Give gives back; false: there is none.
func (s *Slots[K]) Take(who K) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken >= s.all || s.by[who] >= s.each {
		s.refused.Add(1)
		return false
	}
	s.taken++
	s.by[who]++
	return true
}

// Give gives back a place that Take gave.
func (s *Slots[K]) Give(who K) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	if s.by[who]--; s.by[who] == 0 {
		delete(s.by, who)
	}
}

// Refused is how often there was none.
func (s *Slots[K]) Refused() uint64 { return s.refused.Load() }
