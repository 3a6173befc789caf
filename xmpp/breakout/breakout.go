// Package breakout is the breakout rooms of Jitsi meetings (jitsi-meet's mod_muc_breakout_rooms): rooms of a MUC service of their own, among which
// moderators of a meeting send people.
//
// The path, in order; all of it runs on the goroutine that brings the event:
//
//  1. A moderator says <breakout_rooms/> to the domain: HandleStanza finds the meeting of the sender, and command (command.go) adds,
//     removes or renames a room, or asks somebody's client to move.
//  2. The client moves by itself: it asks the focus for a meeting in the breakout room. The focus enters; Opening tells that room what it
//     belongs to. Guard makes people there what they are in the main room, and keeps the ids of those who are between two rooms.
//  3. Whatever changes, update (update.go) tells all rooms of the meeting who is where, at most every updateGap.
//  4. While there are breakout rooms the main room is held; when all have left everything ends after closeDelay.
//
// What is not for the domain itself goes to the MUC service.
package breakout

import (
	"time"

	"github.com/google/uuid"

	"konzil/xmpp"
	"konzil/xmpp/jitsi"
	"konzil/xmpp/stanza"
)

const (
	featRename = "http://jitsi.org/protocol/breakout_rooms#rename"

	maxRooms  = 100                    // breakout rooms of one meeting
	maxName   = 1024                   // bytes of a room's name
	updateGap = 300 * time.Millisecond // between two updates
	// closeDelay is from the last one's leaving to the end of a meeting with breakout rooms: who moves is nowhere for a moment.
	closeDelay = 5 * time.Second
	// keepNick is how long the id of somebody who left a room of the meeting is kept: who moves must find it free.
	keepNick = 30 * time.Second
)

// Rooms is the MUC services of meetings and breakout rooms together.
type Rooms interface {
	jitsi.People
	Affiliation(room, bare stanza.JID) string
	Info(room stanza.JID, name string) string
	Hold(room stanza.JID, hold bool) bool
	Close(room, instead stanza.JID, reason string) bool
	SetSubject(room stanza.JID, text string) bool
}

// Component is the handler of the breakout rooms' domain and an observer of both services.
type Component struct {
	*jitsi.Base
	rooms   Rooms
	service xmpp.Handler
	newID   func() string // makes localparts of rooms; who does not know one cannot guess it
	after   func(time.Duration, func()) timer

	// guarded by Base's lock
	meetings map[stanza.JID]*meeting   // by main room; those that have, or had, breakout rooms
	mainOf   map[stanza.JID]stanza.JID // main room by breakout room
	closed   bool
}

// meeting is a main room and its breakout rooms.
type meeting struct {
	main    stanza.JID
	names   map[stanza.JID]string // of the breakout rooms
	order   []stanza.JID
	counter int
	ids     map[string]holder // by nick
	update  timer             // nil: none is due
	end     timer
}

// timer is a *time.Timer.
type timer interface{ Stop() bool }

func afterFunc(d time.Duration, f func()) timer { return time.AfterFunc(d, f) }

// holder is whose a nick is in all rooms of the meeting.
type holder struct {
	bare  stanza.JID
	until time.Time // zero while it is inside
}

// New makes the component for domain. service is the MUC service of that domain. Mount the component there, and let both services have it as
// observer and Guard as guard.
func New(domain string, router xmpp.Router, rooms Rooms, service xmpp.Handler) (*Component, error) {
	base, err := jitsi.New("breakout_rooms", domain, router, rooms, featRename)
	if err != nil {
		return nil, err
	}
	return &Component{Base: base, rooms: rooms, service: service, newID: uuid.NewString, after: afterFunc, meetings: map[stanza.JID]*meeting{}, mainOf: map[stanza.JID]stanza.JID{}}, nil
}

// Features are what clients read of the server's disco#info when they do not ask the component itself.
func (c *Component) Features() []string { return []string{featRename} }

// Counters are numbers for metrics.
func (c *Component) Counters() map[string]uint64 {
	c.Lock()
	meetings, rooms := len(c.meetings), len(c.mainOf)
	c.Unlock()
	m := c.Base.Counters(meetings)
	m["rooms"] = uint64(rooms)
	return m
}

// Close stops the timers.
func (c *Component) Close() {
	c.Lock()
	defer c.Unlock()
	c.closed = true
	for _, m := range c.meetings {
		m.stop()
	}
}

func (m *meeting) stop() {
	for _, t := range []timer{m.update, m.end} {
		if t != nil {
			t.Stop()
		}
	}
}

// HandleStanza implements xmpp.Handler for the domain.
func (c *Component) HandleStanza(st *stanza.Stanza) {
	node := st.Child(jitsi.NSDiscoInfo, "query").Attr("node")
	switch {
	case st.To.Local() != "", st.Kind == stanza.Presence, st.Kind == stanza.IQ && node != "breakout_rooms":
		c.service.HandleStanza(st)
	default:
		c.Serve(st, c.command)
	}
}

// Main is the main room of a breakout room, false if room is none.
func (c *Component) Main(room stanza.JID) (stanza.JID, bool) {
	c.Lock()
	defer c.Unlock()
	main, ok := c.mainOf[room]
	return main, ok
}

// main is the main room of room, itself if it is no breakout room. The lock is held.
func (c *Component) main(room stanza.JID) stanza.JID {
	if main, ok := c.mainOf[room]; ok {
		return main
	}
	return room
}
