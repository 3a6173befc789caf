package colibri1

import (
	"slices"

	"konzil/xmpp/stanza"
)

// sctpPort is what every Jitsi bridge uses; RFC 8841 leaves it open.
const sctpPort = "5000"

// bundle is a transport that channels of one end share, over all contents: one component, RTP and RTCP and SCTP on one port. Packets are told apart by the
// SSRCs and payload types of the channels (JVB 1.0, doc/bundle.md).
type bundle struct {
	id    string
	lines []*line // one at least; what the transport has, each of them knows
}

// join makes l one of a bundle's, and the bundle if it is the first.
func (c *conference) join(id string, l *line) {
	b := c.bundles[id]
	if b == nil {
		b = &bundle{id: id}
		c.bundles[id] = b
	}
	b.lines = append(b.lines, l)
	l.bundle = b
}

// leave takes l out of its bundle, which ends with the last.
func (c *conference) leave(l *line) {
	b := l.bundle
	if b == nil {
		return
	}
	if b.lines = slices.DeleteFunc(b.lines, func(x *line) bool { return x == l }); len(b.lines) == 0 {
		delete(c.bundles, b.id)
	}
}

// bundles takes the transports of a request's bundles, and tells of all that it is about.
func (s *Service) bundles(c *conference, r *request, answer *stanza.Element) *stanza.Error {
	var ids []string
	for _, ct := range r.contents {
		for _, ch := range ct.channels {
			ids = append(ids, ch.bundle)
		}
	}
	for _, ask := range r.bundles {
		b := c.bundles[ask.id]
		if b == nil {
			return stanza.ErrItemNotFound.With("there is no bundle " + ask.id)
		}
		if err := s.connect(b.lines[0], ask.transport); err != nil {
			return err
		}
		ids = append(ids, ask.id)
	}
	for i, id := range ids {
		if b := c.bundles[id]; b != nil && !slices.Contains(ids[:i], id) {
			answer.Add(stanza.NewElement(NS, "channel-bundle", "id", id).Add(s.iceTransport(b.lines[0])))
		}
	}
	return nil
}
