// Package avmoderation is the av_moderation component of Jitsi meetings: moderators decide who may switch on microphone, camera or
// screen (jitsi-meet's mod_av_moderation_component).
//
// The path, in order; all of it runs on the goroutine that brings the event:
//
//  1. The MUC service tells who is in which meeting (Joined, Left, Destroyed): clients do not name the room in what they send.
//  2. A moderator sends <av_moderation/>: HandleStanza checks it and changes the state of that meeting. What must be said is queued, so
//     that all hear it in one order.
//  3. The focus, which sits in every meeting, hears it like everybody else, mutes whom it must and refuses to let them unmute.
package avmoderation

import (
	"slices"

	"konzil/xmpp"
	"konzil/xmpp/jitsi"
	"konzil/xmpp/stanza"
)

// Component is the handler of its domain and an observer of rooms.
type Component struct {
	jitsi.Meetings[map[string]*state] // by kind of media
}

// state of one kind of media that is moderated.
type state struct {
	actor   stanza.JID
	allowed []string // occupant addresses
}

// New makes the component for domain. Mount it, and let the MUC service have it as observer.
func New(domain string, router xmpp.Router, rooms jitsi.Rooms) (*Component, error) {
	base, err := jitsi.New("av_moderation", domain, router, rooms)
	if err != nil {
		return nil, err
	}
	return &Component{Meetings: jitsi.Keep[map[string]*state](base)}, nil
}

// event is what clients and the focus are told.
type event struct {
	Type       string              `json:"type"`
	Room       string              `json:"room"`
	Enabled    *bool               `json:"enabled,omitempty"`
	Actor      string              `json:"actor,omitempty"`
	MediaType  string              `json:"mediaType"`
	Whitelists map[string][]string `json:"whitelists,omitempty"`
	Approved   bool                `json:"approved,omitempty"`
	Removed    bool                `json:"removed,omitempty"`
}

// tell queues e for each of to. The lock is held.
func (c *Component) tell(room stanza.JID, e event, to ...stanza.JID) {
	e.Type, e.Room = "av_moderation", room.String()
	c.Tell(room, e, to...)
}

// Joined tells a newcomer what is moderated.
func (c *Component) Joined(room, real stanza.JID, nick string) {
	_, moderator := c.Rooms.Standing(room, real)
	c.Lock()
	defer c.Unlock()
	if _, ok := c.Enter(room, real, nick); !ok {
		return
	}
	on := true
	for _, media := range mediaTypes {
		s := c.Of[room][media]
		if s == nil {
			continue
		}
		c.tell(room, event{Enabled: &on, Actor: s.actor.String(), MediaType: media}, real)
		if moderator {
			c.tell(room, event{Whitelists: map[string][]string{media: s.allowed}, MediaType: media}, real)
		}
	}
}

// Left implements the observer of rooms: permissions end with the visit.
func (c *Component) Left(room, real stanza.JID, _ string) {
	c.Lock()
	defer c.Unlock()
	p, ok := c.Leave(room, real)
	if !ok {
		return
	}
	for _, s := range c.Of[room] {
		s.allowed = slices.DeleteFunc(slices.Clone(s.allowed), func(a string) bool { return a == p.Addr.String() })
	}
}

var mediaTypes = [...]string{"audio", "video", "desktop"}

// HandleStanza implements xmpp.Handler for the component's domain.
func (c *Component) HandleStanza(st *stanza.Stanza) { c.Serve(st, c.change) }

// change is a moderator's wish.
func (c *Component) change(st *stanza.Stanza) *stanza.Error {
	el := jitsi.Child(st, "av_moderation")
	if el == nil {
		return stanza.ErrServiceUnavailable
	}
	p, err := c.Moderator(st.From)
	if err != nil {
		return err
	}
	media := el.Attr("mediaType")
	if !slices.Contains(mediaTypes[:], media) {
		return stanza.ErrBadRequest.With("mediaType is audio, video or desktop")
	}
	recipients := c.Rooms.Recipients(p.Room)
	var moderators []stanza.JID
	for _, j := range recipients {
		if _, m := c.Rooms.Standing(p.Room, j); m {
			moderators = append(moderators, j)
		}
	}
	c.Lock()
	defer c.Unlock()
	switch enable := el.Attr("enable"); {
	case enable == "true" || enable == "false":
		c.enable(p, media, enable == "true", recipients)
		return nil
	case el.Attr("jidToWhitelist") != "":
		return c.permit(p.Room, media, el.Attr("jidToWhitelist"), true, moderators)
	case el.Attr("jidToBlacklist") != "":
		return c.permit(p.Room, media, el.Attr("jidToBlacklist"), false, moderators)
	}
	return stanza.ErrBadRequest
}

// enable switches moderation of media; a second time changes nothing. The lock is held, as for the next.
func (c *Component) enable(p jitsi.Place, media string, on bool, recipients []stanza.JID) {
	m := c.Of[p.Room]
	if (m[media] != nil) == on {
		return
	}
	if on {
		if m == nil {
			m = map[string]*state{}
			c.Of[p.Room] = m
		}
		m[media] = &state{actor: p.Addr, allowed: []string{}} // never null in JSON
	} else if delete(m, media); len(m) == 0 {
		delete(c.Of, p.Room)
	}
	c.tell(p.Room, event{Enabled: &on, Actor: p.Addr.String(), MediaType: media}, recipients...)
}

// permit lets an occupant unmute, or takes that back; moderators learn the list, the occupant what concerns it.
func (c *Component) permit(room stanza.JID, media, who string, allow bool, moderators []stanza.JID) *stanza.Error {
	s := c.Of[room][media]
	if s == nil {
		return stanza.ErrUnexpectedRequest.With("That is not moderated")
	}
	addr, err := stanza.ParseJID(who)
	real, ok := c.Who(addr)
	if err != nil || addr.Bare() != room || !ok {
		return stanza.ErrItemNotFound.With("There is nobody of that name in the meeting")
	}
	s.allowed = slices.DeleteFunc(slices.Clone(s.allowed), func(a string) bool { return a == who })
	if allow {
		s.allowed = append(s.allowed, who)
	}
	c.tell(room, event{Whitelists: map[string][]string{media: s.allowed}, MediaType: media, Removed: !allow}, moderators...)
	c.tell(room, event{MediaType: media, Approved: allow, Removed: !allow}, real)
	return nil
}
