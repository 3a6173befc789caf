// Package cache remembers what can be read again, for so many keys at most.
package cache

import "sync"

// Cache is a map with a bound. When it is full it forgets all at once: that costs a few readings more than it would to forget what was not used for
// long, and no list of who used what when. Its methods may be called from several goroutines.
type Cache[K comparable, V any] struct {
	max int

	mu sync.Mutex // guards m; a value in it is not changed
	m  map[K]V
}

// New makes a cache of max entries.
func New[K comparable, V any](max int) *Cache[K, V] { return &Cache[K, V]{max: max, m: map[K]V{}} }

// Get gives what is remembered of k.
func (c *Cache[K, V]) Get(k K) (v V, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	v, ok = c.m[k]
	return v, ok
}

// Put remembers v.
func (c *Cache[K, V]) Put(k K, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.m[k]; !ok && len(c.m) >= c.max {
		clear(c.m)
	}
	c.m[k] = v
}

// Delete forgets k.
func (c *Cache[K, V]) Delete(k K) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.m, k)
}
