package turn

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"time"

	"konzil/internal/udpio"
)

const (
	// acceptPause is how long accepting waits when the process has no file descriptor left.
	acceptPause = 50 * time.Millisecond
	// maxTwins is how many connections there may be from one address and port: a client, or the NAT in front of several, may use one
	// port towards each of our addresses.
	maxTwins = 16
)

// Serve takes TURN connections of a TCP listener, which is the server's to close from now on.
func (s *Server) Serve(l net.Listener) error { return s.serveListener(l, nil) }

// ServeTLS takes TURN connections over TLS of a TCP listener, which is the server's to close from now on.
func (s *Server) ServeTLS(l net.Listener, config *tls.Config) error {
	return s.serveListener(l, config)
}

func (s *Server) serveListener(l net.Listener, config *tls.Config) error {
	if !s.track(l) || !s.enter() {
		l.Close()
		return net.ErrClosed
	}
	go s.acceptLoop(l, config)
	return nil
}

// acceptLoop takes connections of a TCP or TLS listener until it is closed.
func (s *Server) acceptLoop(l net.Listener, config *tls.Config) {
	defer s.leave()
	for {
		c, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || !s.pause(acceptPause) {
				return
			}
			s.log.Warn("connection not accepted", "err", err)
			continue
		}
		c = udpio.NewStream(c)
		if config != nil {
			c = tls.Server(c, config)
		}
		s.ServeConn(c)
	}
}

// ServeConn takes one TURN connection that somebody else has accepted, such as the HTTPS server for ALPN stun.turn (RFC 7443). It has to be
// an udpio.Stream, or TLS above one.
func (s *Server) ServeConn(conn net.Conn) {
	tcp := udpio.StreamOf(conn)
	from, err := netip.ParseAddrPort(conn.RemoteAddr().String())
	if tcp == nil || err != nil {
		s.log.Warn("connection not served: no TCP", "from", conn.RemoteAddr())
		conn.Close()
		return
	}
	c := &stream{s: s, conn: conn, tcp: tcp, secure: conn != net.Conn(tcp), from: unmap(from)}
	if !s.reg.addStream(c.from.Addr()) {
		s.count.streamsRefused.Add(1)
		conn.Close()
		return
	}
	s.count.streams.Add(1)
	if t, ok := conn.(*tls.Conn); ok && !t.ConnectionState().HandshakeComplete {
		if s.track(c) && s.enter() {
			go c.handshake(t)
		} else {
			c.Close()
		}
		return
	}
	c.begin()
}

// handshake has a goroutine of its own, which ends with it.
func (c *stream) handshake(t *tls.Conn) {
	defer c.s.leave()
	if t.SetDeadline(time.Now().Add(c.s.cfg.IdleTimeout)) != nil || t.Handshake() != nil || t.SetDeadline(time.Time{}) != nil {
		c.s.count.malformed.Add(1)
		c.Close()
		return
	}
	c.begin()
	c.s.forget(c) // its link closes it from now on
}

// begin gives the connection to a link, whose goroutine serves it.
func (c *stream) begin() {
	l, err := c.s.linkFor(c)
	if err == nil {
		if err = l.in.Adopt(c.tcp, c); err == nil {
			return
		}
		defer l.remove(c) // also when it was closed before
	}
	if !errors.Is(err, net.ErrClosed) {
		c.s.log.Warn("connection not served", "err", err)
	}
	c.Close()
}

var errTwins = errors.New("turn: too many connections from one address and port")

// linkFor puts a connection into the links by turns: there is one for each shard. Clients are told apart by their addresses, so that one that is
// there already goes elsewhere.
func (s *Server) linkFor(c *stream) (*streamLink, error) {
	start := int(s.accepted.Add(1))
	for i := range s.cfg.Shards + maxTwins {
		at := i
		if i < s.cfg.Shards {
			at = (start + i) % s.cfg.Shards
		}
		l, err := s.streamLink(at)
		if err != nil {
			return nil, err
		}
		if l.add(c) {
			return l, nil
		}
	}
	return nil, errTwins
}

// streamLink gives the link with a number, made when it is first asked for.
func (s *Server) streamLink(at int) (*streamLink, error) {
	s.linksMu.Lock()
	defer s.linksMu.Unlock()
	if len(s.links) == 0 {
		if !s.enter() {
			return nil, net.ErrClosed
		}
		go s.sweep()
	}
	for len(s.links) <= at {
		l, err := s.newStreamLink()
		if err != nil {
			return nil, err
		}
		s.links = append(s.links, l)
	}
	return s.links[at], nil
}

func (s *Server) newStreamLink() (*streamLink, error) {
	loop, err := udpio.NewLoop(s.procs)
	if err != nil {
		return nil, err
	}
	l := &streamLink{s: s, in: loop, streams: map[netip.AddrPort]*stream{}}
	l.arena, l.free = udpio.Buffer(streamArena)
	l.gate = s.newGate(l, false, udpio.NewFan(streamMessages, streamRun), nil, nil)
	err = net.ErrClosed
	if s.track(l.gate) {
		err = s.serve(l.gate)
	}
	if err != nil {
		s.forget(l.gate)
		_ = l.Close()
		_, _ = l.read() // the last read gives back the rest
		return nil, err
	}
	return l, nil
}

// sweep closes connections that are silent for too long, or do not take what is sent to them.
func (s *Server) sweep() {
	defer s.leave()
	each := max(min(s.cfg.IdleTimeout, s.cfg.WriteTimeout, maxSweep)/4, minSweep)
	for s.pause(each) {
		s.linksMu.Lock()
		links := s.links
		s.linksMu.Unlock()
		for _, l := range links {
			l.sweep(s.clock())
		}
	}
}
