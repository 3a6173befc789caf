package colibri1

import (
	"net/netip"

	"konzil/internal/random"
	"konzil/sfu/translator"
	"konzil/signaling/bridgechan"
	"konzil/xmpp/stanza"
)

// listener takes what a relay tells of its channels, on the goroutines of the sfu.
type listener struct {
	s *Service
	c *conference
	g *group
}

// Latched tells nothing that a focus needs to know.
func (listener) Latched(*translator.Channel, int, netip.AddrPort) {}

// Source tells the focus that an end has begun to send: it shows a peer's video only then.
func (l listener) Source(ch *translator.Channel, _ uint32) {
	l.s.post(func() { l.s.notify(l.c, l.g, ch.ID()) })
}

// Expired tells the focus that a channel is no more.
func (l listener) Expired(ch *translator.Channel) {
	l.s.post(func() {
		if x := l.g.channels[ch.ID()]; x != nil && l.s.conferences[l.c.id] == l.c {
			l.s.count.expired.Add(1)
			x.expire = 0
			l.s.notify(l.c, l.g, x.id)
			l.s.drop(l.c, l.g, x)
			l.s.rest(l.c)
		}
	})
}

// Opened greets nobody: clients say hello first.
func (listener) Opened(*translator.Channel) {}

// Message passes on what an end says on its channel to the bridge, as JVB does: a message to one endpoint, or to all others.
func (l listener) Message(ch *translator.Channel, msg []byte) {
	m, err := bridgechan.Decode(msg)
	if err != nil {
		l.s.count.badMessages.Add(1)
		return
	}
	l.s.post(func() {
		from := l.g.channels[ch.ID()]
		if from == nil {
			return
		}
		switch m := m.(type) {
		case bridgechan.ClientHello:
			l.s.say(from, bridgechan.ServerHello(""))
		case bridgechan.EndpointMessage:
			out := bridgechan.Relay(from.endpoint, m)
			for _, to := range l.g.channels {
				if to.sctp && to != from && (m.To == "" || m.To == to.endpoint) {
					l.s.say(to, out)
				}
			}
		}
	})
}

// say sends a message to an end; one that does not read loses it.
func (s *Service) say(to *line, msg []byte) {
	if to.media.Send(msg) != nil {
		s.count.lostMessages.Add(1)
	}
}

// notify sends the focus the state of a channel, unasked.
func (s *Service) notify(c *conference, g *group, id string) {
	l := g.channels[id]
	if l == nil || s.conferences[c.id] != c {
		return
	}
	el := stanza.NewElement(NS, "conference", "id", c.id).Add(stanza.NewElement(NS, "content", "name", g.name).Add(s.describe(g, l)))
	s.router.Route(stanza.NewIQ("set", "n"+random.Hex(4), s.self, c.focus, el))
}
