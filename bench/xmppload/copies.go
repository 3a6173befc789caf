package xmppload

import "bytes"

// copiesKept is how many of a room's messages are remembered: more than are under way.
const copiesKept = 64

// copies are a room's latest messages as somebody got them first. What the others get must be the same bytes but for the address, and comparing them costs
// a tenth of taking each apart. The zero value has none.
type copies struct {
	kept [copiesKept]copied
	next uint32 // number of the next one; numbers count the room's messages in the order in which they came
}

// copied is one message, which was taken apart and is right.
type copied struct {
	before, after []byte // what stands before and behind the address that it is to
	speaker       int
	number        uint32 // the speaker's
}

// get gives a message by its place, nil when it is not there any more, or not yet.
func (c *copies) get(place uint32) *copied {
	if back := c.next - place; back == 0 || back > copiesKept {
		return nil
	}
	return &c.kept[place%copiesKept]
}

// keep remembers a message, unless it is there already, and tells the place of the one behind it.
func (c *copies) keep(speaker int, number uint32, el *elem) (next uint32) {
	for back := uint32(1); back <= min(c.next, copiesKept); back++ {
		if m := c.get(c.next - back); m.speaker == speaker && m.number == number {
			return c.next - back + 1
		}
	}
	if el.to == nil {
		return c.next
	}
	m := &c.kept[c.next%copiesKept]
	to := cap(el.raw) - cap(el.to) // a part of raw
	m.before, m.after = append(m.before[:0], el.raw[:to]...), append(m.after[:0], el.raw[to+len(el.to):]...)
	m.speaker, m.number = speaker, number
	c.next++
	return c.next
}

// length is that of the message as it must come to an address if b begins with it, else 0. A nil message has none.
func (m *copied) length(b []byte, to string) int {
	if m == nil {
		return 0
	}
	n := len(m.before) + len(to) + len(m.after)
	if len(b) < n || !bytes.Equal(b[:len(m.before)], m.before) || string(b[len(m.before):n-len(m.after)]) != to || !bytes.Equal(b[n-len(m.after):n], m.after) {
		return 0
	}
	return n
}
