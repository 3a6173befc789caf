// Package slots keeps the fixed pool of outgoing SSRCs of a receiver that negotiated SSRC rewriting: sources take turns on slots, so that
// the receiver's session description stops growing.
//
// Acquire gives a source its slot: the one that it has, else a new one while there are fewer than the maximum, else the one that was freed
// longest ago, else the slot of the source that was used longest ago among those not being forwarded. A freed slot is not given away while new ones can
// be had: a Jitsi client that learns of a source's new SSRC clears who owns the old one, though somebody else may own it by then. SetForwarded pins a slot to its source; Forget
// frees it when the source ends.
//
// A Table has no goroutine, lock or clock and is for one user at a time.
package slots

// The usual sizes of the pools: what stock clients are told by a Jitsi Videobridge.
const (
	MaxVideo = 50
	MaxAudio = 50
)

// Table is one pool. Use New.
type Table struct {
	max     int
	newSSRC func() uint32
	slots   []slot
	source  map[string]int
	ssrc    map[uint32]struct{} // of media and repair, of all slots
}

type slot struct {
	ssrc, rtx uint32
	source    string // "": free
	used      int64
	forwarded bool
}

// New makes a pool of at most max slots. newSSRC draws a random SSRC; it is called again while it returns 0 or one that the table has.
func New(max int, newSSRC func() uint32) *Table {
	return &Table{max: max, newSSRC: newSSRC, source: make(map[string]int), ssrc: make(map[uint32]struct{})}
}

// Acquire returns the slot of source, and notes that it was used now. changed says that the source was not on it before: the receiver
// must be told before media flows. evicted is the source that lost the slot, if any. ok is false when all slots are forwarding.
func (t *Table) Acquire(source string, now int64) (slot int, ssrc, rtx uint32, changed bool, evicted string, ok bool) {
	if i, has := t.source[source]; has {
		s := &t.slots[i]
		s.used = now
		return i, s.ssrc, s.rtx, false, "", true
	}
	i := t.pick()
	if i < 0 {
		return 0, 0, 0, false, "", false
	}
	s := &t.slots[i]
	evicted = s.source
	if evicted != "" {
		delete(t.source, evicted)
	}
	s.source, s.used, s.forwarded = source, now, false
	t.source[source] = i
	return i, s.ssrc, s.rtx, true, evicted, true
}

// pick chooses a slot for a new source, -1 when there is none.
func (t *Table) pick() int {
	free, lru := -1, -1
	for i := range t.slots {
		s := &t.slots[i]
		switch {
		case s.source == "":
			if free < 0 || s.used < t.slots[free].used {
				free = i
			}
		case !s.forwarded:
			if lru < 0 || s.used < t.slots[lru].used {
				lru = i
			}
		}
	}
	switch {
	case len(t.slots) < t.max:
	case free >= 0:
		return free
	default:
		return lru
	}
	i := len(t.slots)
	t.slots = append(t.slots, slot{ssrc: t.draw(), rtx: t.draw()})
	return i
}

// draw makes an SSRC that no slot has.
func (t *Table) draw() uint32 {
	for {
		s := t.newSSRC()
		if _, taken := t.ssrc[s]; s != 0 && !taken {
			t.ssrc[s] = struct{}{}
			return s
		}
	}
}

// SetForwarded says whether media of source flows: only then its slot is safe from eviction. Unknown sources are ignored.
func (t *Table) SetForwarded(source string, on bool) {
	if i, ok := t.source[source]; ok {
		t.slots[i].forwarded = on
	}
}

// Forget frees the slot of a source that has ended. The slot keeps its SSRCs for the next source.
func (t *Table) Forget(source string) {
	if i, ok := t.source[source]; ok {
		delete(t.source, source)
		t.slots[i].source, t.slots[i].forwarded = "", false
	}
}
