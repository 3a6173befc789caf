package muc

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"konzil/internal/slots"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// Service is the handler of one MUC domain.
type Service struct {
	cfg       Config
	router    xmpp.Router
	store     Store // nil: no room is persistent
	log       *slog.Logger
	admins    map[stanza.JID]bool
	local     map[string]bool
	observers []Observer
	guards    []Guard
	joining   joinLimit
	now       func() time.Time
	archive   Archive // nil: no room has one
	tasks     tasks

	mu     sync.Mutex // guards rooms and closed; never held together with a lock of a room taken after it
	rooms  map[stanza.JID]*room
	closed bool

	count struct {
		created, destroyed, joins, joinErrors, messages, private, iqs, presences, kicks, ghosts, limited, overflows, storeErrors atomic.Uint64
		archived, queries, tombstones, moderated                                                                                 atomic.Uint64
		occupants                                                                                                                atomic.Int64
	}
}

// New makes the service and loads the persistent rooms of store (nil: none are kept). Call Observe, then mount it at cfg.Domain.
func New(cfg Config, router xmpp.Router, store Store, log *slog.Logger) (*Service, error) {
	s := &Service{
		cfg: cfg.withDefaults(), router: router, store: store, log: log, now: time.Now, archive: cfg.Archive,
		admins: map[stanza.JID]bool{}, local: map[string]bool{}, rooms: map[stanza.JID]*room{},
	}
	s.tasks.asked = slots.New[stanza.JID](maxTasks, maxTasksEach)
	s.tasks.idle = sync.NewCond(&s.tasks.mu)
	s.joining = joinLimit{rate: rate.Limit(s.cfg.JoinRate), burst: s.cfg.JoinBurst, by: map[stanza.JID]*rate.Limiter{}}
	for _, a := range cfg.Admins {
		s.admins[a.Bare()] = true
	}
	for _, d := range cfg.LocalDomains {
		s.local[d] = true
	}
	if store == nil {
		return s, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.StoreTimeout)
	defer cancel()
	records, err := store.Rooms(ctx, s.cfg.Domain)
	if err != nil {
		return nil, fmt.Errorf("muc: loading rooms: %w", err)
	}
	for _, rec := range records {
		r, err := s.restore(rec)
		if err != nil {
			return nil, fmt.Errorf("muc: room %s as stored: %w", rec.Room, err)
		}
		s.rooms[r.jid] = r
	}
	return s, nil
}

// Observe adds an observer; before the service is mounted.
func (s *Service) Observe(o Observer) { s.observers = append(s.observers, o) }

// Guard adds one who looks at newcomers; before the service is mounted. The first refusal counts.
func (s *Service) Guard(g Guard) { s.guards = append(s.guards, g) }

// Domain is the address of the service.
func (s *Service) Domain() string { return s.cfg.Domain }

// HandleStanza implements xmpp.Handler for everything addressed to the service's domain.
func (s *Service) HandleStanza(st *stanza.Stanza) {
	if st.From.IsZero() {
		return
	}
	if st.To.Local() == "" {
		s.handleService(st)
		return
	}
	for {
		r, err := s.find(st)
		if err != nil {
			if st.Kind == stanza.Presence {
				s.count.joinErrors.Add(1)
			}
			s.reply(errorReply(st, err))
			return
		}
		if r == nil || r.handle(st) {
			return
		}
		// The room died between the look-up and its lock; look again.
	}
}

// find gives the room that st is for, made if st is a join. Nil without an error: nothing is to be done.
func (s *Service) find(st *stanza.Stanza) (*room, *stanza.Error) {
	key := st.To.Bare()
	s.mu.Lock()
	r, closed, n := s.rooms[key], s.closed, len(s.rooms)
	s.mu.Unlock()
	switch {
	case st.Kind == stanza.Presence && st.Type != "" && (closed || r == nil):
		return nil, nil // leaving, or an error from, a room that is gone
	case closed:
		return nil, stanza.ErrServiceUnavailable
	case isJoin(st) && !s.admins[st.From.Bare()] && !s.joining.allow(st.From.Bare(), r.size(), s.now()):
		s.count.limited.Add(1)
		return nil, stanza.ErrResourceConstraint.With("Too many joins, wait a little")
	case r != nil:
		return r, nil
	case isJoin(st):
		return s.create(st, n)
	default:
		return nil, stanza.ErrItemNotFound.With("There is no such room")
	}
}

func isJoin(st *stanza.Stanza) bool {
	return st.Kind == stanza.Presence && st.Type == "" && st.Has(nsMUC, "x") && !st.To.IsBare()
}

// create makes the room for a join, if the sender may (XEP-0045 §10.1). It is entered by the same stanza.
func (s *Service) create(st *stanza.Stanza, have int) (*room, *stanza.Error) {
	from := st.From.Bare()
	switch {
	case !s.mayCreate(from):
		return nil, stanza.ErrNotAllowed.With("Room creation is restricted")
	case have >= s.cfg.MaxRooms:
		s.count.overflows.Add(1)
		return nil, stanza.ErrResourceConstraint.With("There are too many rooms")
	case len(st.To.Local()) > s.cfg.MaxName:
		return nil, stanza.ErrNotAcceptable.With("The name of the room is too long")
	}
	fresh := newRoom(s, st.To.Bare(), s.admins[from])
	fresh.founder = st.From
	if s.cfg.Opening != nil {
		o, err := s.cfg.Opening(fresh.jid, st.From)
		if err != nil {
			return nil, err
		}
		fresh.begin(o)
	}
	if !fresh.meeting {
		fresh.locked = true
		fresh.aff[from] = affEntry{aff: owner}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.rooms[fresh.jid]; r != nil { // somebody was faster
		return r, nil
	}
	if s.closed {
		return nil, stanza.ErrServiceUnavailable
	}
	s.rooms[fresh.jid] = fresh
	s.count.created.Add(1)
	return fresh, nil
}

func (s *Service) mayCreate(from stanza.JID) bool {
	switch {
	case s.admins[from] || s.cfg.Create == CreateAnyone:
		return true
	case s.cfg.Create == CreateLocal:
		return s.local[from.Domain()] && from.Local() != ""
	default:
		return false
	}
}

// forget takes a dead room off the list. It is called with the room locked.
func (s *Service) forget(r *room) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rooms[r.jid] == r {
		delete(s.rooms, r.jid)
		s.count.destroyed.Add(1)
	}
}

// reply routes an answer, nil is passed over.
func (s *Service) reply(st *stanza.Stanza) {
	if st != nil {
		s.router.Route(st)
	}
}

// all gives the rooms there are, in order of their names.
func (s *Service) all() []*room {
	s.mu.Lock()
	out := make([]*room, 0, len(s.rooms))
	for _, r := range s.rooms {
		out = append(out, r)
	}
	s.mu.Unlock()
	slices.SortFunc(out, func(a, b *room) int { return strings.Compare(a.jid.String(), b.jid.String()) })
	return out
}

func (s *Service) room(jid stanza.JID) *room {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.rooms[jid.Bare()]
}

// Shutdown tells all occupants that the service goes down (status 332, XEP-0045 §16), refuses further stanzas and
// returns when what was said before is on disk and out, or ctx has ended. The archive must be open until then.
func (s *Service) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	already := s.closed
	s.closed = true
	s.mu.Unlock()
	if already {
		return nil
	}
	for _, r := range s.all() {
		r.shutdown()
	}
	return s.tasks.wait(ctx)
}

// Counters are numbers for metrics: those ending in _total only grow, the others are as they are now.
func (s *Service) Counters() map[string]uint64 {
	s.mu.Lock()
	n := len(s.rooms)
	s.mu.Unlock()
	c := &s.count
	m := map[string]uint64{
		"rooms": uint64(n), "occupants": uint64(max(0, c.occupants.Load())),
		"rooms_created_total": c.created.Load(), "rooms_destroyed_total": c.destroyed.Load(),
		"joins_total": c.joins.Load(), "join_errors_total": c.joinErrors.Load(),
		"groupchat_total": c.messages.Load(), "private_messages_total": c.private.Load(), "private_iqs_total": c.iqs.Load(),
		"presences_total": c.presences.Load(), "removed_total": c.kicks.Load(), "ghosts_total": c.ghosts.Load(),
		"rate_limited_total": c.limited.Load(), "overflows_total": c.overflows.Load(), "store_errors_total": c.storeErrors.Load(), "moderated_total": c.moderated.Load(),
	}
	if s.archive != nil {
		m["archived_total"], m["archive_queries_total"], m["tombstones_total"] = c.archived.Load(), c.queries.Load(), c.tombstones.Load()
	}
	return m
}
