package pool

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"konzil/signaling/colibri"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// Config is what a pool has to know. Zero durations take the defaults.
type Config struct {
	Self   stanza.JID // full address of the pool; Mount it on its domain
	Room   stanza.JID // the brewery
	Nick   string     // in it; default "focus"
	Region string     // whose bridges are preferred, "": any

	// Local is the bridge of this process, nil for none. LocalStress tells how busy it is. LocalLast: it is used only when there is no other.
	Local       colibri.Bridge
	LocalStress func() float64
	LocalLast   bool

	// LocalRelayID and Version are this process' bridge's, as other bridges' presence tells them: bridges of one version that have a relay id
	// may have a conference together. LocalRelayID "": it has none with others.
	LocalRelayID, Version string
	// MaxPerBridge is how many endpoints of one conference a bridge gets while there are others for it; default 80, as jicofo's.
	MaxPerBridge int

	HealthInterval time.Duration // between health checks; default 10 s
	AnswerTimeout  time.Duration // of a health check; default 5 s
}

// Pool implements colibri.Bridge and colibri.Notifier; it is a xmpp.Handler of its own domain.
type Pool struct {
	cfg    Config
	router xmpp.Router
	log    *slog.Logger
	me     stanza.JID // in the brewery
	local  state
	count  struct{ placed, links, relinks, lost, failures, refused, timeouts, unhealthy atomic.Uint64 }
	asks   asks
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // health checks, and relays that are ended

	mu        sync.Mutex // guards all below, and local and the state of each remote
	remote    map[stanza.JID]*remote
	placed    map[string]*conference // by meeting id
	listeners []colibri.Listener
}

// New makes a pool; Enter opens it.
func New(cfg Config, router xmpp.Router, log *slog.Logger) (*Pool, error) {
	if cfg.Nick == "" {
		cfg.Nick = "focus"
	}
	if cfg.HealthInterval == 0 {
		cfg.HealthInterval = 10 * time.Second
	}
	if cfg.MaxPerBridge == 0 {
		cfg.MaxPerBridge = 80
	}
	if cfg.AnswerTimeout == 0 {
		cfg.AnswerTimeout = 5 * time.Second
	}
	p := &Pool{cfg: cfg, router: router, log: log.With("brewery", cfg.Room.String()), remote: map[stanza.JID]*remote{}, placed: map[string]*conference{}}
	p.local = state{open: cfg.Local != nil, region: cfg.Region, fallback: cfg.LocalLast, relayID: cfg.LocalRelayID, version: cfg.Version}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	if n, ok := cfg.Local.(colibri.Notifier); ok {
		n.AddListener(lossOf{p})
	}
	var err error
	p.me, err = cfg.Room.WithResource(cfg.Nick)
	return p, err
}

// Close ends the health checks. Conferences stay where they are.
func (p *Pool) Close() {
	p.cancel()
	p.wg.Wait()
}

// AddListener implements colibri.Notifier.
func (p *Pool) AddListener(l colibri.Listener) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listeners = append(p.listeners, l)
}

// lossOf passes on what the bridge of this process has lost.
type lossOf struct{ p *Pool }

func (l lossOf) EndpointLost(meetingID, endpoint string) {
	l.p.tell([]loss{{meetingID, endpoint}})
}

// RelayLost implements colibri.RelayListener.
func (l lossOf) RelayLost(meetingID, relay string) { l.p.relayLost(meetingID, nil, relay) }

// Modify implements colibri.Bridge. A bridge that cannot be asked loses what it has: the answer is that there is no such endpoint, or no such
// conference when that was all of it, and whoever makes it anew gets another bridge.
func (p *Pool) Modify(ctx context.Context, m *colibri.ConferenceModify) (*colibri.ConferenceModified, error) {
	c, err := p.find(m)
	if err != nil {
		return nil, err
	}
	end, err := c.ask(ctx)
	if err != nil {
		return nil, err
	}
	defer end()
	if m.Expire {
		return p.expire(ctx, c)
	}
	out := &colibri.ConferenceModified{}
	for _, e := range m.Endpoints {
		on, err := p.partFor(c, &e)
		if err != nil || on == nil { // nil: it is gone, as wished
			if err != nil {
				return nil, err
			}
			out.Endpoints = append(out.Endpoints, colibri.EndpointModified{ID: e.ID})
			continue
		}
		done, err := p.perform(ctx, c, on, e)
		if err != nil {
			return nil, err
		}
		out.Endpoints = append(out.Endpoints, done.Endpoints...)
		if !done.Sources.Empty() {
			out.Sources = done.Sources
		}
	}
	return out, nil
}

func (p *Pool) ask(ctx context.Context, at *remote, m *colibri.ConferenceModify) (*colibri.ConferenceModified, error) {
	if at == nil {
		return p.cfg.Local.Modify(ctx, m)
	}
	return at.modify(ctx, m)
}

// find gives a conference, or begins one.
func (p *Pool) find(m *colibri.ConferenceModify) (*conference, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch c := p.placed[m.MeetingID]; {
	case c != nil && m.Create:
		return nil, &colibri.Error{Reason: colibri.ReasonConferenceExists}
	case c != nil:
		return c, nil
	case !m.Create:
		return nil, &colibri.Error{Reason: colibri.ReasonConferenceNotFound}
	}
	c := &conference{asking: make(chan struct{}, 1), id: m.MeetingID, name: m.Name, members: map[string]*member{}}
	p.placed[m.MeetingID] = c
	return c, nil
}

// expire ends a conference on all of its bridges.
func (p *Pool) expire(ctx context.Context, c *conference) (*colibri.ConferenceModified, error) {
	p.mu.Lock()
	parts := c.parts
	c.parts = nil
	delete(p.placed, c.id)
	p.mu.Unlock()
	var first error
	for _, on := range parts {
		if _, err := p.ask(ctx, on.at, &colibri.ConferenceModify{MeetingID: c.id, Expire: true}); err != nil && first == nil {
			first = err
		}
	}
	return &colibri.ConferenceModified{}, first
}

// partFor gives the part of a conference that has an endpoint, or gets it.
func (p *Pool) partFor(c *conference, e *colibri.Endpoint) (*part, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m := c.members[e.ID]; m != nil {
		return m.on, nil
	}
	switch {
	case p.placed[c.id] != c:
		return nil, &colibri.Error{Reason: colibri.ReasonConferenceNotFound}
	case e.Expire:
		return nil, nil
	case !e.Create:
		return nil, &colibri.Error{Reason: colibri.ReasonUnknownEndpoint, Endpoint: e.ID}
	}
	at, ok := p.choose(c, cmp.Or(e.Region, p.cfg.Region), time.Now())
	if !ok {
		if len(c.parts) == 0 {
			delete(p.placed, c.id)
		}
		return nil, fmt.Errorf("no bridge takes conferences: %d in the brewery", len(p.remote))
	}
	for _, on := range c.parts {
		if on.at == at {
			return on, nil
		}
	}
	on := &part{at: at, links: map[*part]linkState{}}
	c.parts = append(c.parts, on)
	p.count.placed.Add(1)
	p.log.Info("conference placed", "conference", c.id, "bridge", at.name())
	return on, nil
}

// choose finds the bridge for a new endpoint. Pool.mu is held.
func (p *Pool) choose(c *conference, region string, now time.Time) (best *remote, ok bool) {
	if p.cfg.LocalStress != nil {
		p.local.stress = p.cfg.LocalStress()
	}
	var home *state // the first bridge of the conference
	here := map[*remote]int{}
	for i, on := range c.parts {
		here[on.at] = c.count(on)
		if i == 0 {
			home = p.stateOf(on.at)
		}
	}
	var top candidate
	look := func(at *remote) {
		n, in := here[at]
		x := candidate{state: p.stateOf(at), in: in, full: n >= p.cfg.MaxPerBridge}
		if home != nil && !in && !home.together(x.state) || !in && !x.state.open {
			return
		}
		if !ok || x.better(&top, region, now) {
			best, top, ok = at, x, true
		}
	}
	if p.cfg.Local != nil {
		look(nil)
	}
	for _, r := range p.remote {
		look(r)
	}
	if ok {
		top.state.got(now)
	}
	return best, ok
}

// close takes a bridge out of the choice.
func (p *Pool) close(r *remote) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.state.open = false
}

// fail takes the conferences of a bridge that does not work, and passes it over for a while.
func (p *Pool) fail(r *remote) {
	p.mu.Lock()
	if r != nil {
		r.state.failed = time.Now()
	}
	p.mu.Unlock()
	p.lose(r)
}

// loss is an endpoint that a bridge has lost.
type loss struct{ meeting, endpoint string }

// lose forgets what a bridge has of conferences, and tells of its endpoints.
func (p *Pool) lose(r *remote) {
	if r == nil {
		return
	}
	var all []loss
	p.mu.Lock()
	for _, c := range p.placed {
		for _, on := range c.parts {
			if on.at == r {
				p.count.lost.Add(1)
				all = append(all, p.drop(c, on)...)
				break
			}
		}
	}
	p.mu.Unlock()
	p.tell(all)
}

// tell tells the listeners of endpoints that are lost.
func (p *Pool) tell(all []loss) {
	p.mu.Lock()
	listeners := p.listeners
	p.mu.Unlock()
	for _, to := range listeners {
		for _, l := range all {
			to.EndpointLost(l.meeting, l.endpoint)
		}
	}
}

// Counters are totals since the start, by name; bridges and conferences are the numbers there are now.
func (p *Pool) Counters() map[string]uint64 {
	p.mu.Lock()
	bridges, conferences := len(p.remote), len(p.placed)
	p.mu.Unlock()
	return map[string]uint64{
		"bridges":         uint64(bridges),
		"conferences":     uint64(conferences),
		"placed_total":    p.count.placed.Load(),
		"links_total":     p.count.links.Load(),
		"relinks_total":   p.count.relinks.Load(),
		"lost_total":      p.count.lost.Load(),
		"refused_total":   p.count.refused.Load(),
		"failures_total":  p.count.failures.Load(),
		"timeouts_total":  p.count.timeouts.Load(),
		"unhealthy_total": p.count.unhealthy.Load(),
	}
}

var (
	_ colibri.Bridge   = (*Pool)(nil)
	_ colibri.Notifier = (*Pool)(nil)
	_ xmpp.Handler     = (*Pool)(nil)
)
