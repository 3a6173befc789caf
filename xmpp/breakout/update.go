package breakout

import (
	"time"

	"konzil/xmpp/jitsi"
	"konzil/xmpp/stanza"
)

// update is what everybody in the rooms of a meeting is told.
type update struct {
	Type    string          `json:"type"`
	Event   string          `json:"event"`
	Counter int             `json:"roomCounter"`
	Rooms   map[string]room `json:"rooms"` // by id
}

type room struct {
	Main         bool                   `json:"isMainRoom,omitempty"`
	ID           string                 `json:"id"`
	JID          string                 `json:"jid"`
	Name         string                 `json:"name,omitempty"`
	Participants map[string]participant `json:"participants"` // by occupant address
}

type participant struct {
	JID  string `json:"jid"`
	Role string `json:"role"`
	Name string `json:"displayName,omitempty"`
}

// updateSoon has everybody told a little later: many changes are one update. The lock is held.
func (c *Component) updateSoon(m *meeting) {
	if m.update == nil && !c.closed {
		m.update = c.after(updateGap, func() { c.tellAll(m) })
	}
}

// tellAll tells all rooms of a meeting who is where.
func (c *Component) tellAll(m *meeting) {
	c.Lock()
	m.update = nil
	u := update{Type: "breakout_rooms", Event: "features/breakout-rooms/update", Counter: m.counter, Rooms: map[string]room{}}
	rooms := c.allRooms(m.main)
	names := make([]string, len(rooms))
	for i, r := range rooms {
		names[i] = m.names[r]
	}
	c.Unlock()
	var all []stanza.JID
	for i, r := range rooms {
		v := room{Main: i == 0, ID: r.Local(), JID: r.String(), Name: names[i], Participants: map[string]participant{}}
		for _, p := range c.rooms.People(r) {
			if !p.Hidden {
				v.Participants[p.Addr.String()] = participant{p.Real.String(), p.Role, p.Name}
				all = append(all, p.Real)
			}
		}
		u.Rooms[v.ID] = v
	}
	c.Lock()
	defer c.Unlock()
	if !c.closed {
		c.Tell(stanza.JID{}, u, all...)
	}
}

// Joined implements the observer of rooms.
func (c *Component) Joined(room, real stanza.JID, nick string) {
	p, ok := c.rooms.Person(room, real)
	c.Lock()
	defer c.Unlock()
	if _, entered := c.Enter(room, real, nick); !entered || !ok || p.Hidden {
		return
	}
	m := c.meetings[c.main(room)]
	if m == nil {
		return
	}
	m.ids[nick] = holder{bare: real.Bare()}
	if m.end != nil {
		m.end.Stop()
		m.end = nil
	}
	c.updateSoon(m)
}

// Changed keeps names up to date.
func (c *Component) Changed(room, _ stanza.JID, _ string) {
	c.Lock()
	defer c.Unlock()
	if m := c.meetings[c.main(room)]; m != nil {
		c.updateSoon(m)
	}
}

// Left implements the observer of rooms.
func (c *Component) Left(room, real stanza.JID, nick string) {
	c.Lock()
	rooms := c.allRooms(c.main(room))
	c.Unlock()
	var there []jitsi.Person
	for _, r := range rooms {
		there = append(there, c.rooms.People(r)...)
	}
	c.Lock()
	defer c.Unlock()
	c.Leave(room, real)
	m := c.meetings[c.main(room)]
	if m == nil {
		return
	}
	inside, somebody := false, false
	for _, p := range there {
		inside = inside || p.Real == real
		somebody = somebody || !p.Hidden
	}
	if h, ok := m.ids[nick]; ok && h.bare == real.Bare() && !inside {
		m.ids[nick] = holder{h.bare, time.Now().Add(keepNick)}
	}
	c.updateSoon(m)
	if !somebody && m.end == nil && !c.closed {
		m.end = c.after(closeDelay, func() { c.endIfEmpty(m) })
	}
}

// endIfEmpty ends a meeting that everybody left for good.
func (c *Component) endIfEmpty(m *meeting) {
	c.Lock()
	m.end = nil
	rooms := c.allRooms(m.main)
	c.Unlock()
	for _, r := range rooms {
		for _, p := range c.rooms.People(r) {
			if !p.Hidden {
				return
			}
		}
	}
	c.rooms.Close(m.main, stanza.JID{}, "All occupants left.")
}

// Destroyed ends the breakout rooms with their main room. A breakout room that ends because it is empty can be entered again.
func (c *Component) Destroyed(room stanza.JID) {
	c.Lock()
	m := c.meetings[room]
	if m == nil {
		if main, ok := c.mainOf[room]; ok && c.meetings[main] != nil {
			c.updateSoon(c.meetings[main])
		}
		c.Unlock()
		return
	}
	m.stop()
	rooms := m.order
	for _, r := range rooms {
		delete(c.mainOf, r)
	}
	delete(c.meetings, room)
	c.Unlock()
	for _, r := range rooms {
		c.rooms.Close(r, stanza.JID{}, "The meeting has ended.")
	}
}

// End closes the meeting that room is a part of.
func (c *Component) End(room stanza.JID, reason string) {
	c.Lock()
	main := c.main(room)
	rooms := c.allRooms(main)
	c.Unlock()
	for _, r := range rooms {
		c.rooms.Close(r, stanza.JID{}, reason)
	}
}
