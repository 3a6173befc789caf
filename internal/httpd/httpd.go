// Package httpd is the one HTTPS server: the meeting page, XMPP over WebSocket, health and metrics. Whoever serves a path
// registers a handler; the server knows nothing of what they do.
//
// The path of a request:
//
//  1. net/http accepts (its goroutine per connection), limits headers and time, does TLS with HTTP/2 or 1.1 by ALPN.
//     WebSocket clients ask for HTTP/1.1 (RFC 6455 §4.1).
//  2. limitListener (listen.go) bounds connections in all and per address.
//     Where the port is shared with TURN, sortListener (sort.go, a goroutine for the handshake of each connection) does TLS and hands over
//     what speaks STUN.
//  3. Server.serve (httpd.go, the connection's or stream's goroutine) sets the headers that all answers have, counts, and
//     passes on by pattern (net/http.ServeMux).
//  4. /health/*, /metrics (status.go) and what rooms add under /debug/, /colibri/ and /about/ answer only to loopback peers, or on the admin listener when there is one.
package httpd

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"konzil/internal/oops"
)

// Config is where to listen and what to bear.
type Config struct {
	Listen  []netip.AddrPort // HTTPS; port 0 lets the kernel choose
	Setting string           // name of the setting behind Listen, for messages; empty: http.listen
	TLS     *tls.Config      // NextProtos is set by New; nil: plain HTTP, for tests and behind a proxy on this machine

	// STUN takes connections of Listen that speak STUN or TURN over TLS instead of HTTP; nil: there are none.
	STUN func(net.Conn)

	Admin        []netip.AddrPort // plain HTTP for health and metrics alone; empty: on Listen, for loopback peers
	AdminSetting string           // name of the setting behind Admin; empty: http.admin

	MaxConnections int // at a time, in all
	PerAddress     int // connections at a time of one client address
	HeaderBytes    int // of a request line and headers

	HeaderTimeout time.Duration // for the TLS handshake and the headers
	IdleTimeout   time.Duration // of a connection between requests
}

// DefaultConfig has limits that suit a public server, and no listener.
func DefaultConfig() Config {
	return Config{
		MaxConnections: 20_000, // one per person in a meeting (WebSocket), about 20 kB each
		PerAddress:     2_000,  // a campus behind one NAT address
		HeaderBytes:    16 << 10,
		HeaderTimeout:  10 * time.Second,
		IdleTimeout:    2 * time.Minute,
	}
}

// Server is the HTTPS server. Handle and the Add methods come before Start.
type Server struct {
	cfg     Config
	log     *slog.Logger
	mux     *http.ServeMux // for everybody
	private *http.ServeMux // health and metrics
	status  status
	count   struct{ requests, errors, refused atomic.Uint64 }

	servers   []*http.Server
	listeners []net.Listener
	addrs     []netip.AddrPort
	admin     []netip.AddrPort
	running   sync.WaitGroup
}

// New opens the listeners, so that a port that is taken shows at once; nothing is accepted before Start. Errors are for the
// operator.
func New(cfg Config, log *slog.Logger) (*Server, error) {
	if cfg.Setting == "" {
		cfg.Setting = "http.listen"
	}
	if cfg.AdminSetting == "" {
		cfg.AdminSetting = "http.admin"
	}
	s := &Server{cfg: cfg, log: log, mux: http.NewServeMux(), private: http.NewServeMux()}
	s.status.init(s.stats)
	s.private.HandleFunc("GET /health/live", s.status.live)
	s.private.HandleFunc("GET /health/ready", s.status.ready)
	s.private.HandleFunc("GET /health", s.status.ready)
	s.private.HandleFunc("GET /about/health", s.status.ready) // where a Jitsi bridge has it
	s.private.Handle("GET /metrics", s.status.metrics())
	limit := &limits{total: cfg.MaxConnections, each: cfg.PerAddress, refused: &s.count.refused, byAddr: map[netip.Addr]int{}}
	if err := s.listen(cfg.Listen, cfg.Setting, cfg.TLS, http.HandlerFunc(s.serve), limit, &s.addrs); err != nil {
		return nil, err
	}
	// A page of another site, in a browser on the operator's machine, may order nothing here (cross-site request forgery).
	private := http.NewCrossOriginProtection().Handler(s.private)
	if err := s.listen(cfg.Admin, cfg.AdminSetting, nil, private, limit, &s.admin); err != nil {
		return nil, err
	}
	if len(cfg.Admin) == 0 {
		guard := loopbackOnly(private)
		for _, path := range []string{"/health", "/health/", "/metrics", "/debug/", "/colibri/", "/about/"} {
			s.mux.Handle(path, guard)
		}
	}
	return s, nil
}

// listen opens addresses that are served by h.
func (s *Server) listen(addrs []netip.AddrPort, setting string, t *tls.Config, h http.Handler, limit *limits, got *[]netip.AddrPort) error {
	if len(addrs) == 0 {
		return nil
	}
	if t != nil {
		t = t.Clone()
		t.NextProtos = []string{"h2", "http/1.1"}
		if s.cfg.STUN != nil {
			t.NextProtos = append(t.NextProtos, stunProtocols...)
		}
	}
	srv := &http.Server{
		Handler: h, TLSConfig: t, MaxHeaderBytes: s.cfg.HeaderBytes,
		ReadHeaderTimeout: s.cfg.HeaderTimeout, IdleTimeout: s.cfg.IdleTimeout,
		ConnContext: connContext,
		// No ReadTimeout and WriteTimeout: they would end WebSockets. Bodies are bounded in time by BodyTimeout.
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug), // clients' TLS errors, mostly
	}
	for _, a := range addrs {
		network := "tcp6"
		if a.Addr().Unmap().Is4() {
			network = "tcp4"
		}
		l, err := net.Listen(network, a.String())
		if err != nil {
			s.closeListeners()
			return oops.Listen("httpd", a.String(), setting, err)
		}
		*got = append(*got, l.Addr().(*net.TCPAddr).AddrPort())
		l = &limitListener{Listener: l, limits: limit}
		if t != nil && s.cfg.STUN != nil {
			l = newSortListener(l, t, s.cfg.HeaderTimeout, s.cfg.STUN, &s.count.refused)
		}
		s.listeners = append(s.listeners, l)
		s.servers = append(s.servers, srv)
	}
	return nil
}

func (s *Server) closeListeners() {
	for _, l := range s.listeners {
		l.Close()
	}
}

// Handle serves a pattern of net/http.ServeMux. It must come before Start.
func (s *Server) Handle(pattern string, h http.Handler) { s.mux.Handle(pattern, h) }

// HandlePrivate adds what only the operator may see: it is served where health and metrics are, on the HTTPS port only what lies under /debug/,
// /colibri/ and /about/.
func (s *Server) HandlePrivate(pattern string, h http.Handler) { s.private.Handle(pattern, h) }

// Start accepts connections.
func (s *Server) Start() {
	for i, l := range s.listeners {
		srv := s.servers[i]
		s.running.Go(func() {
			var err error
			if _, sorted := l.(*sortListener); srv.TLSConfig != nil && !sorted {
				err = srv.ServeTLS(l, "", "")
			} else {
				err = srv.Serve(l)
			}
			if err != nil && !errors.Is(err, http.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
				s.log.Error("HTTP listener ended", "addr", l.Addr(), "err", err)
			}
		})
	}
}

// Addrs are the addresses that HTTPS is served on, in the order of the configuration.
func (s *Server) Addrs() []netip.AddrPort { return s.addrs }

// AdminAddrs are the addresses of the admin listener.
func (s *Server) AdminAddrs() []netip.AddrPort { return s.admin }

// Shutdown takes no new connections, waits for requests to end until ctx does, and closes what is left. Connections that a
// handler has taken over (WebSockets) are their owners' to end.
func (s *Server) Shutdown(ctx context.Context) error {
	s.status.stopping.Store(true)
	s.closeListeners() // also before Start
	var errs []error
	for i, srv := range s.servers {
		if i > 0 && srv == s.servers[i-1] {
			continue
		}
		if err := srv.Shutdown(ctx); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err, srv.Close())
		}
	}
	s.running.Wait()
	return errors.Join(errs...)
}

// serve is the handler of all public requests.
func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	s.count.requests.Add(1)
	if state, ok := r.Context().Value(tlsState{}).(*tls.ConnectionState); ok && r.TLS == nil {
		r.TLS = state
	}
	secure(w.Header())
	if r.TLS != nil {
		// For a day only: an operator who goes back to plain HTTP is not locked out for long. Never for localhost, which other
		// programs of the machine share.
		if host, _, err := net.SplitHostPort(r.Host); err == nil && host != "localhost" || err != nil && r.Host != "localhost" {
			w.Header().Set("Strict-Transport-Security", "max-age=86400") // RFC 6797
		}
	}
	defer func() {
		if p := recover(); p != nil {
			s.count.errors.Add(1)
			if p != http.ErrAbortHandler {
				s.log.Error("panic in a handler", "path", r.URL.Path, "panic", p)
			}
			panic(http.ErrAbortHandler) // net/http closes the connection
		}
	}()
	s.mux.ServeHTTP(w, r)
}

func (s *Server) stats() map[string]uint64 {
	return map[string]uint64{
		"requests":            s.count.requests.Load(),
		"handler_panics":      s.count.errors.Load(),
		"connections_refused": s.count.refused.Load(),
	}
}

// secure sets the headers of all answers. What is no page may show nothing and run nothing; a page sets a Content-Security-Policy of its own, or
// takes this one away.
func secure(h http.Header) {
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer") // a meeting's name is a secret of sorts
	h.Set("Cross-Origin-Resource-Policy", "cross-origin")
}

// LimitBody bounds the body of a request in bytes and in time, for handlers that read one; n bytes are the most.
func LimitBody(w http.ResponseWriter, r *http.Request, n int64, timeout time.Duration) {
	r.Body = http.MaxBytesReader(w, r.Body, n)
	_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(timeout)) // not supported by test recorders
}
