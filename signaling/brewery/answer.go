package brewery

import (
	"context"
	"errors"

	"konzil/signaling/colibri"
	"konzil/xmpp/stanza"
)

const (
	nsDisco   = "http://jabber.org/protocol/disco#info"
	nsVersion = "jabber:iq:version"
	nsPing    = "urn:xmpp:ping"
	nsHealth  = "http://jitsi.org/protocol/healthcheck"
)

// features are what a focus looks for in a bridge.
var features = []string{nsDisco, nsVersion, nsPing, nsHealth, colibri.NS, "urn:xmpp:jingle:apps:dtls:0", "urn:xmpp:jingle:transports:ice-udp:1"}

// answer does what an iq asks; send takes the reply, perhaps from another goroutine.
func (m *Member) answer(iq *stanza.Stanza, send func(*stanza.Stanza)) {
	if iq.Type != "get" && iq.Type != "set" {
		return
	}
	m.count.requests.Add(1)
	answer := send
	send = func(reply *stanza.Stanza) {
		if reply.Type == "error" {
			m.count.refused.Add(1)
		}
		answer(reply)
	}
	if iq.From.Bare() != m.room && iq.From.Bare() != m.home {
		send(iq.ErrorReply(stanza.ErrForbidden)) // who is not in the room is no focus of ours
		return
	}
	switch name := iq.First(); name {
	case stanza.Name{Space: colibri.NS, Local: "conference-modify"}:
		m.modify(iq, send)
	case stanza.Name{Space: nsHealth, Local: "healthcheck"}:
		if s := m.cfg.Stats(); !s.Healthy {
			send(iq.ErrorReply(stanza.ErrInternal.With("the bridge is not healthy")))
			return
		}
		send(iq.Result())
	case stanza.Name{Space: nsPing, Local: "ping"}:
		send(iq.Result())
	case stanza.Name{Space: nsDisco, Local: "query"}:
		q := stanza.NewElement(nsDisco, "query", "node", iq.Child(nsDisco, "query").Attr("node"))
		q.Add(stanza.NewElement(nsDisco, "identity", "category", "component", "type", "conference", "name", "videobridge"))
		for _, f := range features {
			q.Add(stanza.NewElement(nsDisco, "feature", "var", f))
		}
		send(iq.Result(q))
	case stanza.Name{Space: nsVersion, Local: "query"}:
		send(iq.Result(stanza.NewElement(nsVersion, "query").Add(stanza.TextElement(nsVersion, "name", "konzil"), stanza.TextElement(nsVersion, "version", m.cfg.Version))))
	default:
		send(iq.ErrorReply(stanza.ErrServiceUnavailable))
	}
}

// modify asks the bridge, in the order of the requests about that conference.
func (m *Member) modify(iq *stanza.Stanza, send func(*stanza.Stanza)) {
	req, err := colibri.ParseModify(iq.Child(colibri.NS, "conference-modify"))
	if err != nil {
		send(refusal(iq, err))
		return
	}
	if s := m.cfg.Stats(); req.Create && (s.GracefulShutdown || s.Shutdown) {
		send(refusal(iq, &colibri.Error{Reason: colibri.ReasonGracefulShutdown}))
		return
	}
	ok := m.work.do(req.MeetingID, func() {
		ctx, cancel := context.WithTimeout(context.Background(), m.cfg.RequestTimeout)
		defer cancel()
		done, err := m.bridge.Modify(ctx, req)
		m.lost.note(req, iq.From, err)
		if err != nil {
			m.log.Debug("request refused", "conference", req.MeetingID, "err", err)
			send(refusal(iq, err))
			return
		}
		send(iq.Result(done.Element()))
	})
	if !ok {
		m.count.overflow.Add(1)
		send(iq.ErrorReply(stanza.ErrResourceConstraint))
	}
}

// refusal is a bridge's error as the focus reads it.
func refusal(iq *stanza.Stanza, err error) *stanza.Stanza {
	var ce *colibri.Error
	if !errors.As(err, &ce) {
		ce = &colibri.Error{Reason: colibri.ReasonInternal, Text: err.Error()}
	}
	return iq.ErrorReply(ce.Stanza())
}
