package component

import (
	"context"
	"net"

	"konzil/internal/accept"
	"konzil/internal/finish"
	"konzil/xmpp/stanza"
)

// Serve serves the connections of components. It returns nil after Shutdown.
func (s *Service) Serve(ln net.Listener) error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return ln.Close()
	}
	s.lns[ln] = struct{}{}
	s.mu.Unlock()
	return accept.Loop(ln, s.log, func() bool { return s.ctx.Err() != nil }, s.accept)
}

// accept starts a connection, unless too many wait for their handshake.
func (s *Service) accept(raw net.Conn) {
	c := &conn{s: s, raw: raw, rd: stanza.NewReader(raw, loginLimits), wake: make(chan struct{}, 1)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing || s.logins >= maxLogins {
		s.count.refused.Add(1)
		_ = raw.Close()
		return
	}
	s.logins++
	s.conns[c] = struct{}{}
	s.wg.Go(func() {
		c.serve()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	})
}

func (s *Service) loggedIn() {
	s.mu.Lock()
	s.logins--
	s.mu.Unlock()
}

// Shutdown ends all connections and waits for them, or for ctx.
func (s *Service) Shutdown(ctx context.Context) error {
	s.stop()
	s.mu.Lock()
	s.closing = true
	for ln := range s.lns {
		_ = ln.Close()
	}
	for c := range s.conns {
		c.end(stanza.NewStreamError("system-shutdown", ""))
	}
	for id, r := range s.pending {
		r.timer.Stop()
		delete(s.pending, id)
	}
	s.mu.Unlock()
	return finish.Wait(ctx, &s.wg)
}
