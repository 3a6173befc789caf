package bridge

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"konzil/sfu"
	"konzil/signaling/bridgechan"
	"konzil/signaling/colibri"
)

// A conference on several bridges. The focus makes a relay on each of two bridges, tells each the transport of the other, and on each who is at the
// other end, with their sources. RTP goes between the sfus (package sfu, relay.go); over the relay's channel go messages as between
// Jitsi's bridges:
//
//	AddReceiver, RemoveReceiver             what our clients want of a source there, the most of all
//	EndpointMessage, EndpointStats          of our clients for those there, with their true sender
//	EndpointConnectivityStatusChangeEvent   of our clients
//	SourceVideoTypeMessage                  of our clients' sources
//
// Who speaks each bridge finds out by itself: all audio is on all bridges.

// relayPrefix makes the sfu's name of a relay's endpoint; no client may have such an id.
const relayPrefix = "relay:"

// link is another bridge of the conference. conference.mu guards it, but for eng.
type link struct {
	id   string // of the other bridge, as the focus names it
	eng  Endpoint
	role colibri.SCTPRole // ours

	far  map[string]*far           // who is there, by id
	told map[string]int            // heights that our clients want of their sources, by source, as the other bridge is told
	want map[string]sfu.Constraint // what theirs want of our sources
	open bool                      // the channel
	lost *time.Timer               // everything is told again soon
	gone bool
}

// far is somebody at the other end of a relay.
type far struct {
	id      string
	visitor bool
	sources []sfu.Source
	idle    bool
}

// modifyRelay does one relay's part; c.modify is held.
func (c *conference) modifyRelay(ctx context.Context, r *colibri.Relay) (colibri.RelayModified, error) {
	out := colibri.RelayModified{ID: r.ID}
	c.mu.Lock()
	l := c.links[r.ID]
	c.mu.Unlock()
	switch {
	case r.Create && l != nil:
		return out, refusal(colibri.ReasonBadRequest, "", "relay exists: "+r.ID)
	case r.Expire:
		if l != nil {
			c.expireLink(l)
		}
		return out, nil
	case !r.Create && l == nil:
		return out, refusal(colibri.ReasonBadRequest, "", "unknown relay "+r.ID)
	}
	if r.Create {
		var err error
		if l, err = c.createLink(r); err != nil {
			return out, err
		}
		t, err := l.eng.LocalTransport(ctx)
		if err != nil {
			c.expireLink(l)
			return out, asRefusal(err, "")
		}
		out.Transport, out.SCTPRole = localTransport(t), l.role
		out.Transport.SCTPPort = sctpPort
	}
	if t := r.Transport; t != nil && !t.Remote.Empty() {
		if err := l.eng.SetRemote(remoteTransport(t.Remote)); err != nil {
			return out, asRefusal(err, "")
		}
	}
	return out, c.setFar(l, r.Endpoints)
}

// createLink makes a relay. The other bridge opens the channel unless we are told to.
func (c *conference) createLink(r *colibri.Relay) (*link, error) {
	if r.Transport == nil || !r.Transport.SCTP {
		return nil, refusal(colibri.ReasonFeatureNotSupported, "", "relays have their channel over SCTP")
	}
	cfg := endpointConfig(&colibri.Endpoint{ID: relayPrefix + r.ID, Media: r.Media, Transport: r.Transport})
	cfg.Relay, cfg.ChannelClient = true, r.Transport.SCTPRole == colibri.SCTPClient
	e, err := c.eng.AddEndpoint(cfg)
	if err != nil {
		return nil, asRefusal(err, "")
	}
	l := &link{id: r.ID, eng: e, role: cmp.Or(r.Transport.SCTPRole, colibri.SCTPServer), far: map[string]*far{}, told: map[string]int{}, want: map[string]sfu.Constraint{}}
	e.SetConstraints(sfu.VideoConstraints{LastN: unlimitedLastN}) // nothing before the other bridge says what it wants
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		e.Close()
		return nil, refusal(colibri.ReasonConferenceNotFound, "", "closed meanwhile")
	}
	c.links[r.ID] = l
	c.log.Info("relay made", "relay", r.ID)
	return l, nil
}

// expireLink takes another bridge out, and all who are there.
func (c *conference) expireLink(l *link) {
	c.mu.Lock()
	if c.links[l.id] == l {
		delete(c.links, l.id)
	}
	l.close()
	for id := range l.far {
		c.forgetOwner(id)
	}
	c.mu.Unlock()
	l.eng.Close()
	c.log.Info("relay ended", "relay", l.id)
}

func (l *link) close() {
	l.gone = true
	if l.lost != nil {
		l.lost.Stop()
	}
}

// setFar takes those at the other end who come, change or go.
func (c *conference) setFar(l *link, list []colibri.Endpoint) error {
	if len(list) == 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range list {
		e := &list[i]
		if e.Expire {
			if l.far[e.ID] != nil {
				delete(l.far, e.ID)
				c.forgetOwner(e.ID)
			}
			continue
		}
		if c.endpoints[e.ID] != nil {
			return refusal(colibri.ReasonBadRequest, e.ID, "the endpoint is on this bridge")
		}
		f := l.far[e.ID]
		if f == nil {
			if !e.Create {
				return refusal(colibri.ReasonUnknownEndpoint, e.ID, "not at the relay")
			}
			f = &far{id: e.ID, visitor: e.Visitor}
			l.far[e.ID] = f
		}
		if e.Sources != nil {
			f.sources = sources(*e.Sources)
			for j := range f.sources {
				f.sources[j].Owner = e.ID
			}
		}
	}
	var all []sfu.Source
	for _, f := range l.far {
		all = append(all, f.sources...)
	}
	if err := l.eng.SetSources(all); err != nil {
		return asRefusal(err, "")
	}
	for name := range l.told {
		if !slices.ContainsFunc(all, func(s sfu.Source) bool { return s.Name == name }) {
			delete(l.told, name)
		}
	}
	c.constrainLegacy(nil)
	return nil
}

// linkEvent runs f for a relay that is still there, when id is the sfu's name of one.
func (e events) linkEvent(id string, f func(c *conference, l *link)) bool {
	name, ok := strings.CutPrefix(id, relayPrefix)
	if ok {
		c := e.c
		c.do(func() {
			if l := c.links[name]; l != nil {
				f(c, l)
			}
		})
	}
	return ok
}

// linkState takes what the sfu says of the transport to another bridge. c.mu is held.
func (c *conference) linkState(l *link, state sfu.TransportState) {
	c.log.Info("relay", "relay", l.id, "state", state)
	if state != sfu.TransportFailed {
		return
	}
	for _, to := range c.b.listening() {
		if r, ok := to.(colibri.RelayListener); ok {
			r.RelayLost(c.meetingID, l.id)
		}
	}
}

// toLink sends a message to another bridge; before its channel is open it is lost, and helloLink makes up for it. c.mu is held.
func (c *conference) toLink(l *link, msg []byte) {
	if !l.open {
		return
	}
	if err := l.eng.SendMessage(msg); err == nil {
		c.b.count.sent.Add(1)
		return
	}
	c.b.count.sendErrors.Add(1)
	if l.lost != nil {
		return
	}
	l.lost = time.AfterFunc(repeatAfter, func() {
		c.do(func() {
			l.lost = nil
			if !l.gone {
				c.helloLink(l)
			}
		})
	})
}

// toLinks sends a message to all other bridges. c.mu is held.
func (c *conference) toLinks(msg []byte) {
	for _, l := range c.links {
		c.toLink(l, msg)
	}
}

// helloLink tells a bridge whose channel has just opened everything that holds now. c.mu is held.
func (c *conference) helloLink(l *link) {
	for name, h := range l.told {
		c.toLink(l, bridgechan.AddReceiver(c.b.cfg.RelayID, name, h))
	}
	for _, ep := range c.order {
		for source, t := range ep.videoTypes {
			c.toLink(l, bridgechan.RelayVideoType(ep.id, source, t))
		}
		if ep.idle {
			c.toLink(l, bridgechan.Connectivity(ep.id, false))
		}
	}
}

// wanted tells another bridge what our clients want of a source there. c.mu is held.
func (c *conference) wanted(l *link, source string, height int) {
	if height == 0 {
		delete(l.told, source)
		c.toLink(l, bridgechan.RemoveReceiver(c.b.cfg.RelayID, source))
		return
	}
	l.told[source] = height
	c.toLink(l, bridgechan.AddReceiver(c.b.cfg.RelayID, source, height))
}

// maxWanted bounds the sources that another bridge may name: those of the largest conference.
const maxWanted = 4096

// fromLink does what another bridge says. Only who is there may be named as sender. c.mu is held.
func (c *conference) fromLink(l *link, m any) {
	switch m := m.(type) {
	case bridgechan.AddReceiverMessage:
		if _, ok := l.want[m.Source]; ok || len(l.want) < maxWanted {
			l.want[m.Source] = sfu.Constraint(m.Constraint)
			c.constrainLink(l)
		}
	case bridgechan.RemoveReceiverMessage:
		delete(l.want, m.Source)
		c.constrainLink(l)
	case bridgechan.EndpointMessage:
		if f := l.far[m.From]; f == nil || f.visitor {
			c.b.count.badMessages.Add(1)
		} else if to := c.endpoints[m.To]; to != nil {
			c.tell(to, bridgechan.Relay(m.From, m))
		} else if m.To == "" {
			c.tellAll(bridgechan.Relay(m.From, m))
		}
	case bridgechan.EndpointStats:
		if f := l.far[m.From]; f == nil || f.visitor {
			c.b.count.badMessages.Add(1)
		} else {
			c.spreadStats(nil, m.From, m)
		}
	case bridgechan.ConnectivityMessage:
		if f := l.far[m.Endpoint]; f != nil && f.idle == m.Active {
			f.idle = !m.Active
			c.tellAll(bridgechan.Connectivity(f.id, m.Active))
		}
	case bridgechan.SourceVideoType:
		if err := l.eng.SetVideoType(m.Source, videoType(m.VideoType)); err != nil {
			c.log.Debug("video type refused", "relay", l.id, "source", m.Source, "err", err)
		}
	case bridgechan.ClientHello:
		c.toLink(l, bridgechan.ServerHello(c.b.cfg.Version))
	}
}

// constrainLink tells the sfu what the clients of another bridge want. c.mu is held.
func (c *conference) constrainLink(l *link) {
	v := sfu.VideoConstraints{LastN: unlimitedLastN, Sources: make(map[string]sfu.Constraint, len(l.want))}
	for name, x := range l.want {
		v.Sources[name] = x
	}
	l.eng.SetConstraints(v)
}

// farOf finds somebody on another bridge, and the bridge. c.mu is held.
func (c *conference) farOf(id string) (*link, *far) {
	for _, l := range c.links {
		if f := l.far[id]; f != nil {
			return l, f
		}
	}
	return nil, nil
}
