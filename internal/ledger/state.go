package ledger

import (
	"errors"
	"math"
	"slices"

	"konzil/internal/packed"
)

var errDamaged = errors.New("ledger: the log is damaged")

// op is the kind of a record.
type op uint8

const (
	opNew     op = iota + 1 // channel, name
	opSet                   // channel, key, value
	opUnset                 // channel, key
	opPush                  // channel, flags, ref, at, origin, for whom with flagPart or flagFor, body
	opAgain                 // channel, flags, ref, at, origin, for whom likewise: with the body of the push before
	opHollow                // channel, how many
	opAck                   // channel, how many, the peer's count
	opSweep                 // channel, how many
	opHandled               // channel, count
	opDrop                  // channel
	opBegin                 // ref, owner, origin, further recipients
	opDone                  // ref
	opStored                // ref
	opServed                // ref, channel, for whom: only in a compacted log
	opPart                  // channel, number, channel that has got it, for whom: likewise
	opDoubted               // what was written before is not exact
	opTrusted               // and has been set right
	opHad                   // channel, ref: only in a compacted log
)

// flags of an item in a record.
const (
	flagCounted = 1 << iota
	flagKept
	flagArrived
	flagShared
	flagPart
	flagFor // one of an archive, on a channel that leads to several
)

// Origin names a stanza by the channel that it came on and its number there; the zero Origin is none.
type Origin struct {
	Channel, Number uint32
	Part            bool // others get it too, after this one: it is not handled yet
}

// state is what the log says. Positions are in the current region.
type state struct {
	channels map[uint32]*channel
	begun    map[uint64]*begun
	arrived  map[uint64]struct{} // refs of shared messages that one client has acknowledged; since the log began
	last     body                // of the push before
	doubted  bool                // written before a power cut, and not set right since
}

// body is where the bytes of an item are.
type body struct{ at, n int }

// item is one or, when hollow, some entries of a queue.
type item struct {
	hollow int // how many stanzas without bytes this stands for; 0: it has bytes
	flags  byte
	ref    uint64
	at     int64
	origin Origin
	whom   uint32
	body
}

// channel is a queue to one peer and what is known of the peer.
type channel struct {
	name    string
	values  map[string][]byte
	items   []item
	head    int
	count   int // of entries, hollow ones too
	acked   uint32
	handled uint32
	had     uint64 // the greatest ref of what was kept elsewhere and acknowledged
	parts   []part // of what is not handled
}

// part is a stanza of a channel that another channel has got for somebody, while others have not.
type part struct {
	number uint32
	to     recipient
}

// recipient is a channel that has got a message, and for whom where it leads to several.
type recipient struct{ channel, whom uint32 }

// begun is a message that was taken for the archive and not handed on to all.
type begun struct {
	owner  string
	origin Origin
	also   []string    // recipients that the message does not name
	served []recipient // who has got it
}

func newState() *state {
	return &state{channels: map[uint32]*channel{}, begun: map[uint64]*begun{}, arrived: map[uint64]struct{}{}}
}

// apply carries out a record that stands at a position of the log. False: it makes no sense.
func (s *state) apply(at int, rec []byte) bool {
	d := decoder{packed.Reader{Rest: rec[1:]}}
	switch kind := op(rec[0]); kind {
	case opDoubted, opTrusted:
		s.doubted = kind == opDoubted
		return true
	case opBegin, opDone, opStored, opServed:
		return s.applyMessage(kind, &d)
	default:
		return s.applyChannel(kind, at+len(rec), &d)
	}
}

// applyChannel is apply for a record of a channel; end is where the record ends.
func (s *state) applyChannel(kind op, end int, d *decoder) bool {
	id := uint32(d.Number())
	if kind == opNew {
		s.channels[id] = &channel{name: string(d.Bytes()), values: map[string][]byte{}}
		return !d.Bad
	}
	c := s.channels[id]
	if c == nil { // it was dropped; older programs wrote of such
		c = &channel{values: map[string][]byte{}}
	}
	switch kind {
	case opSet:
		key := string(d.Bytes())
		c.values[key] = slices.Clone(d.Bytes())
	case opUnset:
		delete(c.values, string(d.Bytes()))
	case opPush, opAgain:
		it := item{flags: d.Byte(), ref: d.Number(), at: int64(d.Number()), origin: d.origin()}
		it.origin.Part = it.flags&flagPart != 0
		if it.flags&(flagPart|flagFor) != 0 {
			it.whom = uint32(d.Number())
		}
		if kind == opPush {
			n := int(d.Number())
			if d.Bad || n != len(d.Rest) {
				return false
			}
			s.last = body{end - n, n}
		}
		it.body = s.last
		s.push(id, c, it)
	case opHollow:
		c.pushHollow(d.count())
	case opAck:
		n := d.count()
		c.acked = uint32(d.Number())
		s.drop(c, n)
	case opSweep:
		c.sweep(d.count())
	case opHandled:
		c.setHandled(uint32(d.Number()))
	case opPart:
		c.parts = append(c.parts, part{uint32(d.Number()), recipient{uint32(d.Number()), uint32(d.Number())}})
	case opHad:
		c.had = d.Number()
	case opDrop:
		delete(s.channels, id)
	default:
		return false
	}
	return !d.Bad
}

func (s *state) applyMessage(kind op, d *decoder) bool {
	ref := d.Number()
	b := s.begun[ref]
	switch {
	case kind == opBegin:
		b = &begun{owner: string(d.Bytes()), origin: d.origin()}
		for len(d.Rest) > 0 && !d.Bad {
			b.also = append(b.also, string(d.Bytes()))
		}
		s.begun[ref] = b
	case b == nil:
	case kind == opStored:
		s.handled(b.origin)
	case kind == opDone:
		s.handled(b.origin)
		delete(s.begun, ref)
	default:
		by := recipient{channel: uint32(d.Number())}
		if len(d.Rest) > 0 { // logs of older programs do not say for whom
			by.whom = uint32(d.Number())
		}
		b.served = append(b.served, by)
	}
	return !d.Bad
}

// lastID is the greatest number of a channel that anything names: one that is over may still be known to have begun a message, or to have got it, and
// no later one may be taken for it.
func (s *state) lastID() uint32 {
	last := uint32(0)
	for id, c := range s.channels {
		last = max(last, id)
		for _, p := range c.parts {
			last = max(last, p.to.channel)
		}
	}
	for _, b := range s.begun {
		last = max(last, b.origin.Channel)
		for _, by := range b.served {
			last = max(last, by.channel)
		}
	}
	return last
}

// handled notes that the stanza of an origin, and with it all before, was handled.
func (s *state) handled(o Origin) {
	if c := s.channels[o.Channel]; c != nil && int32(o.Number-c.handled) > 0 {
		c.setHandled(o.Number)
	}
}

func (c *channel) setHandled(n uint32) {
	c.handled = n
	if len(c.parts) == 0 {
		return
	}
	if c.parts = slices.DeleteFunc(c.parts, func(p part) bool { return int32(p.number-n) <= 0 }); cap(c.parts) > maxIdle && len(c.parts) == 0 {
		c.parts = nil
	}
}

func (s *state) push(id uint32, c *channel, it item) {
	c.count++
	c.items = append(c.items, it)
	if from := s.channels[it.origin.Channel]; from != nil && it.origin.Part && int32(it.origin.Number-from.handled) > 0 {
		from.parts = append(from.parts, part{it.origin.Number, recipient{id, it.whom}})
	} else if !it.origin.Part {
		s.handled(it.origin)
	}
	if b := s.begun[it.ref]; b != nil && it.ref != 0 {
		b.served = append(b.served, recipient{id, it.whom})
	}
}

func (c *channel) pushHollow(n int) {
	c.count += n
	if k := len(c.items); k > c.head && c.items[k-1].hollow > 0 {
		c.items[k-1].hollow += n
		return
	}
	c.items = append(c.items, item{hollow: n})
}

// drop takes the n oldest entries of c out.
func (s *state) drop(c *channel, n int) {
	c.count -= min(n, c.count)
	for n > 0 && c.head < len(c.items) {
		it := &c.items[c.head]
		if it.hollow > n {
			it.hollow -= n
			return
		}
		n -= max(1, it.hollow)
		if it.flags&flagShared != 0 {
			s.arrived[it.ref] = struct{}{}
		}
		if it.flags&flagKept != 0 {
			c.had = max(c.had, it.ref)
		}
		*it = item{}
		c.head++
	}
	switch {
	case c.head == len(c.items):
		c.items, c.head = c.items[:0], 0
		if cap(c.items) > maxIdle {
			c.items = nil
		}
	case c.head > 2*maxIdle && c.head > len(c.items)/2:
		c.items = slices.Clone(c.items[c.head:])
		c.head = 0
	}
}

// maxIdle is the largest empty queue that is kept.
const maxIdle = 16

// sweep takes the hollow ones out of the n oldest entries.
func (c *channel) sweep(n int) {
	var kept []item
	for i, it := range c.items[c.head:] {
		if n <= 0 {
			kept = append(kept, c.items[c.head+i:]...)
			break
		}
		gone := min(it.hollow, n)
		n -= max(1, it.hollow)
		it.hollow -= gone
		c.count -= gone
		if gone == 0 || it.hollow > 0 {
			kept = append(kept, it)
		}
	}
	c.items, c.head = kept, 0
}

// decoder reads a record.
type decoder struct{ packed.Reader }

// count is a number of entries.
func (d *decoder) count() int {
	n := d.Number()
	if n > math.MaxInt32 {
		d.Bad = true
		return 0
	}
	return int(n)
}

func (d *decoder) origin() Origin {
	c := uint32(d.Number())
	if c == 0 {
		return Origin{}
	}
	return Origin{Channel: c, Number: uint32(d.Number())}
}
