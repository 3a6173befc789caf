package ledger

import (
	"hash/crc32"
	"maps"
	"slices"
	"time"

	"konzil/internal/packed"
)

// Channel is what is remembered of one peer: a session, a link to another server, a room. The zero value and nil remember nothing, nor does one that was
// dropped: whoever served the peer may still be about to note something.
type Channel struct {
	l  *Ledger
	id uint32
}

// Item is an entry of a channel's queue: a stanza for the peer.
type Item struct {
	Hollow  bool // it is there for the count alone; what it said is forgotten
	Counted bool // the peer counts it (XEP-0198 §4)
	Kept    bool // Ref says where else it is on disk
	Shared  bool // several clients get the message of Ref
	Arrived bool // and one of them has it; as the log knows
	Ref     uint64
	At      time.Time // to the millisecond
	Origin  Origin    // counts as handled by the push, but a Part, with all that came before it there: that must be on disk; Kept does not tell it
	Body    []byte
	For     string // whom it is for, where the channel leads to several, or ForCopy
}

// ForCopy is the Item.For of what tells somebody of a message without being it.
const ForCopy = "copy"

// Key tells that two pushes in a row are of the same bytes, which are then written once: a message to many. The zero Key is like no other.
type Key struct {
	First    *byte // of what they share
	From, ID string
}

// New makes a channel.
func (l *Ledger) New(name string) *Channel {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.nextID++
	l.rec = packed.String(packed.Numbers(l.start(opNew), uint64(l.nextID)), name)
	l.add()
	return &Channel{l, l.nextID}
}

// ID names the channel in an Origin; 0 for nil.
func (c *Channel) ID() uint32 {
	if c == nil {
		return 0
	}
	return c.id
}

// write makes a record of numbers after the channel's id.
func (c *Channel) write(o op, ns ...uint64) {
	if c == nil {
		return
	}
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	if c.dropped() {
		return
	}
	c.l.rec = packed.Numbers(packed.Numbers(c.l.start(o), uint64(c.id)), ns...)
	c.l.add()
}

// dropped tells that the ledger does not know the channel any more; l.mu is held.
func (c *Channel) dropped() bool { return c.l.state.channels[c.id] == nil }

// Set remembers a value; nil forgets it.
func (c *Channel) Set(key string, value []byte) {
	if c == nil {
		return
	}
	c.l.mu.Lock()
	defer c.l.mu.Unlock()
	switch {
	case c.dropped():
		return
	case value == nil:
		c.l.rec = packed.String(packed.Numbers(c.l.start(opUnset), uint64(c.id)), key)
	default:
		b := packed.String(packed.Numbers(c.l.start(opSet), uint64(c.id)), key)
		c.l.rec = packed.String(b, value)
	}
	c.l.add()
}

// Push puts an entry at the end of the queue. body appends its bytes; it is not called when key is that of the push before, and must not call the ledger.
// False: the channel has got it, before a kill in which others did not, and it is handed on again.
func (c *Channel) Push(it Item, key Key, body func([]byte) []byte) bool {
	if c == nil {
		return true
	}
	l := c.l
	l.mu.Lock()
	defer l.mu.Unlock()
	if c.dropped() {
		return true
	}
	if (l.parts != nil || l.served != nil) && l.hadBefore(&it, recipient{c.id, whom(it.For)}) {
		return false
	}
	i := item{ref: it.Ref, at: it.At.UnixMilli(), origin: it.Origin, whom: whom(it.For)}
	for _, f := range [...]struct {
		on   bool
		flag byte
	}{{it.Counted, flagCounted}, {it.Kept, flagKept}, {it.Shared, flagShared}, {it.Arrived, flagArrived}, {it.Origin.Part, flagPart},
		{it.Ref != 0 && it.For != "" && !it.Origin.Part, flagFor}} {
		if f.on {
			i.flags |= f.flag
		}
	}
	if key.First != nil && key == l.last && l.region != nil && l.region.fits(maxAgain) {
		l.rec = appendItem(l.start(opAgain), c.id, i)
		l.add()
		return true
	}
	l.body = body(l.body[:0])
	b := appendItem(l.start(opPush), c.id, i)
	l.rec = packed.String(b, l.body)
	l.add()
	l.last = key
	if cap(l.body) > maxSpare {
		l.body, l.rec = nil, nil
	}
	return true
}

// whom is Item.For as a number; 0 for nobody in particular.
func whom(name string) uint32 {
	if name == "" {
		return 0
	}
	return crc32.Checksum([]byte(name), castagnoli)
}

// hadBefore tells whether a message had got to somebody when the program was killed: of one that its sender sends again (parts) once, of one that the start hands
// on (served) until that is over. l.mu is held.
func (l *Ledger) hadBefore(it *Item, to recipient) bool {
	if !it.Kept && l.served[it.Ref][to] {
		return true
	}
	p, channel := part{it.Origin.Number, to}, it.Origin.Channel
	i := slices.Index(l.parts[channel], p)
	if i < 0 {
		return false
	}
	if l.parts[channel] = slices.Delete(l.parts[channel], i, i+1); len(l.parts[channel]) == 0 {
		delete(l.parts, channel)
	}
	return true
}

const (
	maxAgain = 64       // a record without body is shorter
	maxSpare = 64 << 10 // larger buffers are not kept
)

// PushHollow puts an entry at the end of which only the number matters.
func (c *Channel) PushHollow() { c.write(opHollow, 1) }

// Ack takes the n oldest entries out; count is what the peer has counted.
func (c *Channel) Ack(n int, count uint32) { c.write(opAck, uint64(n), uint64(count)) }

// Sweep takes the hollow ones out of the n oldest entries.
func (c *Channel) Sweep(n int) { c.write(opSweep, uint64(n)) }

// SetHandled remembers how many stanzas of the peer were handled.
func (c *Channel) SetHandled(n uint32) { c.write(opHandled, uint64(n)) }

// Drop forgets the channel.
func (c *Channel) Drop() { c.write(opDrop) }

// Begin remembers that a message is on its way into the archive of owner under ref, and came from origin; that of a Part is not handled by it. also are
// recipients that the archived message does not name.
func (l *Ledger) Begin(ref uint64, owner string, o Origin, also ...string) {
	if l == nil {
		return
	}
	if o.Part {
		o = Origin{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rec = appendBegun(l.start(opBegin), ref, &begun{owner: owner, origin: o, also: also})
	l.add()
}

// Done remembers that the message of ref was handed on to all who get it, or refused: it is handled.
func (l *Ledger) Done(ref uint64) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rec = packed.Numbers(l.start(opDone), ref)
	l.add()
}

// Kept is a channel as the log had it.
type Kept struct {
	*Channel
	Name    string
	Values  map[string][]byte
	Items   []Item
	Acked   uint32 // what the peer has counted, as far as it said
	Handled uint32
	Had     uint64 // the greatest Ref of a Kept item that the peer has acknowledged
}

// Kept gives all channels in the order they were made. It is for the start, before anything is written.
func (l *Ledger) Kept() []Kept {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Kept
	for _, id := range slices.Sorted(maps.Keys(l.state.channels)) {
		c := l.state.channels[id]
		k := Kept{Channel: &Channel{l, id}, Name: c.name, Values: maps.Clone(c.values), Acked: c.acked, Handled: c.handled, Had: c.had}
		for _, it := range c.items[c.head:] {
			for range it.hollow {
				k.Items = append(k.Items, Item{Hollow: true, Counted: true})
			}
			if it.hollow == 0 {
				_, arrived := l.state.arrived[it.ref]
				shared := it.flags&flagShared != 0
				k.Items = append(k.Items, Item{
					Counted: it.flags&flagCounted != 0, Kept: it.flags&flagKept != 0, Shared: shared, Arrived: it.flags&flagArrived != 0 || shared && arrived, Ref: it.ref,
					At: time.UnixMilli(it.at), Body: slices.Clone(l.region.mem[it.body.at : it.body.at+it.n]),
				})
			}
		}
		out = append(out, k)
	}
	return out
}

// Undone is a message that was taken for the archive, and of which it is not known that all have got it.
type Undone struct {
	Ref    uint64
	Owner  string
	Origin Origin
	Also   []string // of Begin
	Passed bool     // some channel has got it, and not only a copy
	served []string // the names of those that have got it for themselves
}

// Served tells whether a channel of that name has got it.
func (u *Undone) Served(channel string) bool { return slices.Contains(u.served, channel) }

// Undone gives them in the order of their refs, at the start. The message may or may not be in the archive: say Stored or Forget when that is known, and
// Done when the message is handed on.
func (l *Ledger) Undone() []Undone {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []Undone
	for _, ref := range slices.Sorted(maps.Keys(l.state.begun)) {
		b := l.state.begun[ref]
		u := Undone{Ref: ref, Owner: b.owner, Origin: b.origin, Also: b.also}
		for _, by := range b.served {
			u.Passed = u.Passed || by.whom != whom(ForCopy)
			if c := l.state.channels[by.channel]; c != nil && by.whom == 0 {
				u.served = append(u.served, c.name)
			}
		}
		out = append(out, u)
	}
	return out
}

// Stored says of an undone message, at the start, that the archive has it: it counts as handled.
func (l *Ledger) Stored(ref uint64) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rec = packed.Numbers(l.start(opStored), ref)
	l.add()
}

// Forget says of an undone message that the archive does not have it: it never came.
func (l *Ledger) Forget(ref uint64) {
	if l == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.state.begun[ref]
	if b == nil {
		return
	}
	l.rec = appendBegun(l.start(opBegin), ref, &begun{owner: b.owner})
	l.add()
	l.rec = packed.Numbers(l.start(opDone), ref)
	l.add()
}
