package bridge

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"konzil/internal/random"
	"konzil/sfu"
	"konzil/signaling/colibri"
	"konzil/signaling/jingle"
)

// Config is what a bridge has to know. Zero durations and numbers take the defaults below.
type Config struct {
	// ServerID is the second part of WebSocket paths, so that a proxy in front of many bridges finds this one. Default: random.
	ServerID string
	// WebSocketURL is where clients reach WebSocketHandler, as wss://host/colibri-ws; "": no client is told of it.
	WebSocketURL string
	// RelayID is the name of this bridge for others of the same conference; "": it takes no relays.
	RelayID string
	// Version is told in ServerHello.
	Version string
	// NoChannelTimeout is how long after its transport is up a client without any channel gets a low default constraint. Default 10 s.
	NoChannelTimeout time.Duration
	// StatsEndpoints is up to how many endpoints EndpointStats go to everybody. Default 20.
	StatsEndpoints int
	// PingInterval and IdleTimeout of WebSockets; default 15 s and 60 s.
	PingInterval, IdleTimeout time.Duration
	// ExpireAfter is how long an endpoint without a transport that works, and a conference without endpoints, are kept: for a focus on another
	// machine, which may be gone. 0: until they are expired.
	ExpireAfter time.Duration
}

// Bridge carries media in this process. It implements colibri.Bridge, colibri.Notifier and colibri.Protector.
type Bridge struct {
	cfg   Config
	eng   Engine
	log   *slog.Logger
	count counters

	frames sync.Pool // *[]byte, what WebSockets write

	mu        sync.Mutex // guards all below
	byID      map[string]*conference
	byPath    map[string]*conference // by the id in WebSocket paths
	listeners []colibri.Listener     // grows alone
	closed    bool                   // takes no new conferences
	wg        sync.WaitGroup         // goroutines of conferences and WebSockets
}

type counters struct {
	requests, refused                               atomic.Uint64 // of focuses
	messages, badMessages, unknownMessages, dropped atomic.Uint64
	sent, sendErrors, overflow                      atomic.Uint64
	wsOpened, wsRefused, wsReplaced                 atomic.Uint64
	noChannel, expired                              atomic.Uint64
}

// newWith makes a bridge on any engine; New does on the sfu.
func newWith(eng Engine, cfg Config, log *slog.Logger) *Bridge {
	if cfg.ServerID == "" {
		cfg.ServerID = random.Hex(6)
	}
	if cfg.NoChannelTimeout == 0 {
		cfg.NoChannelTimeout = 10 * time.Second
	}
	if cfg.StatsEndpoints == 0 {
		cfg.StatsEndpoints = 20
	}
	if cfg.PingInterval == 0 {
		cfg.PingInterval = 15 * time.Second
	}
	if cfg.IdleTimeout == 0 {
		cfg.IdleTimeout = 60 * time.Second
	}
	frames := func() any { b := make([]byte, 0, wsWriteBytes); return &b }
	return &Bridge{cfg: cfg, eng: eng, log: log, frames: sync.Pool{New: frames}, byID: map[string]*conference{}, byPath: map[string]*conference{}}
}

// SendsFEC implements colibri.Protector.
func (b *Bridge) SendsFEC() bool { return true }

// AddListener implements colibri.Notifier.
func (b *Bridge) AddListener(l colibri.Listener) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.listeners = append(b.listeners, l)
}

func (b *Bridge) listening() []colibri.Listener {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.listeners
}

// Counters are totals since the start, by name; conferences is the number there are now.
func (b *Bridge) Counters() map[string]uint64 {
	b.mu.Lock()
	n := len(b.byID)
	b.mu.Unlock()
	c := &b.count
	return map[string]uint64{
		"conferences":             uint64(n),
		"requests_total":          c.requests.Load(),
		"requests_refused":        c.refused.Load(),
		"messages_total":          c.messages.Load(),
		"messages_bad":            c.badMessages.Load(),
		"messages_unknown":        c.unknownMessages.Load(),
		"messages_dropped":        c.dropped.Load(),
		"sent_total":              c.sent.Load(),
		"send_errors_total":       c.sendErrors.Load(),
		"queue_overflow_total":    c.overflow.Load(),
		"websockets_opened":       c.wsOpened.Load(),
		"websockets_refused":      c.wsRefused.Load(),
		"websockets_replaced":     c.wsReplaced.Load(),
		"clients_without_channel": c.noChannel.Load(),
		"expired_total":           c.expired.Load(),
	}
}

// Retire takes no new conferences from now on; those that there are go on.
func (b *Bridge) Retire() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
}

// Close ends all conferences and waits for their goroutines.
func (b *Bridge) Close() {
	b.mu.Lock()
	b.closed = true
	var all []*conference
	for _, c := range b.byID {
		all = append(all, c)
	}
	b.mu.Unlock()
	for _, c := range all {
		b.remove(c)
	}
	b.wg.Wait()
}

func refusal(r colibri.Reason, endpoint, text string) *colibri.Error {
	return &colibri.Error{Reason: r, Endpoint: endpoint, Text: text}
}

// Modify implements colibri.Bridge.
func (b *Bridge) Modify(ctx context.Context, m *colibri.ConferenceModify) (*colibri.ConferenceModified, error) {
	b.count.requests.Add(1)
	out, err := b.modify(ctx, m)
	if err != nil {
		b.count.refused.Add(1)
	}
	return out, err
}

func (b *Bridge) modify(ctx context.Context, m *colibri.ConferenceModify) (*colibri.ConferenceModified, error) {
	if m.MeetingID == "" {
		return nil, refusal(colibri.ReasonBadRequest, "", "no meeting id")
	}
	if len(m.Relays) > 0 && b.cfg.RelayID == "" {
		return nil, refusal(colibri.ReasonFeatureNotSupported, "", "this bridge takes no relays")
	}
	c, isNew, err := b.find(m)
	if err != nil {
		return nil, err
	}
	if m.Expire {
		b.remove(c)
		return &colibri.ConferenceModified{}, nil
	}
	c.modify.Lock()
	defer c.modify.Unlock()
	out := &colibri.ConferenceModified{}
	for i := range m.Endpoints {
		em, err := c.modifyEndpoint(ctx, &m.Endpoints[i])
		if err != nil {
			if isNew {
				b.remove(c)
			}
			return nil, err
		}
		out.Endpoints = append(out.Endpoints, em)
		if m.Endpoints[i].Create {
			out.Sources = feedback(c.eng.FeedbackSSRCs())
		}
	}
	for i := range m.Relays {
		rm, err := c.modifyRelay(ctx, &m.Relays[i])
		if err != nil {
			if isNew {
				b.remove(c)
			}
			return nil, err
		}
		out.Relays = append(out.Relays, rm)
	}
	if isNew {
		out.Sources = feedback(c.eng.FeedbackSSRCs())
	}
	return out, nil
}

func (b *Bridge) find(m *colibri.ConferenceModify) (c *conference, isNew bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	c = b.byID[m.MeetingID]
	switch {
	case c != nil && m.Create:
		return nil, false, refusal(colibri.ReasonConferenceExists, "", "")
	case c != nil:
		return c, false, nil
	case !m.Create:
		return nil, false, refusal(colibri.ReasonConferenceNotFound, "", "")
	case b.closed:
		return nil, false, refusal(colibri.ReasonGracefulShutdown, "", "")
	}
	c = newConference(b, m.MeetingID)
	if c.eng, err = b.eng.NewConference(m.MeetingID, events{c}); err != nil {
		return nil, false, asRefusal(err, "")
	}
	b.byID[m.MeetingID], b.byPath[c.path] = c, c
	b.wg.Add(1)
	go func() {
		defer b.wg.Done()
		c.run()
	}()
	c.watchEmpty()
	c.log.Info("conference made", "name", m.Name)
	return c, true, nil
}

func (b *Bridge) remove(c *conference) {
	b.mu.Lock()
	if b.byID[c.meetingID] != c {
		b.mu.Unlock()
		return
	}
	delete(b.byID, c.meetingID)
	delete(b.byPath, c.path)
	b.mu.Unlock()
	c.close()
}

// modifyEndpoint does one endpoint's part; c.modify is held, so endpoints come and go one at a time.
func (c *conference) modifyEndpoint(ctx context.Context, r *colibri.Endpoint) (colibri.EndpointModified, error) {
	out := colibri.EndpointModified{ID: r.ID}
	ep := c.endpoint(r.ID)
	switch {
	case r.ID == "" || strings.HasPrefix(r.ID, relayPrefix):
		return out, refusal(colibri.ReasonBadRequest, "", "no endpoint's id: "+r.ID)
	case r.Create && ep != nil:
		return out, refusal(colibri.ReasonBadRequest, r.ID, "endpoint exists")
	case !r.Create && ep == nil && r.Expire:
		return out, nil // it is gone, as wished
	case !r.Create && ep == nil:
		return out, refusal(colibri.ReasonUnknownEndpoint, r.ID, "")
	case r.Expire:
		c.expire(ep)
		return out, nil
	}
	if r.Create {
		t, err := c.create(ctx, r)
		if err != nil {
			return out, err
		}
		out.Transport, ep = t, c.endpoint(r.ID)
	}
	if ep == nil {
		return out, refusal(colibri.ReasonUnknownEndpoint, r.ID, "closed meanwhile")
	}
	if r.ForceMute != nil {
		ep.eng.SetForceMute(r.ForceMute.Audio, r.ForceMute.Video)
	}
	if r.LastN != nil {
		c.setLastN(ep, *r.LastN)
	}
	if t := r.Transport; t != nil && t.ICERestart {
		lt, err := ep.eng.RestartICE(ctx)
		if err != nil {
			return out, asRefusal(err, r.ID)
		}
		out.Transport = c.describe(ep, lt)
	}
	if t := r.Transport; t != nil && !t.Remote.Empty() {
		if err := ep.eng.SetRemote(remoteTransport(t.Remote)); err != nil {
			return out, asRefusal(err, r.ID)
		}
	}
	if len(r.Acked) > 0 {
		ep.eng.AckSources(r.Acked)
	}
	if r.Sources != nil {
		if err := c.setSources(ep, sources(*r.Sources)); err != nil {
			return out, asRefusal(err, r.ID)
		}
	}
	return out, nil
}

// asRefusal tells a focus what it has done wrong, if it was its doing.
func asRefusal(err error, endpoint string) error {
	reason := colibri.ReasonInternal
	switch {
	case errors.Is(err, errors.ErrUnsupported):
		reason = colibri.ReasonFeatureNotSupported
	case errors.Is(err, sfu.ErrSources), errors.Is(err, sfu.ErrDescription), errors.Is(err, sfu.ErrDuplicate):
		reason = colibri.ReasonBadRequest
	case errors.Is(err, sfu.ErrLimit):
		reason = colibri.ReasonLimit
	}
	return refusal(reason, endpoint, err.Error())
}

// create makes an endpoint and waits for its transport.
func (c *conference) create(ctx context.Context, r *colibri.Endpoint) (*jingle.Transport, error) {
	if !slices.Contains(r.Capabilities, colibri.CapSourceNames) {
		return nil, refusal(colibri.ReasonBadRequest, r.ID, "capability source-names is required")
	}
	e, err := c.eng.AddEndpoint(endpointConfig(r))
	if err != nil {
		return nil, asRefusal(err, r.ID)
	}
	ep := &endpoint{id: r.ID, visitor: r.Visitor, eng: e, password: random.Hex(16), recv: newReceiver(),
		videoTypes: map[string]string{}, senderMax: map[string]int{}}
	e.SetConstraints(ep.recv.constraints(func(string) []string { return nil }))
	if !c.add(ep) {
		e.Close()
		return nil, refusal(colibri.ReasonConferenceNotFound, "", "closed meanwhile")
	}
	c.watch(ep)
	t, err := e.LocalTransport(ctx)
	if err != nil {
		c.expire(ep)
		return nil, asRefusal(err, r.ID)
	}
	return c.describe(ep, t), nil
}

// sctpPort is what every Jitsi bridge uses; RFC 8841 leaves it open.
const sctpPort = 5000

// describe is the bridge's side of a transport as the client is told.
func (c *conference) describe(ep *endpoint, t sfu.Transport) *jingle.Transport {
	out := localTransport(t)
	out.SCTPPort = sctpPort
	if base := c.b.cfg.WebSocketURL; base != "" {
		out.WebSockets = []string{strings.TrimRight(base, "/") + "/" + url.PathEscape(c.b.cfg.ServerID) + "/" + c.path + "/" +
			url.PathEscape(ep.id) + "?pwd=" + ep.password}
	}
	return out
}

var _ colibri.Bridge = (*Bridge)(nil)
var _ colibri.Notifier = (*Bridge)(nil)
