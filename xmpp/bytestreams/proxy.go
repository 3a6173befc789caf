package bytestreams

import (
	"context"
	"crypto/sha1" // XEP-0065 §5.3.2 names it; what is hashed is no secret
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"konzil/internal/accept"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

const (
	nsBytestreams = "http://jabber.org/protocol/bytestreams"

	handshakeTime = 10 * time.Second // for a connection to say which stream it is for
	activateTime  = time.Minute      // for a stream to be activated, from its first connection
	idleTime      = 5 * time.Minute  // without a byte in either direction
	maxParked     = 1000             // connections that are not activated, in all
	maxParkedEach = 50               // of one address: a campus behind NAT has few at a time
)

// Config of the proxy. Rates are bytes a second in each direction, 0 is no limit.
type Config struct {
	Domain string // of the service: proxy.example.org
	Host   string // name or address that clients connect to
	Port   int    // likewise

	MaxStreams   int // at a time, in all
	PerAccount   int // at a time, of one initiator
	StreamRate   int
	AccountRate  int
	May          func(initiator stanza.JID) bool // who may use it; gets bare addresses
	handshake    time.Duration                   // 0: handshakeTime; tests have less of it
	activate     time.Duration                   // 0: activateTime
	idle         time.Duration                   // 0: idleTime
	lookInterval time.Duration                   // 0: a tenth of idle; how often a silent direction looks whether the other one is, too
}

// Proxy is the service's domain and its listeners. Use New, mount it and Serve.
type Proxy struct {
	xmpp.IQService
	cfg Config
	log *slog.Logger

	mu       sync.Mutex // guards all below
	closed   bool
	lns      map[net.Listener]struct{}
	conns    map[net.Conn]struct{} // all that are open
	parked   map[netip.Addr]int    // not activated, by address
	nParked  int
	pairs    map[string]*pair // not activated, by hash
	accounts map[stanza.JID]*account
	streams  int

	running sync.WaitGroup
	ctx     context.Context
	cancel  context.CancelFunc

	count struct{ connections, refused, badHandshakes, expired, activated, denied, bytes, idle atomic.Uint64 }
}

// New makes the proxy.
func New(cfg Config, router xmpp.Router, log *slog.Logger) (*Proxy, error) {
	domain, err := stanza.ParseJID(cfg.Domain)
	if err != nil {
		return nil, err
	}
	if cfg.May == nil || cfg.Host == "" || cfg.MaxStreams < 1 || cfg.PerAccount < 1 {
		return nil, errors.New("bytestreams: the proxy needs a host, limits, and to know who may use it")
	}
	for _, d := range []struct{ set, usual *time.Duration }{{&cfg.handshake, new(handshakeTime)}, {&cfg.activate, new(activateTime)}, {&cfg.idle, new(idleTime)}} {
		if *d.set == 0 {
			*d.set = *d.usual
		}
	}
	if cfg.lookInterval == 0 {
		cfg.lookInterval = cfg.idle / 10
	}
	p := &Proxy{
		cfg: cfg, log: log, lns: map[net.Listener]struct{}{}, conns: map[net.Conn]struct{}{}, parked: map[netip.Addr]int{}, pairs: map[string]*pair{},
		accounts: map[stanza.JID]*account{},
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	p.IQService = xmpp.IQService{
		Router: router, JID: domain, Category: "proxy", Type: "bytestreams", Name: "SOCKS5 Bytestreams", Features: []string{nsBytestreams}, Answer: p.answer,
	}
	return p, nil
}

// Counters are numbers for metrics.
func (p *Proxy) Counters() map[string]uint64 {
	p.mu.Lock()
	waiting, streams := p.nParked, p.streams
	p.mu.Unlock()
	c := &p.count
	return map[string]uint64{
		"connections_total": c.connections.Load(), "connections_refused_total": c.refused.Load(), "handshakes_failed_total": c.badHandshakes.Load(),
		"connections_waiting_now": uint64(waiting), "expired_total": c.expired.Load(), "streams_now": uint64(streams), "streams_total": c.activated.Load(),
		"requests_denied_total": c.denied.Load(), "bytes_total": c.bytes.Load(), "idle_closed_total": c.idle.Load(),
	}
}

// answer tells the address (XEP-0065 §4.1) or activates a stream (§6.3.5).
func (p *Proxy) answer(iq *stanza.Stanza) *stanza.Stanza {
	q := iq.Child(nsBytestreams, "query")
	if q == nil {
		return nil
	}
	if !p.cfg.May(iq.From.Bare()) {
		p.count.denied.Add(1)
		return iq.ErrorReply(stanza.ErrForbidden)
	}
	if iq.Type == "get" {
		return iq.Result(stanza.NewElement(nsBytestreams, "query").Add(
			stanza.NewElement(nsBytestreams, "streamhost", "jid", p.JID.String(), "host", p.cfg.Host, "port", strconv.Itoa(p.cfg.Port))))
	}
	sid, target := q.Attr("sid"), q.Child(nsBytestreams, "activate")
	to, err := stanza.ParseJID(target.Text())
	if target == nil || sid == "" || err != nil || to.IsZero() {
		return iq.ErrorReply(stanza.ErrBadRequest)
	}
	if bad := p.activate(name(sid, iq.From, to), iq.From.Bare()); bad != nil {
		p.count.denied.Add(1)
		return iq.ErrorReply(bad)
	}
	p.count.activated.Add(1)
	return iq.Result()
}

// name is what both ends call a stream (§5.3.2).
func name(sid string, initiator, target stanza.JID) string {
	sum := sha1.Sum([]byte(sid + initiator.String() + target.String()))
	return hex.EncodeToString(sum[:])
}

// Serve takes connections until the listener or the proxy is closed; it returns nil for the latter.
func (p *Proxy) Serve(ln net.Listener) error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return ln.Close()
	}
	p.lns[ln] = struct{}{}
	p.mu.Unlock()
	return accept.Loop(ln, p.log, func() bool { return p.ctx.Err() != nil }, func(c net.Conn) {
		p.count.connections.Add(1)
		if !p.admit(c) {
			p.count.refused.Add(1)
			_ = c.Close()
		}
	})
}

// Close ends everything.
func (p *Proxy) Close() {
	p.mu.Lock()
	p.closed = true
	p.cancel()
	for ln := range p.lns {
		_ = ln.Close()
	}
	for c := range p.conns {
		_ = c.Close()
	}
	for _, w := range p.pairs {
		w.timer.Stop()
	}
	p.mu.Unlock()
	p.running.Wait()
}
