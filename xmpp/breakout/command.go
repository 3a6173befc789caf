package breakout

import (
	"slices"

	"konzil/xmpp/jitsi"
	"konzil/xmpp/stanza"
)

// move asks a client to go to another room.
type move struct {
	Type  string `json:"type"`
	Event string `json:"event"`
	Room  string `json:"roomJid"`
}

// command is a moderator's wish.
func (c *Component) command(st *stanza.Stanza) *stanza.Error {
	el := jitsi.Child(st, "breakout_rooms")
	if el == nil {
		return stanza.ErrServiceUnavailable
	}
	p, err := c.Moderator(st.From)
	if err != nil {
		return err
	}
	c.Lock()
	main := c.main(p.Room)
	c.Unlock()
	if main != p.Room && c.rooms.Affiliation(main, st.From.Bare()) != "owner" { // being moderator of a breakout room is not enough
		return stanza.ErrForbidden.With("Only moderators of the meeting may do that")
	}
	room, _ := stanza.ParseJID(el.Attr("breakoutRoomJid"))
	switch el.Attr("type") {
	case "features/breakout-rooms/add":
		return c.add(main, el.Attr("subject"))
	case "features/breakout-rooms/remove":
		return c.remove(main, room)
	case "features/breakout-rooms/rename":
		return c.rename(main, room, el.Attr("subject"))
	case "features/breakout-rooms/move-to-room":
		return c.move(main, el.Attr("participantJid"), el.Attr("roomJid"))
	}
	return stanza.ErrBadRequest.With("type is that of no command")
}

func (c *Component) add(main stanza.JID, name string) *stanza.Error {
	room, err := stanza.NewJID(c.newID(), c.Domain.String(), "")
	if err != nil || len(name) > maxName {
		return stanza.ErrBadRequest.With("The name is too long")
	}
	c.rooms.Hold(main, true)
	people := c.rooms.People(main)
	c.Lock()
	defer c.Unlock()
	m := c.meetings[main]
	if m == nil {
		m = &meeting{main: main, names: map[stanza.JID]string{}, ids: map[string]holder{}}
		for _, p := range people {
			m.ids[p.ID()] = holder{bare: p.Real.Bare()}
		}
		c.meetings[main] = m
	}
	if len(m.names) >= maxRooms {
		return stanza.ErrResourceConstraint.With("There are too many breakout rooms")
	}
	m.counter++
	m.names[room], c.mainOf[room] = name, main
	m.order = append(m.order, room)
	c.updateSoon(m)
	return nil
}

// known tells whether room is a breakout room of main; the error is for who asked. The lock is held.
func (c *Component) known(main, room stanza.JID) (*meeting, *stanza.Error) {
	m := c.meetings[main]
	if m == nil {
		return nil, stanza.ErrItemNotFound.With("The meeting has no breakout rooms")
	}
	if _, ok := m.names[room]; !ok {
		return nil, stanza.ErrItemNotFound.With("That is no breakout room of this meeting")
	}
	return m, nil
}

func (c *Component) remove(main, room stanza.JID) *stanza.Error {
	c.Lock()
	m, err := c.known(main, room)
	if err == nil {
		c.drop(m, room)
		c.updateSoon(m)
	}
	c.Unlock()
	if err == nil {
		c.rooms.Close(room, main, "Breakout room removed.")
	}
	return err
}

// drop forgets a breakout room. The lock is held.
func (c *Component) drop(m *meeting, room stanza.JID) {
	delete(m.names, room)
	delete(c.mainOf, room)
	m.order = slices.DeleteFunc(m.order, func(r stanza.JID) bool { return r == room })
}

func (c *Component) rename(main, room stanza.JID, name string) *stanza.Error {
	if len(name) > maxName {
		return stanza.ErrBadRequest.With("The name is too long")
	}
	c.Lock()
	m, err := c.known(main, room)
	if err == nil {
		m.names[room] = name
		c.updateSoon(m)
	}
	c.Unlock()
	if err == nil {
		c.rooms.SetSubject(room, name)
	}
	return err
}

// move asks the client of a participant, named by its address in a room or its own, to go to another room of the meeting.
func (c *Component) move(main stanza.JID, participant, target string) *stanza.Error {
	who, err := stanza.ParseJID(participant)
	to, terr := stanza.ParseJID(target)
	if err != nil || terr != nil || who.IsZero() {
		return stanza.ErrBadRequest.With("participantJid and roomJid are addresses")
	}
	c.Lock()
	rooms := c.allRooms(main)
	c.Unlock()
	if !slices.Contains(rooms, to) {
		return stanza.ErrItemNotFound.With("That is no room of this meeting")
	}
	for _, room := range rooms {
		for _, p := range c.rooms.People(room) {
			if p.Addr == who || p.Real == who {
				c.Lock()
				c.Tell(stanza.JID{}, move{"breakout_rooms", "features/breakout-rooms/move-to-room", to.String()}, p.Real)
				c.Unlock()
				return nil
			}
		}
	}
	return stanza.ErrItemNotFound.With("There is nobody of that address in the meeting")
}

// allRooms are the main room and its breakout rooms. The lock is held.
func (c *Component) allRooms(main stanza.JID) []stanza.JID {
	rooms := []stanza.JID{main}
	if m := c.meetings[main]; m != nil {
		rooms = append(rooms, m.order...)
	}
	return rooms
}
