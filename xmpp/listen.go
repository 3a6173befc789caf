package xmpp

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"konzil/internal/accept"
	"konzil/internal/ws"
)

// ServeTCP serves client streams on ln that must begin with STARTTLS (RFC 6120 §5). It returns nil after Shutdown.
func (s *Server) ServeTCP(ln net.Listener) error {
	return s.serve(ln, false)
}

// ServeTLS serves client streams on ln that begin with TLS (XEP-0368). It returns nil after Shutdown.
func (s *Server) ServeTLS(ln net.Listener) error {
	return s.serve(ln, true)
}

func (s *Server) serve(ln net.Listener, direct bool) error {
	if s.cfg.TLS == nil {
		return errors.New("xmpp: TCP needs a TLS configuration")
	}
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return ln.Close()
	}
	s.lns[ln] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.lns, ln)
		s.mu.Unlock()
	}()
	closing := func() bool {
		s.mu.RLock()
		defer s.mu.RUnlock()
		return s.closing
	}
	return accept.Loop(ln, s.log, closing, func(c net.Conn) { go s.serveConn(c, direct) })
}

// serveConn runs one TCP stream to its end. It and what it calls until the stream waits have small frames: the runtime keeps 8 KB for a stack that uses
// more than 2, of which it reserves 0.8, and 4 KB for another (TestIdleStack).
func (s *Server) serveConn(c net.Conn, direct bool) {
	st := s.newTCPStream(c)
	if !s.admit(st) {
		st.wire.abandon()
		return
	}
	defer s.untrack(st)
	defer st.wire.abandon()
	st.wire.readDeadline(st.deadline)
	if !direct || st.directTLS() {
		st.serve()
	}
}

func (s *Server) newTCPStream(c net.Conn) *stream {
	w := s.newTCPWire(s.meter(c))
	return &stream{srv: s, wire: w, tcp: w, peer: accept.Peer(c.RemoteAddr())}
}

// directTLS is the handshake of a stream that begins with TLS; false: it failed, and the stream is over.
func (st *stream) directTLS() bool {
	ctx, cancel := context.WithDeadline(st.srv.ctx, st.deadline)
	defer cancel()
	if err := st.tcp.startTLS(ctx, st.srv.cfg.TLS); err != nil {
		st.settle()
		st.srv.log.Debug("TLS handshake", "address", st.wire.remote().String(), "err", err)
		return false
	}
	return true
}

// admit counts a new stream and starts its clock; false: too many that have not logged in, or we are closing.
func (s *Server) admit(st *stream) bool {
	st.deadline = time.Now().Add(s.cfg.Limits.NegotiationTimeout)
	if !s.track(st) { // first: what comes after it is over when Shutdown is
		s.count.streamsRefused.Add(1)
		return false
	}
	if !s.peers.add(st.peer, s.cfg.Limits.PendingPerPeer) {
		s.untrack(st)
		s.count.streamsRefused.Add(1)
		return false
	}
	if n := s.count.streamsPending.Add(1); n > int64(s.cfg.Limits.Pending) {
		s.peers.done(st.peer)
		s.count.streamsPending.Add(-1)
		s.untrack(st)
		s.count.streamsRefused.Add(1)
		return false
	}
	s.count.streamsOpened.Add(1)
	st.pending = true
	return true
}

// pendingPeers counts streams that have not logged in, by where they come from.
type pendingPeers struct {
	mu sync.Mutex // guards n
	n  map[string]int
}

// add counts one more; false: there are limit of them.
func (p *pendingPeers) add(peer string, limit int) bool {
	if peer == "" || limit <= 0 {
		return true
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.n[peer] >= limit {
		return false
	}
	if p.n == nil {
		p.n = map[string]int{}
	}
	p.n[peer]++
	return true
}

func (p *pendingPeers) done(peer string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch n := p.n[peer]; {
	case n > 1:
		p.n[peer] = n - 1
	case n == 1:
		delete(p.n, peer)
	}
}

// queryKept are the arguments of the URL of a WebSocket or of BOSH that a session keeps.
var queryKept = []string{"room", "prefix", "previd", "token", "customusername", "vnode"}

// maxQueryValue bounds one of them; a token with many claims is the longest.
const maxQueryValue = 8 << 10

func keptQuery(r *http.Request) url.Values {
	params, query := url.Values{}, r.URL.Query()
	for _, k := range queryKept {
		if v := query.Get(k); v != "" && len(v) <= maxQueryValue {
			params.Set(k, v)
		}
	}
	return params
}

// WebSocketHandler serves RFC 7395. Everybody may connect from any web page: the protocol is public, and what a page may do is decided by
// SASL, not by a cookie.
func (s *Server) WebSocketHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, err := ws.Upgrade(w, r, "xmpp", s.cfg.Limits.WriteTimeout)
		if err != nil {
			s.log.Debug("websocket", "err", err)
			return
		}
		st := &stream{srv: s, wire: s.newWSWire(c, r.TLS != nil || loopback(r.RemoteAddr)), params: keptQuery(r)}
		if !loopback(r.RemoteAddr) { // else everybody comes by a proxy on this machine
			st.peer = accept.Peer(c.RemoteAddr())
		}
		go s.serveWS(c, st) // net/http's goroutine has a large stack, and ends here
	})
}

// serveWS runs one WebSocket stream to its end.
func (s *Server) serveWS(c *ws.Conn, st *stream) {
	code, text := 0, ""
	switch {
	case c.Subprotocol() != "xmpp":
		code, text = ws.StatusPolicy, "the subprotocol is xmpp"
	case !s.admit(st):
		code = ws.StatusTryAgainLater
	}
	if code != 0 {
		_ = c.SendClose(code, text)
		c.Linger(closeWait)
		_ = c.Close()
		return
	}
	defer s.untrack(st)
	defer st.wire.abandon()
	st.wire.readDeadline(st.deadline)
	st.serve()
}

func loopback(addr string) bool {
	ap, err := netip.ParseAddrPort(addr)
	return err == nil && ap.Addr().Unmap().IsLoopback()
}
