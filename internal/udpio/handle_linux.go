package udpio

import (
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// handle is a descriptor that is not closed, and its number given to another file, under those who use it.
type handle struct {
	fd    int
	users atomic.Int64 // who uses it just now, beside the bits handleClosed and handleReleased
}

const (
	handleClosed   = 1 << 62
	handleReleased = 1 << 61
)

// enter counts a user; false when the handle is closed.
func (h *handle) enter() bool {
	if h.users.Add(1)&handleClosed == 0 {
		return true
	}
	h.leave()
	return false
}

func (h *handle) leave() {
	if h.users.Add(-1) == handleClosed {
		h.release()
	}
}

// shut lets nobody enter any more; false when that was so. The caller releases it then.
func (h *handle) shut() bool {
	for {
		n := h.users.Load()
		if n&handleClosed != 0 {
			return false
		}
		if h.users.CompareAndSwap(n, n|handleClosed) {
			return true
		}
	}
}

// release closes the descriptor, once, by whoever is the last.
func (h *handle) release() {
	if h.users.CompareAndSwap(handleClosed, handleClosed|handleReleased) {
		unix.Close(h.fd)
	}
}
