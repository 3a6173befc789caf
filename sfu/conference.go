package sfu

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"konzil/sfu/alloc"
	"konzil/sfu/bwe"
	"konzil/sfu/speaker"
)

const (
	// commandQueue bounds what waits for a control loop; callers wait when it is full.
	commandQueue = 256
	// look is how often the control loop reads levels, rates and estimates from the packet path.
	look = 100 * time.Millisecond
	// restAfter is how long a conference waits after an allocation for all, as a multiple of what that took, and maxRest at most: many
	// who join at once are decided for together, and a large conference spends a fifth of a core on it at most.
	restAfter = 4
	maxRest   = 400 * time.Millisecond
	// allocateAgain is the longest time between two allocations.
	allocateAgain = 5 * time.Second
	// estimateEvery is how often Estimate is told.
	estimateEvery = 10 * time.Second
	// activityGrace is how long a new endpoint counts as active without a sign of life.
	activityGrace = 15 * time.Second
	// previousSpeakers is the most former speakers that are told.
	previousSpeakers = 10
)

// Conference forwards between its endpoints. One control goroutine owns all but packets.
type Conference struct {
	s    *SFU
	id   string
	ev   Events
	log  *slog.Logger
	home *shard

	phase            int // of the clock
	fbAudio, fbVideo uint32
	loudest          loudest
	cmds             chan func()
	looks            chan struct{} // the clock's
	stop             chan struct{}
	done             chan struct{}
	tracks           atomic.Pointer[map[uint32]*track] // by media SSRC, written by the control loop

	// The control goroutine's own.
	endpoints map[string]*Endpoint
	ordered   []*Endpoint // as they came
	voices    []*voice    // speakers first
	byIndex   map[int32]*voice
	nextIndex int32
	sources   map[string]*source
	det       *speaker.Detector
	dirty     bool // an allocation for all is to be made
	stirred   bool // one for some receivers: those that are dirty
	fansDirty bool
	rested    int64 // when the next allocation for all may be made
	again     int64 // when one must be made, 0: whenever something changes
	some      int64 // the same for the first of the receivers (Endpoint.again)
	retell    bool  // somebody has said for the first time what it wants
	allocated int64
	lookout   lookout
	wake      *time.Timer // for what act has put off
	wakeAt    int64       // 0: it is stopped
	closed    bool
	scratch   allocScratch
}

type allocScratch struct {
	video   []alloc.Source // of all
	videoOf []*source
	audioOf []*source
	sources []alloc.Source // of one receiver
	of      []*source
	layers  []alloc.Layer
	choices []alloc.Choice
	levels  []levelAt
}

func newConference(s *SFU, id string, ev Events, home *shard) *Conference {
	c := &Conference{
		s: s, id: id, ev: ev, home: home, log: s.log.With("conference", id),
		cmds: make(chan func(), commandQueue), looks: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
		endpoints: map[string]*Endpoint{}, byIndex: map[int32]*voice{}, sources: map[string]*source{}, det: speaker.New(),
		wake: time.NewTimer(time.Hour),
	}
	c.wake.Stop()
	c.fbAudio = randomSSRC()
	for c.fbVideo = randomSSRC(); c.fbVideo == c.fbAudio; c.fbVideo = randomSSRC() {
	}
	c.loudest.n.Store(int32(min(s.cfg.LoudestN, maxLoudest)))
	c.tracks.Store(&map[uint32]*track{})
	s.wg.Go(c.control)
	return c
}

func randomSSRC() uint32 {
	for {
		if v := rand.Uint32(); v != 0 {
			return v
		}
	}
}

// FeedbackSSRCs are the SSRCs that the bridge uses in its own RTCP.
func (c *Conference) FeedbackSSRCs() (audio, video uint32) { return c.fbAudio, c.fbVideo }

// control is the conference's goroutine: commands, then what they made necessary; and a regular look at the packet path.
func (c *Conference) control() {
	defer close(c.done)
	defer c.wake.Stop()
	for {
		select {
		case <-c.stop:
			return
		case f := <-c.cmds:
			f()
			for more := true; more; {
				select {
				case f := <-c.cmds:
					f()
				default:
					more = false
				}
			}
		case <-c.looks:
			c.look(c.s.now())
		case <-c.wake.C:
			c.wakeAt = 0
		}
		c.act(c.s.now())
	}
}

// act makes the allocations that are due. Who has just connected or said what it wants does not wait for the others' turn. What is due later
// wakes the control goroutine then.
func (c *Conference) act(now int64) {
	if c.again != 0 && now >= c.again {
		c.dirty = true
	}
	if c.some != 0 && now >= c.some {
		c.stirLater(now)
	}
	switch {
	case c.dirty && now >= c.rested:
		c.allocate(now)
	case c.stirred:
		c.reallocate(now)
	}
	at := sooner(c.again, c.some)
	if c.dirty {
		at = sooner(at, c.rested)
	}
	switch {
	case at == c.wakeAt:
	case at == 0:
		c.wake.Stop()
	default:
		c.wake.Reset(time.Duration(at - c.s.now()))
	}
	c.wakeAt = at
}

// stirLater takes up the receivers whose time has come.
func (c *Conference) stirLater(now int64) {
	c.some = 0
	for _, e := range c.ordered {
		switch {
		case e.again == 0:
		case now >= e.again:
			e.stir()
		default:
			c.some = sooner(c.some, e.again)
		}
	}
}

// sooner is the earlier of two times of which 0 is never.
func sooner(a, b int64) int64 {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// post queues f for the control goroutine; false when ctx or the conference ends first.
func (c *Conference) post(ctx context.Context, f func()) bool {
	select {
	case c.cmds <- f:
		return true
	case <-ctx.Done():
		return false
	case <-c.stop:
		return false
	}
}

// do runs f in the control goroutine and waits for it; false when the conference is closed.
func (c *Conference) do(f func()) bool {
	ran := make(chan struct{})
	select {
	case c.cmds <- func() { f(); close(ran) }:
	case <-c.stop:
		return false
	}
	select {
	case <-ran:
		return true
	case <-c.done:
		select {
		case <-ran:
			return true
		default:
			return false
		}
	}
}

// AddEndpoint adds a participant. Errors: ErrDuplicate, ErrLimit, ErrClosed.
func (c *Conference) AddEndpoint(cfg EndpointConfig) (*Endpoint, error) {
	var e *Endpoint
	err := ErrClosed
	c.do(func() {
		switch {
		case c.closed:
			return
		case c.endpoints[cfg.ID] != nil:
			err = fmt.Errorf("%w: endpoint %q", ErrDuplicate, cfg.ID)
			return
		case len(c.endpoints) >= c.s.cfg.MaxEndpoints:
			err = fmt.Errorf("%w: %d endpoints", ErrLimit, len(c.endpoints))
			return
		}
		if e, err = newEndpoint(c, cfg, c.shardFor()); err != nil {
			return
		}
		c.endpoints[cfg.ID] = e
		if !cfg.Relay {
			e.voiceOf(cfg.ID)
		}
		c.ordered = append(c.ordered, e)
		c.dirty = true
	})
	if err != nil {
		return nil, err
	}
	return e, nil
}

// shardFor places a new endpoint: at home while there is room, then where the load is least.
func (c *Conference) shardFor() *shard {
	if len(c.endpoints) < c.s.cfg.ShardSpill {
		return c.home
	}
	best := c.s.shards[0]
	for _, sh := range c.s.shards[1:] {
		if sh.load.Load() < best.load.Load() {
			best = sh
		}
	}
	return best
}

// Endpoint finds a participant, nil when there is none.
func (c *Conference) Endpoint(id string) *Endpoint {
	var e *Endpoint
	c.do(func() { e = c.endpoints[id] })
	return e
}

// Close removes all endpoints and ends the conference; no event comes after it returns.
func (c *Conference) Close() {
	var es []*Endpoint
	if !c.do(func() {
		c.closed = true
		for _, e := range c.endpoints {
			es = append(es, e)
		}
	}) {
		return
	}
	for _, e := range es {
		e.Close()
	}
	c.s.mu.Lock()
	select {
	case <-c.stop:
	default:
		close(c.stop)
	}
	c.s.mu.Unlock()
	<-c.done
	c.s.forget(c)
}

// remove takes e out of the conference's state. Control goroutine.
func (c *Conference) remove(e *Endpoint) {
	if c.endpoints[e.id] != e {
		return
	}
	delete(c.endpoints, e.id)
	for _, v := range e.voices {
		c.leave(v)
	}
	for i, x := range c.ordered {
		if x == e {
			c.ordered = append(c.ordered[:i], c.ordered[i+1:]...)
			break
		}
	}
	for name, src := range e.sources {
		c.dropSource(name, src)
	}
	e.sources = nil
	c.publishTracks()
	c.dirty, c.fansDirty = true, true
	c.rebuildFans()
	e.sh.leave(e)
	for _, sh := range c.s.shards {
		sh.unstage(e)
	}
}

// dropSource forgets a source at every receiver.
func (c *Conference) dropSource(name string, src *source) {
	delete(c.sources, name)
	src.fan.Store(nil)
	if src.kind == Audio {
		c.loudest.leave(src.tracks[0])
	}
	for _, e := range c.endpoints {
		e.unsubscribe(src)
	}
}

func (c *Conference) publishTracks() {
	m := make(map[uint32]*track)
	for _, e := range c.endpoints {
		for _, src := range e.sources {
			for _, tr := range src.tracks {
				m[tr.ssrc] = tr
			}
		}
	}
	c.tracks.Store(&m)
}

// trackOf finds a media track by SSRC; safe from any goroutine.
func (c *Conference) trackOf(ssrc uint32) *track { return (*c.tracks.Load())[ssrc] }

// look reads what the packet path gathered and acts on it.
func (c *Conference) look(now int64) {
	if c.lookout.putsOff(now) {
		return
	}
	for _, e := range c.ordered {
		if e.observe(now) {
			c.dirty = true
		}
	}
	c.speakers(now)
	for _, e := range c.ordered {
		e.watchPath()
		e.activity(now)
		if e.estimateAt == 0 {
			e.estimateAt = now
		}
		if e.connected && now-e.estimateAt >= int64(estimateEvery) {
			e.estimateAt = now
			c.ev.Estimate(e.id, e.down.estimate)
		}
	}
	c.dirty = c.dirty || now-c.allocated >= int64(allocateAgain)
}

// speakers tells a change of the dominant speaker and keeps the order of endpoints by it.
func (c *Conference) speakers(now int64) {
	dom, changed := c.det.Tick(now)
	if !changed {
		return
	}
	v := c.byIndex[dom]
	if v == nil {
		return
	}
	for i, x := range c.voices {
		if x == v {
			copy(c.voices[1:i+1], c.voices[:i])
			c.voices[0] = v
			break
		}
	}
	var prev []string
	for _, i := range c.det.Recent(nil) {
		if p := c.byIndex[i]; p != nil && p != v && len(prev) < previousSpeakers {
			prev = append(prev, p.id)
		}
	}
	c.dirty = true
	c.prepare(v, c.s.now())
	c.ev.DominantSpeaker(v.id, prev, false)
}

func newEstimator() *bwe.Estimator { return bwe.New(bwe.Config{}) }
