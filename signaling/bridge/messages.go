package bridge

import (
	"slices"
	"strings"

	"konzil/sfu"
	"konzil/signaling/bridgechan"
)

// maxPending messages of one client may wait: a client that sends faster than its conference's goroutine takes them is broken or
// hostile. What comes above is dropped and counted.
const maxPending = 256

// received queues one message of a client; ws is the connection it came on, nil for SCTP. It never blocks, and takes no lock but the
// queue's: the sfu's control goroutine calls it.
func (c *conference) received(id string, msg []byte, ws *wsConn) {
	c.b.count.messages.Add(1)
	if c.queue.pending(id, 1) > maxPending {
		c.queue.pending(id, -1)
		c.b.count.dropped.Add(1)
		return
	}
	m, err := bridgechan.Decode(msg) // here, so that the conference's goroutine is spared
	ok := c.do(func() {
		c.queue.pending(id, -1)
		if l := c.links[strings.TrimPrefix(id, relayPrefix)]; l != nil && strings.HasPrefix(id, relayPrefix) {
			if err != nil {
				c.b.count.badMessages.Add(1)
				return
			}
			c.fromLink(l, m)
			return
		}
		ep := c.endpoints[id]
		if ep == nil || ws != nil && ep.ws != ws {
			return
		}
		ep.viaWS = ws != nil
		switch {
		case err != nil:
			c.b.count.badMessages.Add(1)
			c.log.Debug("bad channel message", "endpoint", id, "err", err)
		case m == nil:
			c.b.count.unknownMessages.Add(1)
		default:
			c.message(ep, m)
		}
	})
	if !ok {
		c.queue.pending(id, -1)
	}
}

// message does what a client says; c.mu is held.
func (c *conference) message(ep *endpoint, m any) {
	switch m := m.(type) {
	case bridgechan.ClientHello:
		c.tell(ep, bridgechan.ServerHello(c.b.cfg.Version))
	case bridgechan.EndpointMessage:
		c.relay(ep, m)
	case bridgechan.EndpointStats:
		c.relayStats(ep, m)
	case bridgechan.LastNChanged:
		ep.recv.lastN = m.LastN
		c.constrain(ep)
	case bridgechan.ReceiverVideoConstraints:
		ep.recv.apply(m)
		c.constrain(ep)
	case bridgechan.ReceiverAudioSubscription:
		s := sfu.AudioSubscription{None: !m.All}
		if m.All {
			s.Exclude = m.Exclude
		} else {
			s.Include = m.Include
		}
		ep.eng.SetAudioSubscription(s)
	case bridgechan.SourceVideoType:
		c.setVideoType(ep, m.Source, m.VideoType)
	case bridgechan.VideoType:
		for _, s := range ep.sources {
			if s.Kind == sfu.Video {
				c.setVideoType(ep, s.Name, m.VideoType)
			}
		}
	}
}

// maxVideoTypes kept per endpoint: it may name sources before it has signalled them.
const maxVideoTypes = 32

func (c *conference) setVideoType(ep *endpoint, source, t string) {
	if _, ok := ep.videoTypes[source]; !ok && len(ep.videoTypes) >= maxVideoTypes {
		return
	}
	ep.videoTypes[source] = t
	c.toLinks(bridgechan.RelayVideoType(ep.id, source, t))
	i := slices.IndexFunc(ep.sources, func(s sfu.Source) bool { return s.Name == source && s.Kind == sfu.Video })
	if i < 0 {
		return // it is applied when the source comes
	}
	ep.sources[i].Video = videoType(t)
	if err := ep.eng.SetVideoType(source, videoType(t)); err != nil {
		c.log.Debug("video type refused", "endpoint", ep.id, "source", source, "err", err)
	}
}

// relay sends a client's message to one or to all others, with the true sender.
func (c *conference) relay(from *endpoint, m bridgechan.EndpointMessage) {
	if from.visitor {
		return
	}
	msg := bridgechan.Relay(from.id, m)
	if m.To != "" {
		if to := c.endpoints[m.To]; to != nil {
			c.tell(to, msg)
		} else if l, _ := c.farOf(m.To); l != nil {
			c.toLink(l, msg)
		}
		return
	}
	for _, x := range c.order {
		if x != from {
			c.tell(x, msg)
		}
	}
	c.toLinks(msg)
}

// relayStats passes a client's stats on.
func (c *conference) relayStats(from *endpoint, m bridgechan.EndpointStats) {
	if from.visitor {
		return
	}
	c.spreadStats(from, from.id, m)
	c.toLinks(bridgechan.RelayStats(from.id, m))
}

// spreadStats sends stats to everybody in a small conference; in a large one only to those who look at the sender, or for whom it has just
// spoken. but is who gets none, nil: all may.
func (c *conference) spreadStats(but *endpoint, from string, m bridgechan.EndpointStats) {
	msg := bridgechan.RelayStats(from, m)
	n := len(c.order)
	for _, l := range c.links {
		n += len(l.far)
	}
	small := n <= c.b.cfg.StatsEndpoints
	spoke := c.speaker != nil && (c.speaker.endpoint == from || slices.Contains(c.speaker.previous, from))
	video := c.videoOf(from)
	for _, x := range c.order {
		if x != but && (small || spoke || x.recv.wants(from, video)) {
			c.tell(x, msg)
		}
	}
}
