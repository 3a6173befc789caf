package meet

import (
	"slices"
	"strings"
)

// Snapshot is what a client knows.
type Snapshot struct {
	ID         string
	Steps      []Step
	Occupants  int // others, without the focus
	Sent       Sent
	Received   []Received
	Forwarded  []string       // as the bridge said last
	Messages   map[string]int // bridge messages by class
	Dominant   string
	Downlink   uint64         // the bridge's estimate, bit/s
	SenderMax  map[string]int // the bridge's constraints on own sources
	Terminated int            // sessions that the focus ended
	Notes      []string       // things that were not as expected
}

// Snapshot returns the counters of this moment.
func (c *Client) Snapshot() Snapshot {
	c.mu.Lock()
	s := Snapshot{ID: c.id, Steps: slices.Clone(c.steps), Occupants: len(c.occupants), Sent: c.sent.snapshot(), Forwarded: slices.Clone(c.forwarded),
		Messages: make(map[string]int), Dominant: c.dominant, Downlink: c.downlink, SenderMax: make(map[string]int), Terminated: c.terminated,
		Notes: slices.Clone(c.notes)}
	for k, v := range c.messages {
		s.Messages[k] = v
	}
	for k, v := range c.senderMax {
		s.SenderMax[k] = v
	}
	streams := make([]*recvStream, 0, len(c.streams))
	for _, st := range c.streams {
		streams = append(streams, st)
	}
	c.mu.Unlock()
	for _, st := range streams {
		r := st.snapshot()
		c.mu.Lock()
		src := c.source[r.SSRC]
		c.mu.Unlock()
		r.Source, r.Owner = src.Name, src.Owner
		s.Received = append(s.Received, r)
	}
	slices.SortFunc(s.Received, func(a, b Received) int { return strings.Compare(a.Kind+a.Source, b.Kind+b.Source) })
	return s
}
