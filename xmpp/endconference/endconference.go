// Package endconference is the end_conference component of Jitsi meetings: a moderator ends the meeting for all
// (jitsi-meet's mod_end_conference). The room of the sender is found as package jitsi tells; HandleStanza has it closed.
package endconference

import (
	"konzil/xmpp"
	"konzil/xmpp/jitsi"
	"konzil/xmpp/stanza"
)

// reason is what everybody is told; Jitsi clients leave for good when they see it.
const reason = "The meeting has been terminated"

// Component is the handler of its domain and an observer of rooms.
type Component struct {
	*jitsi.Base
	end func(room stanza.JID, reason string)
}

// New makes the component for domain; end closes a meeting, given one of its rooms. Mount it, and let the MUC service have it as observer.
func New(domain string, router xmpp.Router, rooms jitsi.Rooms, end func(room stanza.JID, reason string)) (*Component, error) {
	base, err := jitsi.New("end_conference", domain, router, rooms)
	if err != nil {
		return nil, err
	}
	return &Component{base, end}, nil
}

// HandleStanza implements xmpp.Handler for the component's domain.
func (c *Component) HandleStanza(st *stanza.Stanza) { c.Serve(st, c.message) }

func (c *Component) message(st *stanza.Stanza) *stanza.Error {
	if jitsi.Child(st, "end_conference") == nil {
		return stanza.ErrServiceUnavailable
	}
	p, err := c.Moderator(st.From)
	if err != nil {
		return err
	}
	c.end(p.Room, reason)
	return nil
}

// Counters are numbers for metrics: the meetings that were ended.
func (c *Component) Counters() map[string]uint64 {
	m := c.Base.Counters(0)
	return map[string]uint64{"ended_total": m["changes_total"], "refused_total": m["refused_total"]}
}
