package visitors

import (
	"encoding/json"
	"slices"

	"konzil/xmpp/jitsi"
	"konzil/xmpp/stanza"
)

// mirrored is an address of the meeting in the audience.
func (a *audience) mirrored(addr stanza.JID) stanza.JID {
	if addr.IsBare() {
		return a.room
	}
	j, err := a.room.WithResource(addr.Resource())
	if err != nil { // it is a resource already
		return a.room
	}
	return j
}

// look takes what the meeting shows. What is said meanwhile comes after it, or is in it.
func (a *audience) look() {
	if a.shown {
		return
	}
	a.shown = true
	a.awaited()
	stage, _ := a.c.rooms.Stage(a.main)
	for _, st := range stage.Presences {
		a.play(st)
	}
}

// play keeps a presence of the meeting, and gives it as visitors see it.
func (a *audience) play(st *stanza.Stanza) *stanza.Stanza {
	nick := st.From.Resource()
	real, err := stanza.ParseJID(st.Child(nsUser, "x").Child(nsUser, "item").Attr("jid"))
	if err != nil {
		real = stanza.JID{}
	}
	out := st.WithFromTo(a.mirrored(st.From), stanza.JID{})
	if st.Type == "unavailable" {
		delete(a.stage, nick)
		a.order = slices.DeleteFunc(a.order, func(n string) bool { return n == nick })
		return out
	}
	if _, known := a.stage[nick]; !known {
		a.order = append(a.order, nick)
	}
	a.stage[nick] = player{out, real}
	return out
}

// Shown implements muc.BroadcastObserver: the audience sees what those in the meeting see.
func (c *Component) Shown(room stanza.JID, presence func() *stanza.Stanza) {
	a := c.audience(room)
	if a == nil {
		return
	}
	a.Lock()
	defer a.Unlock()
	if a.over || !a.shown {
		return
	}
	st := presence()
	if s := a.seats[st.From.Resource()]; s != nil && st.Type == "" {
		a.putOut(s)
	}
	a.PutTo(a.play(st), a.reals)
	if st.Type == "unavailable" && len(c.takingPart(room)) == 0 {
		a.end()
	}
}

// Said implements muc.BroadcastObserver: the audience hears what is said, but for what moderators say about it.
func (c *Component) Said(room stanza.JID, message *stanza.Stanza) {
	if el := message.Child(jitsi.NSJitMeet, "json-message"); el != nil && c.command(room, message.From, el.Text()) {
		return
	}
	if a := c.audience(room); a != nil {
		a.Lock()
		defer a.Unlock()
		if !a.over {
			a.PutTo(message.WithFrom(a.mirrored(message.From)), a.reals)
		}
	}
}

// Joined implements the observer of rooms.
func (c *Component) Joined(room, real stanza.JID, nick string) {
	a := c.audience(room)
	if a == nil {
		return
	}
	c.mu.Lock()
	promised := a.door.promised[real.Local()]
	c.mu.Unlock()
	if promised && c.opt.Promoted != nil {
		c.opt.Promoted(room, nick)
	}
	c.Changed(room, real, nick)
}

// Changed implements muc.PresenceObserver: who has become a moderator is told of raised hands.
func (c *Component) Changed(room, real stanza.JID, _ string) {
	a := c.audience(room)
	if a == nil {
		return
	}
	_, moderator := c.rooms.Standing(room, real)
	a.Lock()
	defer a.Unlock()
	if !moderator || a.told[real] || real == c.opt.Focus {
		return
	}
	a.told[real] = true
	for _, j := range a.reals {
		if s := a.byReal[j]; s.hand {
			a.PutTo(c.Message(a.main, s.request(a.main)), []stanza.JID{real})
		}
	}
}

// Left implements the observer of rooms: who has been inside may come back.
func (c *Component) Left(room, real stanza.JID, _ string) {
	a := c.audience(room)
	if a == nil {
		return
	}
	a.Lock()
	delete(a.told, real)
	a.Unlock()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(a.door.former) < maxFormer {
		a.door.former[real.Bare()] = true
	}
}

// Kicked implements muc.KickObserver: who was put out comes back as others come.
func (c *Component) Kicked(room, real, _ stanza.JID, _, _ string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if a := c.audiences[room]; a != nil {
		delete(a.door.former, real.Bare())
		delete(a.door.promised, real.Local())
	}
}

// Destroyed implements the observer of rooms.
func (c *Component) Destroyed(room stanza.JID) {
	if a := c.audience(room); a != nil {
		a.Lock()
		defer a.Unlock()
		if !a.over {
			a.end()
		}
	}
}

// order is what moderators say about visitors.
type order struct {
	Type     string   `json:"type"`
	Action   string   `json:"action"`
	Approved bool     `json:"approved"`
	ID       string   `json:"id"`
	IDs      []string `json:"ids"`
	Actor    string   `json:"actor,omitempty"`
}

// command obeys a message of the meeting that is about visitors; false: it is not.
func (c *Component) command(room, from stanza.JID, text string) bool {
	var o order
	if json.Unmarshal([]byte(text), &o) != nil || o.Type != "visitors" {
		return false
	}
	if !c.Offers(room) {
		c.count.refused.Add(1)
		return true
	}
	people := c.rooms.People(room)
	i := slices.IndexFunc(people, func(p jitsi.Person) bool { return p.Addr == from })
	if i < 0 || people[i].Role != "moderator" {
		c.count.refused.Add(1)
		return true
	}
	switch o.Action {
	case "demote-request":
		c.demote(room, people, people[i], o)
	case "promotion-response":
		if a := c.audience(room); a != nil {
			if o.ID != "" {
				o.IDs = append(o.IDs, o.ID)
			}
			a.answer(o.IDs, o.Approved)
		}
	}
	return true
}
