package colibri1

import (
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"konzil/internal/random"
	"konzil/sfu/translator"
	"konzil/signaling/jingle"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

const (
	nsDisco      = "http://jabber.org/protocol/disco#info"
	nsDiscoItems = "http://jabber.org/protocol/disco#items"
	nsPing       = "urn:xmpp:ping"
)

// Engine makes translators; the sfu is one.
type Engine interface {
	OpenTranslator(id string, ev translator.Events) (*translator.Group, error)
}

// Config is what the bridge has to know. Zero numbers and durations take the defaults.
type Config struct {
	Domain         string                     // its address
	Allowed        func(user stanza.JID) bool // who may make conferences
	Advertise      []netip.Addr               // public addresses under which the ports are reached too (NAT 1:1)
	MaxConferences int                        // at a time; default 1000
	PerUser        int                        // of one bare address; default 10
	Idle           time.Duration              // a conference without channels ends after this; default 60 s (XEP-0340)
}

// maxQueue requests and events may wait for the service's goroutine; more requests are refused, more events are lost and counted.
const maxQueue = 1024

// Service is the bridge: a xmpp.Handler of its own domain.
type Service struct {
	cfg    Config
	self   stanza.JID
	engine Engine
	router xmpp.Router
	log    *slog.Logger
	queue  chan func()
	done   chan struct{}
	ended  sync.WaitGroup
	count  struct{ requests, refused, made, expired, overflow, badMessages, lostMessages atomic.Uint64 }
	now    struct{ conferences, channels atomic.Uint64 }

	// owned by run
	conferences map[string]*conference
	users       map[stanza.JID]int
}

// conference belongs to the client that made it.
type conference struct {
	id       string
	focus    stanza.JID // full
	contents map[string]*group
	bundles  map[string]*bundle // none is empty
	idle     *time.Timer
}

// New makes the bridge and starts its goroutine.
func New(cfg Config, engine Engine, router xmpp.Router, log *slog.Logger) (*Service, error) {
	if cfg.MaxConferences == 0 {
		cfg.MaxConferences = 1000
	}
	if cfg.PerUser == 0 {
		cfg.PerUser = 10
	}
	if cfg.Idle == 0 {
		cfg.Idle = time.Minute
	}
	self, err := stanza.ParseJID(cfg.Domain)
	if err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, self: self, engine: engine, router: router, log: log, queue: make(chan func(), maxQueue), done: make(chan struct{}),
		conferences: map[string]*conference{}, users: map[stanza.JID]int{}}
	s.ended.Go(s.run)
	return s, nil
}

// Close ends all conferences.
func (s *Service) Close() {
	close(s.done)
	s.ended.Wait()
}

func (s *Service) run() {
	for {
		select {
		case f := <-s.queue:
			f()
		case <-s.done:
			for _, c := range s.conferences {
				s.end(c)
			}
			return
		}
	}
}

// post queues f for the service's goroutine; it never blocks.
func (s *Service) post(f func()) bool {
	select {
	case s.queue <- f:
		return true
	default:
		s.count.overflow.Add(1)
		return false
	}
}

// HandleStanza takes what is sent to the bridge. It never blocks.
func (s *Service) HandleStanza(st *stanza.Stanza) {
	if st.Kind != stanza.IQ || st.Type != "get" && st.Type != "set" {
		return
	}
	s.count.requests.Add(1)
	if st.First() != (stanza.Name{Space: NS, Local: "conference"}) {
		s.router.Route(s.common(st))
		return
	}
	if !s.post(func() { s.router.Route(s.handle(st)) }) {
		s.router.Route(st.ErrorReply(stanza.ErrResourceConstraint))
	}
}

// common answers what every entity is asked.
func (s *Service) common(st *stanza.Stanza) *stanza.Stanza {
	switch st.First() {
	case stanza.Name{Space: nsDisco, Local: "query"}:
		if st.Child(nsDisco, "query").Attr("node") != "" {
			return st.ErrorReply(stanza.ErrItemNotFound)
		}
		q := stanza.NewElement(nsDisco, "query").Add(stanza.NewElement(nsDisco, "identity", "category", "component", "type", "conference", "name", "Video bridge"))
		for _, f := range []string{nsDisco, nsPing, NS, jingle.NSDTLS, jingle.NSICE, nsRaw} {
			q.Add(stanza.NewElement(nsDisco, "feature", "var", f))
		}
		return st.Result(q)
	case stanza.Name{Space: nsDiscoItems, Local: "query"}:
		return st.Result(stanza.NewElement(nsDiscoItems, "query"))
	case stanza.Name{Space: nsPing, Local: "ping"}:
		return st.Result()
	}
	return st.ErrorReply(stanza.ErrFeatureNotImplemented)
}

// handle does a request about a conference. Allocation comes as get from old clients and as set from others.
func (s *Service) handle(iq *stanza.Stanza) *stanza.Stanza {
	refuse := func(err *stanza.Error) *stanza.Stanza {
		s.count.refused.Add(1)
		return iq.ErrorReply(err)
	}
	r, err := parse(iq.Child(NS, "conference"))
	if err != nil {
		return refuse(err)
	}
	c, err := s.conference(r.id, iq.From)
	if err != nil {
		return refuse(err)
	}
	answer, err := s.apply(c, r)
	if err != nil {
		if r.id == "" {
			s.end(c)
		}
		return refuse(err)
	}
	s.rest(c)
	return iq.Result(answer)
}

// conference finds the one that a request is about, or makes it. Those of others look as if they were not there.
func (s *Service) conference(id string, from stanza.JID) (*conference, *stanza.Error) {
	if id != "" {
		if c := s.conferences[id]; c != nil && c.focus == from {
			return c, nil
		}
		return nil, stanza.ErrItemNotFound
	}
	bare := from.Bare()
	switch {
	case !s.cfg.Allowed(from):
		return nil, stanza.ErrForbidden
	case len(s.conferences) >= s.cfg.MaxConferences, s.users[bare] >= s.cfg.PerUser:
		return nil, stanza.ErrResourceConstraint.With("there are too many conferences")
	}
	c := &conference{id: random.Hex(8), focus: from, contents: map[string]*group{}, bundles: map[string]*bundle{}}
	s.conferences[c.id] = c
	s.users[bare]++
	s.count.made.Add(1)
	s.now.conferences.Add(1)
	s.log.Info("conference made", "conference", c.id)
	return c, nil
}

// end closes a conference.
func (s *Service) end(c *conference) {
	if s.conferences[c.id] != c {
		return
	}
	delete(s.conferences, c.id)
	if s.users[c.focus.Bare()]--; s.users[c.focus.Bare()] == 0 {
		delete(s.users, c.focus.Bare())
	}
	if c.idle != nil {
		c.idle.Stop()
	}
	for _, g := range c.contents {
		s.now.channels.Add(^uint64(len(g.channels) - 1))
		g.media.Close()
	}
	s.now.conferences.Add(^uint64(0))
	s.log.Info("conference ended", "conference", c.id)
}

// rest ends a conference that has no channels for too long.
func (s *Service) rest(c *conference) {
	n := 0
	for _, g := range c.contents {
		n += len(g.channels)
	}
	switch {
	case n > 0 && c.idle != nil:
		c.idle.Stop()
		c.idle = nil
	case n == 0 && c.idle == nil:
		c.idle = time.AfterFunc(s.cfg.Idle, func() {
			s.post(func() {
				if c.idle != nil {
					s.end(c)
				}
			})
		})
	}
}

// Counters are totals since the start, by name; conferences and channels are the numbers there are now.
func (s *Service) Counters() map[string]uint64 {
	return map[string]uint64{
		"conferences":      s.now.conferences.Load(),
		"channels":         s.now.channels.Load(),
		"requests_total":   s.count.requests.Load(),
		"refused_total":    s.count.refused.Load(),
		"made_total":       s.count.made.Load(),
		"expired_total":    s.count.expired.Load(),
		"queue_full_total": s.count.overflow.Load(),

		"messages_bad_total":  s.count.badMessages.Load(),
		"messages_lost_total": s.count.lostMessages.Load(),
	}
}

var _ xmpp.Handler = (*Service)(nil)
