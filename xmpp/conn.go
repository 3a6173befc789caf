package xmpp

import (
	"crypto/tls"
	"net"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// meteredConn is the socket under every transport: it delays reads to the allowed rate (RFC 6120 §13.12), counts bytes, remembers which
// certificate TLS showed, and can gather writes for WebSocket, whose library flushes after every frame.
type meteredConn struct {
	net.Conn
	lim    *rate.Limiter
	count  *counters
	closed chan struct{}
	once   sync.Once // guards the closing of closed
	leaf   []byte    // DER of the certificate shown; written in the handshake

	mu     sync.Mutex // guards gather, buf
	gather bool
	buf    []byte
}

func (s *Server) meter(c net.Conn) *meteredConn {
	l := s.cfg.Limits
	return &meteredConn{Conn: c, lim: rate.NewLimiter(rate.Limit(l.RateBytes), l.RateBurst), count: &s.count, closed: make(chan struct{})}
}

// Read waits after what came too fast, before more is taken from the socket: TCP then slows the sender down.
func (c *meteredConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.count.bytesIn.Add(int64(n))
	for left := n; left > 0; {
		k := min(left, c.lim.Burst())
		left -= k
		if wait := c.lim.ReserveN(time.Now(), k).Delay(); wait > 0 {
			c.count.rateWaits.Add(1)
			if !c.sleep(wait) {
				return n, net.ErrClosed
			}
		}
	}
	return n, err
}

func (c *meteredConn) sleep(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.closed:
		return false
	}
}

func (c *meteredConn) Write(b []byte) (int, error) {
	c.mu.Lock()
	if c.gather {
		c.buf = append(c.buf, b...)
		c.mu.Unlock()
		return len(b), nil
	}
	c.mu.Unlock()
	return c.write(b)
}

func (c *meteredConn) write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.count.bytesOut.Add(int64(n))
	c.count.writes.Add(1)
	return n, err
}

// begin gathers the writes until flush.
func (c *meteredConn) begin(buf []byte) {
	c.mu.Lock()
	c.gather, c.buf = true, buf
	c.mu.Unlock()
}

// flush writes what was gathered at once and gives the buffer back.
func (c *meteredConn) flush() ([]byte, error) {
	c.mu.Lock()
	b := c.buf
	c.gather, c.buf = false, nil
	c.mu.Unlock()
	_, err := c.write(b)
	return b, err
}

func (c *meteredConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// captureLeaf makes a copy of cfg that tells the meteredConn which certificate was chosen: tls-server-end-point needs it, and
// tls.ConnectionState does not have it.
func captureLeaf(cfg *tls.Config) *tls.Config {
	if cfg == nil {
		return nil
	}
	c := cfg.Clone()
	c.NextProtos = []string{"xmpp-client"} // XEP-0368; STARTTLS clients that send no ALPN get through as well
	c.GetCertificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert, err := choose(cfg, h)
		if m, ok := h.Conn.(*meteredConn); ok && cert != nil && len(cert.Certificate) > 0 {
			m.leaf = cert.Certificate[0]
		}
		return cert, err
	}
	c.Certificates = nil
	return c
}

// choose does what crypto/tls does with cfg.
func choose(cfg *tls.Config, h *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if cfg.GetCertificate != nil && (len(cfg.Certificates) == 0 || h.ServerName != "") {
		if cert, err := cfg.GetCertificate(h); cert != nil || err != nil {
			return cert, err
		}
	}
	for i := range cfg.Certificates {
		if h.SupportsCertificate(&cfg.Certificates[i]) == nil {
			return &cfg.Certificates[i], nil
		}
	}
	if len(cfg.Certificates) > 0 {
		return &cfg.Certificates[0], nil
	}
	return nil, errNoCertificate
}

// networkOf is the part of an address that one party usually controls: /24 of IPv4, /64 of IPv6.
func networkOf(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	ip := net.ParseIP(host)
	if v4 := ip.To4(); v4 != nil {
		return v4.Mask(net.CIDRMask(24, 32)).String()
	}
	if ip != nil {
		return ip.Mask(net.CIDRMask(64, 128)).String()
	}
	return host
}

// peerOf is an address as far as one customer has it: all of IPv4, /64 of IPv6.
func peerOf(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.To4() == nil {
		return ip.Mask(net.CIDRMask(64, 128)).String()
	}
	return host
}
