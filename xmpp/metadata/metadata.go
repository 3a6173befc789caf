// Package metadata is the room_metadata component of Jitsi meetings: facts about a meeting that moderators set and everybody sees
// (jitsi-meet's mod_room_metadata_component).
//
// The path, in order; all of it runs on the goroutine that brings the event:
//
//  1. Somebody enters a meeting: the MUC service calls Joining before any presence is sent (metadata.go); the newcomer is sent the
//     whole object, with the TURN services for this client, which it learns by no other way.
//  2. A moderator sends <room_metadata/> to the component's domain: HandleStanza finds out whether the sender is a moderator of
//     that room, parseUpdate (update.go) checks key and data, and all occupants are sent the whole object again.
//  3. The meeting ends: Destroyed forgets it.
package metadata

import (
	"encoding/json"
	"sync"
	"sync/atomic"

	"konzil/xmpp"
	"konzil/xmpp/jitsi"
	"konzil/xmpp/stanza"
)

// Limits of one meeting.
const (
	maxKeys = 64
	maxSize = 64 << 10 // bytes of all data together; it is sent to everybody at each change
)

// Service is one STUN or TURN server with credentials, as clients read it: all values are strings.
type Service struct {
	Type       string `json:"type"` // stun, turn, turns
	Host       string `json:"host"`
	Port       string `json:"port"`
	Transport  string `json:"transport,omitempty"` // udp, tcp
	Username   string `json:"username,omitempty"`
	Password   string `json:"password,omitempty"`
	Expires    string `json:"expires,omitempty"` // RFC 3339
	Restricted string `json:"restricted,omitempty"`
}

// Component is the handler of the metadata domain and an observer of rooms.
type Component struct {
	jitsi.Meetings[*meeting]
	services func(real stanza.JID) []Service
	pushes   atomic.Uint64
}

// meeting is what is known of one. Its changes are sent by one goroutine at a time, so that nobody is left with an old one.
type meeting struct {
	mu      sync.Mutex // guards what follows; not held while something is routed
	data    map[string]json.RawMessage
	size    int
	version int
	sending bool
}

// New makes the component for domain. services gives the STUN and TURN servers for a client, it may be nil. Mount it, and let the MUC
// service have it as observer.
func New(domain string, router xmpp.Router, rooms jitsi.Rooms, services func(real stanza.JID) []Service) (*Component, error) {
	base, err := jitsi.New("room_metadata", domain, router, rooms)
	if err != nil {
		return nil, err
	}
	return &Component{Meetings: jitsi.Keep[*meeting](base), services: services}, nil
}

// Counters are numbers for metrics.
func (c *Component) Counters() map[string]uint64 {
	m := c.Meetings.Counters()
	return map[string]uint64{"meetings": m["meetings"], "updates_total": m["changes_total"], "refused_total": m["refused_total"], "pushes_total": c.pushes.Load()}
}

// Joining implements the observer of rooms: it sends the first object, with services, before the newcomer sees any presence.
func (c *Component) Joining(room, real stanza.JID, _ string, send func(*stanza.Stanza)) {
	if !c.Rooms.Meeting(room) {
		return
	}
	data := c.Get(room)
	if c.services != nil {
		if b, err := json.Marshal(c.services(real)); err == nil && string(b) != "null" {
			data["services"] = b
		}
	}
	send(c.message(room, data))
	c.pushes.Add(1)
}

// Get gives a copy of what is known of a room, without services.
func (c *Component) Get(room stanza.JID) map[string]json.RawMessage {
	c.Lock()
	m := c.Of[room]
	c.Unlock()
	out := map[string]json.RawMessage{}
	if m == nil {
		return out
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for k, v := range m.data {
		out[k] = v
	}
	return out
}

// Set changes a key for the server itself, also one that clients may not set; nil removes it. Everybody inside is told. The error says
// that the limits are reached.
func (c *Component) Set(room stanza.JID, key string, data json.RawMessage) *stanza.Error {
	c.Lock()
	m := c.Of[room]
	if m == nil {
		m = &meeting{data: map[string]json.RawMessage{}}
		c.Of[room] = m
	}
	c.Unlock()

	m.mu.Lock()
	defer m.mu.Unlock()
	old, had := m.data[key]
	size := m.size - len(old)
	if had {
		size -= len(key)
	}
	if data == nil {
		delete(m.data, key)
	} else {
		size += len(key) + len(data)
		if size > maxSize || !had && len(m.data) >= maxKeys {
			return stanza.ErrResourceConstraint.With("There is too much metadata")
		}
		m.data[key] = data
	}
	m.size = size
	m.version++
	c.tellLocked(room, m)
	return nil
}

// tellLocked sends the object to all until nobody has changed it meanwhile. It is called with m.mu, and gives it up while it sends.
func (c *Component) tellLocked(room stanza.JID, m *meeting) {
	if m.sending {
		return // who is at it will send the change too
	}
	m.sending = true
	for sent := -1; sent != m.version; {
		sent = m.version
		data := make(map[string]json.RawMessage, len(m.data))
		for k, v := range m.data {
			data[k] = v
		}
		m.mu.Unlock()
		st := c.message(room, data)
		for _, to := range c.Rooms.Recipients(room) {
			c.Router.Route(st.WithTo(to))
			c.pushes.Add(1)
		}
		m.mu.Lock()
	}
	m.sending = false
}

// message carries the whole object.
func (c *Component) message(room stanza.JID, data map[string]json.RawMessage) *stanza.Stanza {
	return c.Message(room, struct {
		Type     string                     `json:"type"`
		Metadata map[string]json.RawMessage `json:"metadata"`
	}{"room_metadata", data})
}

// HandleStanza implements xmpp.Handler for the component's domain.
func (c *Component) HandleStanza(st *stanza.Stanza) { c.Serve(st, c.update) }

// update is a moderator's change.
func (c *Component) update(st *stanza.Stanza) *stanza.Error {
	el := jitsi.Child(st, "room_metadata")
	if el == nil {
		return stanza.ErrServiceUnavailable
	}
	room, err := jitsi.NamedRoom(el)
	if err != nil {
		return err
	}
	inside, moderator := c.Rooms.Standing(room, st.From)
	switch {
	case !inside:
		return stanza.ErrForbidden.With("You are not in that meeting")
	case !moderator:
		return stanza.ErrForbidden.With("Only moderators may do that")
	case !c.Rooms.Meeting(room):
		return stanza.ErrNotAllowed.With("That is no meeting")
	}
	key, data, err := parseUpdate(el.Text())
	if err != nil {
		return err
	}
	return c.Set(room, key, data)
}
