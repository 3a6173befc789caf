package bridge

import (
	"slices"
	"time"

	"konzil/sfu"
	"konzil/signaling/bridgechan"
)

// events implements sfu.Events: everything is queued for the conference's goroutine.
type events struct{ c *conference }

// with runs f for an endpoint that is still there.
func (e events) with(id string, f func(c *conference, ep *endpoint)) {
	c := e.c
	c.do(func() {
		if ep := c.endpoints[id]; ep != nil {
			f(c, ep)
		}
	})
}

func (e events) Transport(id string, state sfu.TransportState) {
	if e.linkEvent(id, func(c *conference, l *link) { c.linkState(l, state) }) {
		return
	}
	e.with(id, func(c *conference, ep *endpoint) {
		switch state {
		case sfu.TransportConnected:
			c.alive(ep)
			if ep.noChannel == nil && !ep.sctpOpen && ep.ws == nil {
				ep.noChannel = time.AfterFunc(c.b.cfg.NoChannelTimeout, func() { e.with(id, (*conference).silent) })
			}
		case sfu.TransportFailed:
			c.watchLocked(ep)
			for _, l := range c.b.listening() {
				l.EndpointLost(c.meetingID, id)
			}
		}
	})
}

// silent gives a client that has no channel a low picture instead of none.
func (c *conference) silent(ep *endpoint) {
	if ep.sctpOpen || ep.ws != nil || !ep.recv.silent() {
		return
	}
	c.b.count.noChannel.Add(1)
	c.log.Info("client has no bridge channel, it gets low video", "endpoint", ep.id)
	ep.eng.SetReady()
	c.constrain(ep)
}

func (e events) ChannelOpen(id string) {
	if e.linkEvent(id, func(c *conference, l *link) { l.open = true; c.helloLink(l) }) {
		return
	}
	e.with(id, func(c *conference, ep *endpoint) {
		ep.sctpOpen, ep.viaWS = true, false
		c.hello(ep)
	})
}

func (e events) ChannelClosed(id string) {
	if e.linkEvent(id, func(_ *conference, l *link) { l.open = false }) {
		return
	}
	e.with(id, func(_ *conference, ep *endpoint) { ep.sctpOpen = false })
}

func (e events) ChannelMessage(id string, msg []byte) { e.c.received(id, msg, nil) }

func (e events) Active(id string, active bool) {
	e.with(id, func(c *conference, ep *endpoint) {
		if ep.idle == !active {
			return
		}
		ep.idle = !active
		if ep.visitor { // nobody is shown it
			return
		}
		msg := bridgechan.Connectivity(id, active)
		c.tellAll(msg)
		c.toLinks(msg)
	})
}

func (e events) DominantSpeaker(id string, previous []string, silence bool) {
	e.c.do(func() {
		c := e.c
		c.speaker = &speaker{id, slices.Clone(previous), silence}
		c.tellAll(bridgechan.DominantSpeaker(id, previous, silence))
	})
}

func (e events) ForwardedSources(id string, sources []string) {
	e.with(id, func(c *conference, ep *endpoint) {
		ep.forwarded, ep.knowsFwd = sources, true
		c.tell(ep, bridgechan.ForwardedSources(sources))
	})
}

func (e events) SenderConstraint(id, source string, maxHeight int) {
	if e.linkEvent(id, func(c *conference, l *link) { c.wanted(l, source, maxHeight) }) {
		return
	}
	e.with(id, func(c *conference, ep *endpoint) {
		ep.senderMax[source] = maxHeight
		c.tell(ep, bridgechan.SenderConstraint(source, maxHeight))
	})
}

func (e events) VideoMappings(id string, changed []sfu.SourceMapping) {
	e.with(id, func(c *conference, ep *endpoint) {
		ep.video = merge(ep.video, changed)
		c.tell(ep, bridgechan.VideoSourcesMap(mappings(changed, true)))
	})
}

func (e events) AudioMappings(id string, changed []sfu.SourceMapping) {
	e.with(id, func(c *conference, ep *endpoint) {
		ep.audio = merge(ep.audio, changed)
		c.tell(ep, bridgechan.AudioSourcesMap(mappings(changed, false)))
	})
}

// merge puts changed slots over the known ones. A source sits on one slot only: its former one is forgotten.
func merge(known, changed []sfu.SourceMapping) []sfu.SourceMapping {
	out := slices.DeleteFunc(known, func(k sfu.SourceMapping) bool {
		return slices.ContainsFunc(changed, func(n sfu.SourceMapping) bool { return n.SSRC == k.SSRC || n.Source == k.Source })
	})
	return append(out, changed...)
}

func (e events) Estimate(id string, bps uint64) {
	e.with(id, func(c *conference, ep *endpoint) { c.tell(ep, bridgechan.ConnectionStats(bps)) })
}
