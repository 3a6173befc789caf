package xmpp

import (
	"context"
	"sync"
	"sync/atomic"

	"konzil/xmpp/stanza"
)

// holds are messages that a room has taken and not handed on yet, because what was said before them is on its way to the disk. Nothing tells of them after a
// kill, so they are not handled: their sender is not told so (XEP-0198 §4), and what it has sent later waits, since that would count as handled with all before
// it (ledger.Item). A sender has one at a time.
type holds struct {
	any atomic.Int64 // how many; as a rule none

	mu sync.Mutex // guards of
	of map[uint32]*hold
}

// hold is what is held of one channel (stanza.Origin).
type hold struct {
	n    int
	gone chan struct{} // closed when nothing is held any more
}

// Hold tells that a message with that origin waits; the caller calls release once it was handed on.
func (s *Server) Hold(o stanza.Origin) (release func()) {
	if o.Channel == 0 { // nobody counts it
		return func() {}
	}
	h := &s.holds
	h.any.Add(1)
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.of[o.Channel]
	if w == nil {
		if h.of == nil {
			h.of = map[uint32]*hold{}
		}
		w = &hold{gone: make(chan struct{})}
		h.of[o.Channel] = w
	}
	w.n++
	return func() { h.release(o.Channel, w) }
}

func (h *holds) release(channel uint32, w *hold) {
	h.any.Add(-1)
	h.mu.Lock()
	defer h.mu.Unlock()
	if w.n--; w.n == 0 {
		delete(h.of, channel)
		close(w.gone)
	}
}

// held is what is held of a channel, nil for nothing.
func (h *holds) held(channel uint32) *hold {
	if channel == 0 || h.any.Load() == 0 {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.of[channel]
}

// holding tells whether something of a channel is held.
func (h *holds) holding(channel uint32) bool { return h.held(channel) != nil }

// wait returns when nothing of a channel is held; false: ctx has ended before. There is no bound but that: a program that was stopped for a minute, or a slow disk,
// must not make anything count as handled.
func (h *holds) wait(ctx context.Context, channel uint32) bool {
	w := h.held(channel)
	if w == nil {
		return true
	}
	select {
	case <-w.gone:
		return true
	case <-ctx.Done():
		return false
	}
}
