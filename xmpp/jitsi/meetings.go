package jitsi

import "konzil/xmpp/stanza"

// Meetings is a Base that keeps a T of each meeting until it ends; a component embeds it in place of Base.
type Meetings[T any] struct {
	*Base
	Of map[stanza.JID]T // by room; guarded by Base's lock
}

// Keep makes it on b.
func Keep[T any](b *Base) Meetings[T] { return Meetings[T]{b, map[stanza.JID]T{}} }

// Destroyed implements the observer of rooms: what was kept is forgotten.
func (m Meetings[T]) Destroyed(room stanza.JID) {
	m.Lock()
	defer m.Unlock()
	delete(m.Of, room)
}

// Counters are numbers for metrics.
func (m Meetings[T]) Counters() map[string]uint64 {
	m.Lock()
	n := len(m.Of)
	m.Unlock()
	return m.Base.Counters(n)
}
