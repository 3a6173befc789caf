package xmpp

import (
	"crypto/tls"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/time/rate"

	"konzil/xmpp/sasl"
)

// meter delays reads to the allowed rate (RFC 6120 §13.12) and counts bytes.
type meter struct {
	lim    *rate.Limiter
	count  *counters
	closed chan struct{}
	once   sync.Once // guards the closing of closed
}

func (s *Server) newMeter() meter {
	l := s.cfg.Limits
	return meter{lim: rate.NewLimiter(rate.Limit(l.RateBytes), l.RateBurst), count: &s.count, closed: make(chan struct{})}
}

// stop ends the waiting of meterRead.
func (c *meter) stop() { c.once.Do(func() { close(c.closed) }) }

// meteredConn is the socket under a TCP stream: it has a meter, and remembers the channel binding of the certificate that TLS showed.
//
// A TCP socket is read and written by system calls of our own, so that a stream that waits holds no buffer, and a write that does not block needs
// no deadline: that is nearly every one, and setting and clearing a timer costs as much as encrypting.
type meteredConn struct {
	net.Conn
	meter
	inputs   *bufferPool
	endPoint []byte // tls-server-end-point of the certificate shown; written in the handshake

	// of the stream's goroutine
	raw      syscall.RawConn // nil: not a socket of the system
	in       []byte          // read and not used; of *held
	held     *[]byte         // nil while nothing is under way
	readErr  error
	readable func(fd uintptr) bool
	waiting  bool // Read does not block, but says errAgain: the stream waits where its stack is small

	// of the one who writes
	out      []byte
	sent     int
	writeErr error
	late     bool // the write has to wait: it has got a deadline
	timeout  time.Duration
	writable func(fd uintptr) bool
}

// errAgain is a read that would have to wait. It calls itself temporary, because crypto/tls stays usable after such an error.
var errAgain = againError{}

type againError struct{}

func (againError) Error() string   { return "xmpp: nothing to read yet" }
func (againError) Timeout() bool   { return false }
func (againError) Temporary() bool { return true }

func (s *Server) meter(c net.Conn) *meteredConn {
	return &meteredConn{Conn: c, meter: s.newMeter(), inputs: &s.inputs, timeout: s.cfg.Limits.WriteTimeout}
}

// direct goes around net.Conn for reading and writing, where there is a socket below.
func (c *meteredConn) direct() {
	sc, ok := c.Conn.(syscall.Conn)
	if !ok {
		return
	}
	if raw, err := sc.SyscallConn(); err == nil {
		c.raw, c.readable, c.writable = raw, c.readNow, c.writeNow
	}
}

// Read gives what was read, or reads.
func (c *meteredConn) Read(b []byte) (int, error) {
	if c.raw == nil {
		n, err := c.Conn.Read(b)
		if merr := c.meterRead(n); merr != nil {
			return n, merr
		}
		return n, err
	}
	if len(c.in) == 0 {
		if c.waiting {
			return 0, errAgain
		}
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(b, c.in)
	if c.in = c.in[n:]; len(c.in) == 0 {
		c.inputs.put(c.held, *c.held)
		c.in, c.held = nil, nil
	}
	return n, nil
}

// fill waits until something has come and reads it.
func (c *meteredConn) fill() error {
	if err := c.raw.Read(c.readable); err != nil {
		return err
	}
	if c.readErr != nil {
		return c.readErr
	}
	return c.meterRead(len(c.in))
}

// readNow takes what the socket has into a pooled buffer; false: nothing is there, call again.
func (c *meteredConn) readNow(fd uintptr) bool {
	p := c.inputs.get()
	b := (*p)[:cap(*p)]
	n, err := syscall.Read(int(fd), b)
	for err == syscall.EINTR {
		n, err = syscall.Read(int(fd), b)
	}
	if n > 0 {
		c.in, c.held = b[:n], p
		return true
	}
	c.inputs.put(p, b)
	if err == syscall.EAGAIN {
		return false
	}
	if c.readErr = io.EOF; err != nil {
		c.readErr = os.NewSyscallError("read", err)
	}
	return true
}

// meterRead waits after what came too fast, before more is taken from the socket: TCP then slows the sender down.
func (c *meter) meterRead(n int) error {
	c.count.bytesIn.Add(int64(n))
	for left := n; left > 0; {
		k := min(left, c.lim.Burst())
		left -= k
		now := time.Now()
		if c.lim.AllowN(now, k) {
			continue
		}
		if wait := c.lim.ReserveN(now, k).Delay(); wait > 0 {
			c.count.rateWaits.Add(1)
			if !c.sleep(wait) {
				return net.ErrClosed
			}
		}
	}
	return nil
}

func (c *meter) sleep(d time.Duration) bool {
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
	c.count.writes.Add(1)
	if c.raw == nil {
		n, err := c.Conn.Write(b)
		c.count.bytesOut.Add(int64(n))
		return n, err
	}
	c.out, c.sent, c.writeErr = b, 0, nil
	err := c.raw.Write(c.writable)
	if c.late {
		c.late = false
		_ = c.Conn.SetWriteDeadline(time.Time{})
	}
	c.out = nil
	c.count.bytesOut.Add(int64(c.sent))
	if err == nil {
		err = c.writeErr
	}
	return c.sent, err
}

// writeNow writes what the socket takes; false: it takes no more, call again.
func (c *meteredConn) writeNow(fd uintptr) bool {
	for c.sent < len(c.out) {
		n, err := syscall.Write(int(fd), c.out[c.sent:])
		switch {
		case n > 0:
			c.sent += n
		case err == syscall.EINTR:
		case err == syscall.EAGAIN:
			if !c.late { // from now on: a slow reader is cut off
				c.late = true
				_ = c.Conn.SetWriteDeadline(time.Now().Add(c.timeout))
			}
			return false
		default:
			if c.writeErr = io.ErrUnexpectedEOF; err != nil {
				c.writeErr = os.NewSyscallError("write", err)
			}
			return true
		}
	}
	return true
}

func (c *meteredConn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// endPoints remembers tls-server-end-point of certificates that are shown: to parse one anew for each login cost 4 % of it.
type endPoints struct {
	mu sync.Mutex // guards of
	of map[*byte][]byte
}

// maxEndPoints is more than the certificates that are in use at a time; those of before a renewal go.
const maxEndPoints = 64

// get gives that of a certificate, whose bytes nobody changes.
func (e *endPoints) get(leaf []byte) []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	b, ok := e.of[&leaf[0]]
	if !ok {
		if len(e.of) >= maxEndPoints || e.of == nil {
			e.of = map[*byte][]byte{}
		}
		b = sasl.EndPoint(leaf)
		e.of[&leaf[0]] = b
	}
	return b
}

// captureLeaf makes a copy of cfg that tells the meteredConn which certificate was chosen: tls-server-end-point needs it, and
// tls.ConnectionState does not have it.
func captureLeaf(cfg *tls.Config) *tls.Config {
	if cfg == nil {
		return nil
	}
	c := cfg.Clone()
	c.DynamicRecordSizingDisabled = true   // stanzas are not worth splitting: each record costs as much as a short one
	c.NextProtos = []string{"xmpp-client"} // XEP-0368; STARTTLS clients that send no ALPN get through as well
	var known endPoints
	c.GetCertificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		cert, err := choose(cfg, h)
		if m, ok := h.Conn.(*meteredConn); ok && cert != nil && len(cert.Certificate) > 0 && len(cert.Certificate[0]) > 0 {
			m.endPoint = known.get(cert.Certificate[0])
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
