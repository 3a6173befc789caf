package pool

import (
	"context"
	"errors"
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
	count  struct{ placed, lost, failures, timeouts, unhealthy atomic.Uint64 }
	asks   asks
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	wg     sync.WaitGroup // health checks

	mu       sync.Mutex // guards all below, and local and the state of each remote
	remote   map[stanza.JID]*remote
	placed   map[string]*conference // by meeting id
	listener colibri.Listener
}

// conference is where a conference is, and who is in it.
type conference struct {
	at        *remote // nil: in this process
	endpoints map[string]bool
}

// New makes a pool; Enter opens it.
func New(cfg Config, router xmpp.Router, log *slog.Logger) (*Pool, error) {
	if cfg.Nick == "" {
		cfg.Nick = "focus"
	}
	if cfg.HealthInterval == 0 {
		cfg.HealthInterval = 10 * time.Second
	}
	if cfg.AnswerTimeout == 0 {
		cfg.AnswerTimeout = 5 * time.Second
	}
	p := &Pool{cfg: cfg, router: router, log: log.With("brewery", cfg.Room.String()), remote: map[stanza.JID]*remote{}, placed: map[string]*conference{}}
	p.local = state{open: cfg.Local != nil, region: cfg.Region, fallback: cfg.LocalLast}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	if n, ok := cfg.Local.(colibri.Notifier); ok {
		n.SetListener(lossOf{p})
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

// SetListener implements colibri.Notifier.
func (p *Pool) SetListener(l colibri.Listener) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.listener = l
}

// lossOf passes on what the bridge of this process has lost.
type lossOf struct{ p *Pool }

func (l lossOf) EndpointLost(meetingID, endpoint string) {
	l.p.mu.Lock()
	to := l.p.listener
	l.p.mu.Unlock()
	if to != nil {
		to.EndpointLost(meetingID, endpoint)
	}
}

// Modify implements colibri.Bridge. A bridge that cannot be asked loses the conference: the answer is that there is none, and whoever makes it
// anew gets another bridge.
func (p *Pool) Modify(ctx context.Context, m *colibri.ConferenceModify) (*colibri.ConferenceModified, error) {
	c, err := p.find(m)
	if err != nil {
		return nil, err
	}
	done, err := p.ask(ctx, c.at, m)
	var refusal *colibri.Error
	switch {
	case err == nil:
		p.note(m, c)
		return done, nil
	case errors.As(err, &refusal):
		if refusal.Reason == colibri.ReasonConferenceNotFound || m.Create {
			p.forget(m.MeetingID, c)
		}
		if refusal.Reason == colibri.ReasonGracefulShutdown && c.at != nil {
			p.close(c.at)
		}
		return nil, err
	}
	p.count.failures.Add(1)
	p.log.Warn("bridge does not answer", "bridge", c.at.name(), "err", err)
	p.fail(c.at)
	return nil, &colibri.Error{Reason: colibri.ReasonConferenceNotFound, Text: "the bridge does not answer"}
}

func (p *Pool) ask(ctx context.Context, at *remote, m *colibri.ConferenceModify) (*colibri.ConferenceModified, error) {
	if at == nil {
		return p.cfg.Local.Modify(ctx, m)
	}
	return at.modify(ctx, m)
}

// find gives the bridge of a conference, or places it.
func (p *Pool) find(m *colibri.ConferenceModify) (*conference, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if c := p.placed[m.MeetingID]; c != nil {
		return c, nil
	}
	if !m.Create {
		return nil, &colibri.Error{Reason: colibri.ReasonConferenceNotFound}
	}
	now := time.Now()
	var best *remote
	state := &p.local
	if p.cfg.LocalStress != nil {
		p.local.stress = p.cfg.LocalStress()
	}
	for _, r := range p.remote {
		if better(&r.state, state, p.cfg.Region, now) {
			best, state = r, &r.state
		}
	}
	if !state.open {
		return nil, fmt.Errorf("no bridge takes conferences: %d in the brewery", len(p.remote))
	}
	state.got(now)
	p.count.placed.Add(1)
	c := &conference{at: best, endpoints: map[string]bool{}}
	p.placed[m.MeetingID] = c
	p.log.Info("conference placed", "conference", m.MeetingID, "bridge", best.name())
	return c, nil
}

// note keeps who is in a conference.
func (p *Pool) note(m *colibri.ConferenceModify, c *conference) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if m.Expire {
		p.forgetLocked(m.MeetingID, c)
		return
	}
	for _, e := range m.Endpoints {
		if e.Create {
			c.endpoints[e.ID] = true
		}
		if e.Expire {
			delete(c.endpoints, e.ID)
		}
	}
}

func (p *Pool) forget(id string, c *conference) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.forgetLocked(id, c)
}

func (p *Pool) forgetLocked(id string, c *conference) {
	if p.placed[id] == c {
		delete(p.placed, id)
	}
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

// lose forgets the conferences of a bridge, and tells of their endpoints.
func (p *Pool) lose(r *remote) {
	type loss struct{ meeting, endpoint string }
	var all []loss
	p.mu.Lock()
	for id, c := range p.placed {
		if c.at != r || r == nil {
			continue
		}
		delete(p.placed, id)
		p.count.lost.Add(1)
		for e := range c.endpoints {
			all = append(all, loss{id, e})
		}
	}
	to := p.listener
	p.mu.Unlock()
	if to == nil {
		return
	}
	for _, l := range all {
		to.EndpointLost(l.meeting, l.endpoint)
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
		"lost_total":      p.count.lost.Load(),
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
