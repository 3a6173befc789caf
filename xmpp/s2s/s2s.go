package s2s

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"konzil/internal/finish"
	"konzil/internal/ledger"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

const (
	nsTLS      = "urn:ietf:params:xml:ns:xmpp-tls"
	nsSASL     = "urn:ietf:params:xml:ns:xmpp-sasl"
	nsSM       = "urn:xmpp:sm:3"
	nsDialback = "jabber:server:dialback"
	nsFeature  = "urn:xmpp:features:dialback"
)

// Config is what federation needs to know. Zero limits take the defaults of DefaultConfig.
type Config struct {
	TLS    *tls.Config    // the server's certificate; also shown to the servers that we dial
	Roots  *x509.CertPool // who may sign other servers' certificates; nil: the system's
	Secret []byte         // of dialback keys (XEP-0185)
	Policy Policy

	// RequireCertificate refuses servers without a valid certificate for their domain; without it dialback (XEP-0220) proves who they are, over TLS
	// all the same.
	RequireCertificate bool
	// AllowPrivate dials addresses of private networks and of the machine itself.
	AllowPrivate bool
	Resolver     Resolver // nil: the system's
	// Ledger remembers what is under way over a restart; nil: that comes back to its senders.
	Ledger *ledger.Ledger

	Limits Limits
}

// Limits is what other servers may cost.
type Limits struct {
	Stanza    stanza.Limits // after authentication
	PreAuth   stanza.Limits
	RateBytes int // bytes a second of one incoming stream
	RateBurst int
	Incoming  int // streams at a time
	PerPeer   int // of these from one address (an IPv6 /64)
	Pairs     int // pairs of domains on one incoming stream
	Verifying int // dialback keys being checked for one incoming stream

	QueueStanzas int // waiting for one remote domain; more come back with resource-constraint
	QueueBytes   int
	Links        int // remote domains at a time

	ConnectTimeout time.Duration // from the first stanza to an authenticated stream
	DialTimeout    time.Duration // of one address
	WriteTimeout   time.Duration
	IdleTimeout    time.Duration // a link without traffic is closed
	RetryMin       time.Duration // after a failure what comes is refused at once for that long; doubled each time
	RetryMax       time.Duration
	ResumeTimeout  time.Duration // a broken incoming stream can be resumed for that long
	Unacked        int           // sent, not acknowledged
	AckEvery       int           // ask after that many stanzas
}

// DefaultLimits suit a campus: Prosody's and ejabberd's sizes.
func DefaultLimits() Limits {
	return Limits{
		Stanza:    stanza.Limits{Bytes: 512 << 10, Depth: 64, Elements: 20_000, Attrs: 128, Bindings: 64},
		PreAuth:   stanza.Limits{Bytes: 10_000, Depth: 8, Elements: 32, Attrs: 32, Bindings: 16},
		RateBytes: 512 << 10, RateBurst: 1 << 20,
		Incoming: 2000, PerPeer: 50, Pairs: 100, Verifying: 10,
		QueueStanzas: 10_000, QueueBytes: 4 << 20, Links: 5000,
		ConnectTimeout: 30 * time.Second, DialTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: 15 * time.Minute, RetryMin: 5 * time.Second, RetryMax: 2 * time.Minute,
		ResumeTimeout: 10 * time.Minute, Unacked: 2000, AckEvery: 20,
	}
}

// Service is the federation of one server. Use New, give it to xmpp.Server.Remote, and serve listeners.
type Service struct {
	cfg    Config
	srv    *xmpp.Server
	log    *slog.Logger
	secret string
	ctx    context.Context // ends with Shutdown
	cancel context.CancelFunc
	lists  atomic.Pointer[Lists]
	wg     sync.WaitGroup

	mu      sync.Mutex // guards all below
	closing bool
	links   map[pair]*link
	lost    map[pair]time.Time // when a stream broke for which nothing waited: the next link is as patient as if it had
	back    map[pair]*wayBack  // of streams that other servers opened
	lns     map[net.Listener]struct{}
	streams map[*incoming]struct{}
	peers   map[string]int        // incoming streams by address
	active  map[string]*incoming  // streams whose session can be resumed, by its id
	asleep  map[string]*inSession // sessions without a stream that can be resumed

	count counters
}

type counters struct {
	opened, refused, failed, incoming, sent, received, bounced, overflow, forged, resumed, verified, invalid, backward atomic.Uint64
}

// pair is who speaks to whom.
type pair struct{ local, remote string }

// New makes the federation of srv.
func New(cfg Config, srv *xmpp.Server, log *slog.Logger) (*Service, error) {
	if cfg.TLS == nil || len(cfg.Secret) < 16 {
		return nil, errors.New("s2s: a certificate and a secret are needed")
	}
	if cfg.Limits == (Limits{}) {
		cfg.Limits = DefaultLimits()
	}
	if cfg.Resolver == nil {
		cfg.Resolver = net.DefaultResolver
	}
	sum := sha256.Sum256(cfg.Secret)
	s := &Service{
		cfg: cfg, srv: srv, log: log, secret: hex.EncodeToString(sum[:]), links: map[pair]*link{}, lost: map[pair]time.Time{}, back: map[pair]*wayBack{}, lns: map[net.Listener]struct{}{},
		streams: map[*incoming]struct{}{}, peers: map[string]int{}, active: map[string]*incoming{}, asleep: map[string]*inSession{},
	}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s, nil
}

// HandleStanza takes a stanza for another server. It never blocks.
func (s *Service) HandleStanza(st *stanza.Stanza) {
	p := pair{st.From.Domain(), st.To.Domain()}
	if !s.srv.Serves(p.local) {
		s.bounce(st, stanza.ErrRemoteServerNotFound)
		return
	}
	if !s.cfg.Policy.allows(p.remote) || !s.allows(st.To) || !s.cfg.Policy.allowsAccount(st.From) {
		s.count.refused.Add(1)
		s.bounce(st, stanza.ErrNotAllowed.With("This server does not exchange messages with "+p.remote))
		return
	}
	s.mu.Lock()
	l := s.links[p]
	if l == nil {
		if s.closing || len(s.links) >= s.cfg.Limits.Links {
			s.mu.Unlock()
			s.bounce(st, stanza.ErrResourceConstraint)
			return
		}
		l = s.newLink(p, s.cfg.Ledger.New(linkName+p.local+" "+p.remote))
	}
	err := l.push(st)
	s.mu.Unlock()
	if err != nil {
		s.bounce(st, err)
	}
}

// bounce answers what could not be delivered (RFC 6120 §10.4).
func (s *Service) bounce(st *stanza.Stanza, e *stanza.Error) {
	if st.Kind == stanza.Presence && st.Type != "" {
		return
	}
	if r := st.ErrorReply(e); r != nil {
		s.count.bounced.Add(1)
		s.srv.Route(r)
	}
}

// run starts f as a goroutine that Shutdown waits for; false: too late. s.mu is held.
func (s *Service) runLocked(f func()) bool {
	if s.closing {
		return false
	}
	s.wg.Go(f)
	return true
}

// Shutdown ends all streams. What waits for other servers is remembered, or without a ledger comes back to its senders, so it goes before the messaging
// server's.
func (s *Service) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.closing = true
	for ln := range s.lns {
		_ = ln.Close()
	}
	for in := range s.streams {
		in.end(stanza.NewStreamError("system-shutdown", ""))
	}
	for id, x := range s.asleep {
		x.timer.Stop()
		delete(s.asleep, id)
	}
	s.mu.Unlock()
	s.cancel()
	return finish.Wait(ctx, &s.wg)
}

// The directions of a stream (XEP-0485 §4).
const (
	Incoming      = "incoming"
	Outgoing      = "outgoing"
	Bidirectional = "bidi"
)

// Why tells why the last try to reach another server has failed; nil: it has not.
func (s *Service) Why(remote string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, l := range s.links {
		if p.remote == remote && l.why != nil {
			return l.why
		}
	}
	return nil
}

// Reached tells whether another server has a stream to here that it has opened itself.
func (s *Service) Reached(remote string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for in := range s.streams {
		for p := range in.allPairs() {
			if p.remote == remote {
				return true
			}
		}
	}
	return false
}

// Connections are the directions of the streams that have been proved, by the other server's domain.
func (s *Service) Connections() map[string][]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string][]string{}
	for p, l := range s.links {
		if l.direction != "" {
			out[p.remote] = append(out[p.remote], l.direction)
		}
	}
	for in := range s.streams {
		direction := Incoming
		if in.back != nil {
			direction = Bidirectional
		}
		remotes := map[string]bool{}
		for p := range in.allPairs() {
			remotes[p.remote] = true
		}
		for remote := range remotes {
			out[remote] = append(out[remote], direction)
		}
	}
	return out
}

// Counters are numbers for metrics; outgoing and incoming are gauges.
func (s *Service) Counters() map[string]uint64 {
	s.mu.Lock()
	links, streams := len(s.links), len(s.streams)
	s.mu.Unlock()
	c := &s.count
	return map[string]uint64{
		"outgoing": uint64(links), "incoming": uint64(streams),
		"streams_out_total": c.opened.Load(), "streams_in_total": c.incoming.Load(), "refused_total": c.refused.Load(), "failed_total": c.failed.Load(),
		"stanzas_out_total": c.sent.Load(), "stanzas_in_total": c.received.Load(), "bounced_total": c.bounced.Load(), "overflow_total": c.overflow.Load(),
		"forged_total": c.forged.Load(), "resumed_total": c.resumed.Load(), "dialback_valid_total": c.verified.Load(), "dialback_invalid_total": c.invalid.Load(),
	}
}
