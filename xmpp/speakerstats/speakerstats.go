// Package speakerstats is the speakerstats component of Jitsi meetings: how long each participant was the dominant speaker, and what
// faces it made (jitsi-meet's mod_speakerstats_component).
//
// The client that becomes the dominant speaker says so to the component's domain, naming the room; HandleStanza believes it if it is
// inside. Who enters later is told what was counted so far, also of those who have left (Joined). The counting itself (stats.go) is pure:
// time is passed in.
package speakerstats

import (
	"strconv"
	"time"

	"konzil/xmpp"
	"konzil/xmpp/jitsi"
	"konzil/xmpp/stanza"
)

// Component is the handler of its domain and an observer of rooms.
type Component struct {
	jitsi.Meetings[*meeting]
	people jitsi.People
	now    func() time.Time
}

// New makes the component for domain. Mount it, and let the MUC service have it as observer.
func New(domain string, router xmpp.Router, rooms jitsi.People) (*Component, error) {
	base, err := jitsi.New("speakerstats", domain, router, rooms)
	if err != nil {
		return nil, err
	}
	return &Component{Meetings: jitsi.Keep[*meeting](base), people: rooms, now: time.Now}, nil
}

// report is what a newcomer is told.
type report struct {
	Type  string           `json:"type"`
	Users map[string]*user `json:"users"`
}

// Joined tells a newcomer what was counted.
func (c *Component) Joined(room, real stanza.JID, nick string) {
	p, _ := c.people.Person(room, real)
	c.Lock()
	defer c.Unlock()
	if _, ok := c.Enter(room, real, nick); !ok || p.Hidden {
		return
	}
	m := c.Of[room]
	if m == nil {
		m = newMeeting()
		c.Of[room] = m
	}
	if users := m.report(c.now()); len(users) > 0 {
		c.Tell(room, report{"speakerstats", users}, real)
	}
	m.enter(nick)
}

// Left stops the clock of who leaves; what was counted stays.
func (c *Component) Left(room, real stanza.JID, nick string) {
	c.Lock()
	defer c.Unlock()
	c.Leave(room, real)
	if m := c.Of[room]; m != nil {
		m.silence(nick, c.now())
	}
}

// Changed keeps the name of who is there: it is shown when the person has left.
func (c *Component) Changed(room, real stanza.JID, nick string) {
	p, ok := c.people.Person(room, real)
	c.Lock()
	defer c.Unlock()
	if m := c.Of[room]; ok && m != nil {
		m.name(nick, p.Name)
	}
}

// HandleStanza implements xmpp.Handler for the component's domain.
func (c *Component) HandleStanza(st *stanza.Stanza) { c.Serve(st, c.message) }

func (c *Component) message(st *stanza.Stanza) *stanza.Error {
	speaks, face := jitsi.Child(st, "speakerstats"), jitsi.Child(st, "faceLandmarks")
	el := speaks
	if el == nil {
		el = face
	}
	if el == nil {
		return stanza.ErrServiceUnavailable
	}
	room, err := jitsi.NamedRoom(el)
	if err != nil {
		return err
	}
	p, ok := c.people.Person(room, st.From)
	if !ok {
		return stanza.ErrForbidden.With("You are not in that meeting")
	}
	c.Lock()
	defer c.Unlock()
	m := c.Of[room]
	if m == nil {
		return stanza.ErrItemNotFound
	}
	m.name(p.ID(), p.Name)
	if speaks != nil {
		m.speak(p.ID(), speaks.Attr("silence") == "true", c.now())
		return nil
	}
	f, ok := parseFace(face)
	if !ok {
		return stanza.ErrBadRequest.With("A face has an expression, a timestamp and a duration")
	}
	m.face(p.ID(), f)
	return nil
}

func parseFace(el *stanza.Element) (face, bool) {
	f := face{Expression: el.Attr("faceExpression")}
	for name, to := range map[string]*int64{"timestamp": &f.Timestamp, "duration": &f.Duration} {
		n, err := strconv.ParseInt(el.Attr(name), 10, 64)
		if err != nil || n < 0 {
			return face{}, false
		}
		*to = n
	}
	return f, f.Expression != "" && len(f.Expression) <= maxExpression
}
