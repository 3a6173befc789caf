package httpd

import (
	"context"
	"crypto/tls"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"konzil/internal/udpio"
)

// stunProtocols are the ALPN names of STUN and TURN (RFC 7443 §3).
var stunProtocols = []string{"stun.turn", "stun.nat-discovery"}

// maxHandshakes bounds the connections of a sortListener whose kind is not known yet; more are closed. Each takes a goroutine for at most
// the time that headers may take.
const maxHandshakes = 4096

// sortListener does TLS itself and sorts connections by what they speak: HTTP comes out of Accept, STUN goes to another server. A client
// that named its protocol by ALPN is known after the handshake; one that did not is by its first byte, which in STUN is 0 (RFC 7983 §7: 0 to 3)
// and in HTTP a letter.
type sortListener struct {
	net.Listener
	tls     *tls.Config
	timeout time.Duration
	stun    func(net.Conn)
	refused *atomic.Uint64

	start sync.Once
	http  chan net.Conn
	errs  chan error
	slots chan struct{}
	done  chan struct{}
	stop  sync.Once
}

func newSortListener(l net.Listener, t *tls.Config, timeout time.Duration, stun func(net.Conn), refused *atomic.Uint64) *sortListener {
	return &sortListener{Listener: l, tls: t, timeout: timeout, stun: stun, refused: refused,
		http: make(chan net.Conn), errs: make(chan error), slots: make(chan struct{}, maxHandshakes), done: make(chan struct{})}
}

// Accept gives the next connection that speaks HTTP.
func (l *sortListener) Accept() (net.Conn, error) {
	l.start.Do(func() { go l.acceptLoop() })
	select {
	case c := <-l.http:
		return c, nil
	case err := <-l.errs:
		return nil, err
	case <-l.done:
		return nil, net.ErrClosed
	}
}

// Close ends Accept. Connections in their handshake end by themselves.
func (l *sortListener) Close() error {
	l.stop.Do(func() { close(l.done) })
	return l.Listener.Close()
}

func (l *sortListener) acceptLoop() {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			select {
			case l.errs <- err: // net/http waits after those that pass
				continue
			case <-l.done:
				return
			}
		}
		select {
		case l.slots <- struct{}{}:
			go l.sort(c)
		default:
			l.refused.Add(1)
			c.Close()
		}
	}
}

// sort finds out what a connection speaks.
func (l *sortListener) sort(raw net.Conn) {
	defer func() { <-l.slots }()
	stop := make(chan struct{})
	defer close(stop)
	go func() { // a listener that closes waits for nobody
		select {
		case <-l.done:
			raw.Close()
		case <-stop:
		}
	}()
	c := tls.Server(udpio.NewStream(raw), l.tls) // a TURN server takes it into a loop
	ctx, cancel := context.WithTimeout(context.Background(), l.timeout)
	defer cancel()
	if err := c.HandshakeContext(ctx); err != nil {
		raw.Close()
		return
	}
	state := c.ConnectionState()
	switch {
	case slices.Contains(stunProtocols, state.NegotiatedProtocol):
		l.stun(c)
		return
	case state.NegotiatedProtocol != "":
		l.pass(c)
		return
	}
	first := &peeked{Conn: c, state: &state}
	_ = c.SetReadDeadline(time.Now().Add(l.timeout))
	if n, err := c.Read(first.head[:]); n == 0 || err != nil {
		c.Close()
		return
	}
	first.left = first.head[:]
	_ = c.SetReadDeadline(time.Time{})
	if first.head[0] < 4 {
		l.stun(first)
		return
	}
	l.pass(first)
}

func (l *sortListener) pass(c net.Conn) {
	select {
	case l.http <- c:
	case <-l.done:
		c.Close()
	}
}

// peeked is a TLS connection whose first byte was looked at. It belongs to one reader.
type peeked struct {
	*tls.Conn
	state *tls.ConnectionState
	head  [1]byte
	left  []byte
}

func (c *peeked) Read(p []byte) (int, error) {
	if len(c.left) > 0 && len(p) > 0 {
		n := copy(p, c.left)
		c.left = c.left[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// tlsState is the key of a connection's TLS state in the context of its requests: net/http does not know it of peeked ones.
type tlsState struct{}

func connContext(ctx context.Context, c net.Conn) context.Context {
	if p, ok := c.(*peeked); ok {
		return context.WithValue(ctx, tlsState{}, p.state)
	}
	return ctx
}
