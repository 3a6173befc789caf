package s2s

import (
	"context"
	"crypto/tls"
	"net"

	"konzil/internal/accept"
	"konzil/internal/random"
)

// ServeTCP serves streams of other servers that begin with STARTTLS (RFC 6120 §5). It returns nil after Shutdown.
func (s *Service) ServeTCP(ln net.Listener) error { return s.serve(ln, false) }

// ServeTLS serves streams that begin with TLS (XEP-0368).
func (s *Service) ServeTLS(ln net.Listener) error { return s.serve(ln, true) }

func (s *Service) serve(ln net.Listener, direct bool) error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return ln.Close()
	}
	s.lns[ln] = struct{}{}
	s.mu.Unlock()
	return accept.Loop(ln, s.log, s.isClosing, func(c net.Conn) { s.accept(c, direct) })
}

func (s *Service) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}

// accept starts a stream, unless there are too many.
func (s *Service) accept(c net.Conn, direct bool) {
	peer := accept.Peer(c.RemoteAddr())
	in := &incoming{s: s, conn: s.newConn(c), id: random.ID(), pairs: map[pair]bool{}, done: make(chan struct{})}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.streams) >= s.cfg.Limits.Incoming || s.peers[peer] >= s.cfg.Limits.PerPeer || !s.runLocked(func() {
		defer s.gone(in, peer)
		in.serve(direct)
	}) {
		s.count.refused.Add(1)
		_ = c.Close()
		return
	}
	s.streams[in] = struct{}{}
	s.peers[peer]++
	s.count.incoming.Add(1)
}

func (s *Service) gone(in *incoming, peer string) {
	_ = in.raw.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.streams, in)
	if s.peers[peer]--; s.peers[peer] <= 0 {
		delete(s.peers, peer)
	}
}

// serverTLS asks the other server for its certificate too (XEP-0178 §3). What it is worth is judged afterwards.
func (s *Service) serverTLS(direct bool) *tls.Config {
	c := s.cfg.TLS.Clone()
	c.ClientAuth = tls.RequestClientCert
	c.SessionTicketsDisabled = true // a resumed session would show no certificate
	c.NextProtos = nil
	if direct {
		c.NextProtos = []string{"xmpp-server"}
	}
	return c
}

// handshake is TLS of an incoming stream.
func (in *incoming) handshake(direct bool) error {
	ctx, cancel := context.WithTimeout(in.s.ctx, in.s.cfg.Limits.ConnectTimeout)
	defer cancel()
	return in.secure(ctx, tls.Server(in.raw, in.s.serverTLS(direct)))
}
