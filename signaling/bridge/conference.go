package bridge

import (
	"log/slog"
	"slices"
	"sync"
	"time"

	"konzil/internal/random"
	"konzil/internal/ws"
	"konzil/sfu"
	"konzil/signaling/bridgechan"
)

// conference is one conference of the sfu with the channels of its clients.
type conference struct {
	b         *Bridge
	meetingID string
	path      string // its id in WebSocket paths: nobody outside can guess it
	eng       Conference
	log       *slog.Logger
	queue     *queue

	modify sync.Mutex // held for a whole Modify: requests come one after another

	mu        sync.Mutex // guards all below; engine calls that do not wait are made with it held, events never are
	endpoints map[string]*endpoint
	order     []*endpoint // as they came
	links     map[string]*link
	speaker   *speaker    // nil before anybody spoke
	empty     *time.Timer // ends the conference if nobody comes; nil: nobody waits for that
	closed    bool
}

type speaker struct {
	endpoint string
	previous []string
	silence  bool
}

// endpoint is one client. conference.mu guards it.
type endpoint struct {
	id       string
	visitor  bool
	eng      Endpoint
	password string // of its WebSocket

	sctpOpen bool
	ws       *wsConn // nil: none
	viaWS    bool    // the channel that was active last

	recv       receiver
	sources    []sfu.Source
	videoTypes map[string]string // by source, as the client said on the channel
	idle       bool

	// What the client was told last, for the next channel that opens.
	forwarded []string
	knowsFwd  bool
	senderMax map[string]int
	video     []sfu.SourceMapping
	audio     []sfu.SourceMapping
	noChannel *time.Timer
	lost      *time.Timer // everything is told again soon
	dead      *time.Timer // expires it if its transport does not come up; nil: it is up, or nobody waits for that
	gone      bool
}

func newConference(b *Bridge, meetingID string) *conference {
	return &conference{b: b, meetingID: meetingID, path: random.Hex(8), log: b.log.With("conference", meetingID),
		queue: newQueue(), endpoints: map[string]*endpoint{}, links: map[string]*link{}}
}

// run is the conference's goroutine: events of the sfu and messages of clients in the order they came.
func (c *conference) run() {
	for {
		<-c.queue.wake
		items, done := c.queue.take()
		for _, f := range items {
			c.mu.Lock()
			if !c.closed {
				f()
			}
			c.mu.Unlock()
		}
		if done {
			return
		}
	}
}

// do queues f to run on the conference's goroutine with c.mu held; false: the queue is full, f is lost.
func (c *conference) do(f func()) bool {
	ok := c.queue.put(f)
	if !ok {
		c.b.count.overflow.Add(1)
	}
	return ok
}

func (c *conference) close() {
	c.mu.Lock()
	c.closed = true
	list := c.order
	c.order = nil
	clear(c.endpoints)
	if c.empty != nil {
		c.empty.Stop()
	}
	for _, ep := range list {
		c.closeEndpoint(ep)
	}
	for _, l := range c.links {
		l.close()
	}
	clear(c.links)
	c.mu.Unlock()
	c.eng.Close()
	c.queue.close()
	c.log.Info("conference ended")
}

func (c *conference) endpoint(id string) *endpoint {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.endpoints[id]
}

func (c *conference) add(ep *endpoint) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.endpoints[ep.id] = ep
	c.order = append(c.order, ep)
	return true
}

// expire takes an endpoint out: its media and channel end, and slots of its sources are forgotten by the others.
func (c *conference) expire(ep *endpoint) {
	c.mu.Lock()
	if c.endpoints[ep.id] == ep {
		delete(c.endpoints, ep.id)
	}
	c.order = slices.DeleteFunc(c.order, func(x *endpoint) bool { return x == ep })
	c.closeEndpoint(ep)
	c.forgetOwner(ep.id)
	c.mu.Unlock()
	ep.eng.Close()
	c.watchEmpty()
}

// forgetOwner takes the slots of a leaver out of what clients are told again. c.mu is held.
func (c *conference) forgetOwner(id string) {
	of := func(m sfu.SourceMapping) bool { return m.Owner == id }
	for _, x := range c.order {
		x.video = slices.DeleteFunc(x.video, of)
		x.audio = slices.DeleteFunc(x.audio, of)
	}
}

// closeEndpoint ends a client's channel; c.mu is held. The engine's endpoint is closed by the caller, or with the conference.
func (c *conference) closeEndpoint(ep *endpoint) {
	ep.gone = true
	if ep.noChannel != nil {
		ep.noChannel.Stop()
	}
	if ep.lost != nil {
		ep.lost.Stop()
	}
	if ep.dead != nil {
		ep.dead.Stop()
	}
	if ep.ws != nil {
		ep.ws.close(ws.StatusGoingAway, "the endpoint is gone")
		ep.ws = nil
	}
}

// setSources replaces an endpoint's sources. What the client itself said of a source on the channel outweighs the signalling.
func (c *conference) setSources(ep *endpoint, list []sfu.Source) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range list {
		if t, ok := ep.videoTypes[list[i].Name]; ok && list[i].Kind == sfu.Video {
			list[i].Video = videoType(t)
		}
	}
	if err := ep.eng.SetSources(list); err != nil {
		return err
	}
	ep.sources = list
	for name := range ep.senderMax {
		if !slices.ContainsFunc(list, func(s sfu.Source) bool { return s.Name == name }) {
			delete(ep.senderMax, name)
		}
	}
	c.constrainLegacy(ep)
	return nil
}

// constrainLegacy works out anew what clients want that name endpoints, but for one whose sources have changed itself. c.mu is held.
func (c *conference) constrainLegacy(but *endpoint) {
	isEndpoint := func(id string) bool {
		_, f := c.farOf(id)
		return f != nil || c.endpoints[id] != nil
	}
	for _, x := range c.order {
		if x != but && x.recv.legacy(isEndpoint) {
			c.constrain(x)
		}
	}
}

func (c *conference) setLastN(ep *endpoint, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	ep.recv.lastN = max(n, unlimitedLastN)
	c.constrain(ep)
}

// constrain tells the sfu what ep wants; c.mu is held.
func (c *conference) constrain(ep *endpoint) {
	ep.eng.SetConstraints(ep.recv.constraints(c.videoOf))
}

// videoOf are the video sources of an endpoint; c.mu is held.
func (c *conference) videoOf(id string) []string {
	var list []sfu.Source
	if ep := c.endpoints[id]; ep != nil {
		list = ep.sources
	} else if _, f := c.farOf(id); f != nil {
		list = f.sources
	} else {
		return nil
	}
	out := []string{}
	for _, s := range list {
		if s.Kind == sfu.Video {
			out = append(out, s.Name)
		}
	}
	return out
}

// tellAll sends a message to all clients. c.mu is held.
func (c *conference) tellAll(msg []byte) {
	for _, x := range c.order {
		c.tell(x, msg)
	}
}

// tell sends a message to one client on the channel it used last; without any it is lost, and hello makes up for it. c.mu is held.
func (c *conference) tell(ep *endpoint, msg []byte) {
	switch {
	case ep.ws != nil && (ep.viaWS || !ep.sctpOpen):
		if !ep.ws.send(msg) {
			c.b.count.sendErrors.Add(1)
			return
		}
	case ep.sctpOpen:
		if err := ep.eng.SendMessage(msg); err != nil {
			c.b.count.sendErrors.Add(1)
			c.log.Debug("channel message lost", "endpoint", ep.id, "err", err)
			c.repeatLater(ep)
			return
		}
	default:
		return
	}
	c.b.count.sent.Add(1)
}

// repeatAfter is how long after a message was lost to a full channel the client is told everything again.
const repeatAfter = time.Second

// repeatLater makes up for a lost message: a constraint that is missed is a black picture for good. c.mu is held.
func (c *conference) repeatLater(ep *endpoint) {
	if ep.lost != nil {
		return
	}
	ep.lost = time.AfterFunc(repeatAfter, func() {
		c.do(func() {
			ep.lost = nil
			if !ep.gone {
				c.hello(ep)
			}
		})
	})
}

// hello tells a client whose channel has just opened everything that holds now. c.mu is held.
func (c *conference) hello(ep *endpoint) {
	if ep.noChannel != nil {
		ep.noChannel.Stop()
	}
	ep.eng.SetReady()
	for _, s := range ep.sources {
		if n, ok := ep.senderMax[s.Name]; ok {
			c.tell(ep, bridgechan.SenderConstraint(s.Name, n))
		}
	}
	if ep.knowsFwd {
		c.tell(ep, bridgechan.ForwardedSources(ep.forwarded))
	}
	if len(ep.video) > 0 {
		c.tell(ep, bridgechan.VideoSourcesMap(mappings(ep.video, true)))
	}
	if len(ep.audio) > 0 {
		c.tell(ep, bridgechan.AudioSourcesMap(mappings(ep.audio, false)))
	}
	for _, x := range c.order {
		if x.idle && x != ep {
			c.tell(ep, bridgechan.Connectivity(x.id, false))
		}
	}
	for _, l := range c.links {
		for _, f := range l.far {
			if f.idle {
				c.tell(ep, bridgechan.Connectivity(f.id, false))
			}
		}
	}
	if c.speaker != nil {
		c.tell(ep, bridgechan.DominantSpeaker(c.speaker.endpoint, c.speaker.previous, c.speaker.silence))
	}
}
