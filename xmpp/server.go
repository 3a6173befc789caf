package xmpp

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"konzil/internal/finish"
	"konzil/internal/slots"
	"konzil/xmpp/stanza"
)

// Server owns the sessions and routes between them, mounted domains and hooks.
//
// Invariants: no lock of Server or Session is held while a hook, a Handler or a write runs, but Session.showing; Server.mu may be taken before Session.mu, never
// after it.
type Server struct {
	cfg      Config
	accounts Accounts
	log      *slog.Logger
	hooks    Hooks
	count    counters
	backoff  *backoff
	buffers  bufferPool // to write
	inputs   bufferPool // to read
	flushers flushers
	elements stanza.Buffers
	peers    pendingPeers
	holds    holds
	bosh     boshSessions
	ctx      context.Context // ends with Shutdown: bounds questions to the account system
	cancel   context.CancelFunc

	mu      sync.RWMutex // guards all below
	byBare  map[stanza.JID][]*Session
	bySM    map[string]*Session
	ended   endedSM
	ending  map[stanza.JID]chan struct{} // sessions whose end is under way, closed when it is over (endOf)
	streams map[*stream]struct{}
	lns     map[net.Listener]struct{}
	closing bool

	lost []*Session // restored, but not to be resumed; before serving only

	restored atomic.Pointer[deliveries] // nil once the start is over
	mounted  map[string]Handler         // written before Serve only
	under    []mountedUnder             // likewise
	remote   Handler                    // for all other domains; written before Serve only
	wg       sync.WaitGroup             // serving goroutines, flushers and timers at work
}

// New makes a server; hooks and handlers are attached before it serves.
func New(cfg Config, accounts Accounts, log *slog.Logger) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	if accounts == nil {
		return nil, errors.New("xmpp: no accounts")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		cfg: cfg, accounts: accounts, log: log, backoff: newBackoff(),
		byBare: map[stanza.JID][]*Session{}, bySM: map[string]*Session{}, mounted: map[string]Handler{},
		streams: map[*stream]struct{}{}, lns: map[net.Listener]struct{}{},
		ended: endedSM{h: map[string]endedEntry{}}, ending: map[stanza.JID]chan struct{}{}, bosh: boshSessions{reading: slots.New[string](boshReading, boshReadingEach)}, inputs: bufferPool{size: inputBuffer},
	}
	if s.cfg.TLS = captureLeaf(cfg.TLS); s.cfg.TLS != nil && cfg.ClientCAs != nil {
		askCertificates(s.cfg.TLS)
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	// RFC 3921 §3 wanted a session after bind; old clients still ask for it.
	legacy := func(_ *Session, iq *stanza.Stanza) *stanza.Stanza { return iq.Result() }
	s.hooks.IQ(ToServer, nsSession, "session", legacy)
	s.hooks.IQ(ToAccount, nsSession, "session", legacy)
	return s, nil
}

// Hooks is where features attach, before serving.
func (s *Server) Hooks() *Hooks { return &s.hooks }

// Accounts is what New was given.
func (s *Server) Accounts() Accounts { return s.accounts }

// Domain is the main domain.
func (s *Server) Domain() string { return s.cfg.Domain }

// GuestDomain is the domain of ANONYMOUS users, "" for none.
func (s *Server) GuestDomain() string { return s.cfg.GuestDomain }

// Mount gives a whole domain to h, before serving. It panics on a domain that is taken: that is a mistake of the program.
func (s *Server) Mount(domain string, h Handler) {
	if s.mounted[domain] != nil || s.local(domain) && !s.service(domain) {
		panic("xmpp: domain mounted twice: " + domain)
	}
	s.mounted[domain] = h
}

// mountedUnder is a handler of many domains: prefix, a label or more, and suffix.
type mountedUnder struct {
	prefix, suffix string
	h              Handler
}

// MountUnder gives h all domains that begin with prefix and end in suffix with one or more labels between, as conference.TENANT.example.org, but those
// that are mounted by themselves; before serving.
func (s *Server) MountUnder(prefix, suffix string, h Handler) {
	s.under = append(s.under, mountedUnder{prefix + ".", "." + suffix, h})
}

// handler is who owns a domain that is not of accounts, nil if nobody does.
func (s *Server) handler(domain string) Handler {
	if h := s.mounted[domain]; h != nil || len(s.under) == 0 || s.local(domain) {
		return h
	}
	for _, m := range s.under {
		if len(domain) > len(m.prefix)+len(m.suffix) && strings.HasPrefix(domain, m.prefix) && strings.HasSuffix(domain, m.suffix) {
			return m.h
		}
	}
	return nil
}

// Remote gives everything for domains that are not served here to h, before serving.
func (s *Server) Remote(h Handler) { s.remote = h }

// Serves tells whether a domain is one of ours.
func (s *Server) Serves(domain string) bool { return s.serves(domain) }

// GuestsOnly tells whether a domain of ours is for guests alone: nobody from elsewhere has business there.
func (s *Server) GuestsOnly(domain string) bool {
	return s.cfg.GuestDomain != "" && (domain == s.cfg.GuestDomain || slices.Contains(s.cfg.GuestDoors, domain))
}

func (s *Server) local(domain string) bool {
	return domain == s.cfg.Domain || s.GuestsOnly(domain) || s.service(domain)
}

// Sessions are the sessions of an account, hibernating ones included, in the order they were bound. The slice is for reading: it is that of the table, which
// bind and forget replace.
func (s *Server) Sessions(bare stanza.JID) []*Session {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.Clip(s.byBare[bare.Bare()])
}

// AllSessions are the sessions of all accounts and guests, in no order.
func (s *Server) AllSessions() (out []*Session) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, list := range s.byBare {
		out = append(out, list...)
	}
	return out
}

// Session is the session with that full JID, or nil.
func (s *Server) Session(full stanza.JID) *Session {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, x := range s.byBare[full.Bare()] {
		if x.jid == full {
			return x
		}
	}
	return nil
}

// forget takes x out of the tables.
func (s *Server) forget(x *Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forgetLocked(x)
}

// endOf is forget for a session that ends: until over is called nobody gets its address, so that what it had not delivered is not routed to a client that
// has yet to say what it can take.
func (s *Server) endOf(x *Session) (over func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.forgetLocked(x) {
		return func() {}
	}
	done := make(chan struct{})
	s.ending[x.jid] = done
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.ending, x.jid)
		close(done)
	}
}

// forgetLocked is forget; false: x was out of the tables already.
func (s *Server) forgetLocked(x *Session) bool {
	bare := x.jid.Bare()
	list := s.byBare[bare]
	i := slices.Index(list, x)
	if i < 0 {
		return false
	}
	// a new slice: readers may hold the old one
	list = slices.Concat(list[:i], list[i+1:])
	if len(list) == 0 {
		delete(s.byBare, bare)
	} else {
		s.byBare[bare] = list
	}
	if x.smid != "" {
		delete(s.bySM, x.smid)
	}
	s.count.sessions.Add(-1)
	return true
}

// bound tells that st has, or had, a session: its end comes from that.
func (s *Server) bound(st *stream) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return st.hasSession
}

// track registers a stream so that Shutdown finds it; false: we are closing.
func (s *Server) track(st *stream) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.streams[st] = struct{}{}
	s.wg.Add(1)
	return true
}

func (s *Server) untrack(st *stream) {
	s.mu.Lock()
	delete(s.streams, st)
	s.mu.Unlock()
	s.wg.Done()
}

func (s *Server) isClosing() bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.closing
}

// run starts f as a goroutine that Shutdown waits for; false: too late.
func (s *Server) run(f func()) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closing {
		return false
	}
	s.wg.Go(f)
	return true
}

// Shutdown closes the listeners, tells every stream system-shutdown after what waits in its outbox, ends hibernating sessions (their
// messages go to the offline hooks), and waits for all of it or for ctx.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	for ln := range s.lns {
		_ = ln.Close()
	}
	var streams []*stream
	for st := range s.streams {
		streams = append(streams, st)
	}
	var all []*Session
	for _, list := range s.byBare {
		all = append(all, list...)
	}
	s.mu.Unlock()
	for _, x := range all {
		x.shutdown()
	}
	for _, st := range streams {
		if !s.bound(st) {
			st.abort()
		}
	}
	err := finish.Wait(ctx, &s.wg)
	if err != nil {
		for _, st := range streams {
			st.wire.abandon()
		}
	}
	s.flushers.close()
	s.cancel()
	return err
}
