package httpd

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"

	"konzil/internal/ws"
)

// limits count connections over all listeners.
type limits struct {
	total, each int // at most; 0: no limit
	refused     *atomic.Uint64

	mu     sync.Mutex // guards the fields below
	now    int
	byAddr map[netip.Addr]int
}

func (l *limits) take(a netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.total > 0 && l.now >= l.total || l.each > 0 && l.byAddr[a] >= l.each {
		return false
	}
	l.now++
	l.byAddr[a]++
	return true
}

func (l *limits) put(a netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now--
	if l.byAddr[a]--; l.byAddr[a] <= 0 {
		delete(l.byAddr, a)
	}
}

// limitListener closes connections beyond the limits as soon as they are made.
type limitListener struct {
	net.Listener
	limits *limits
}

func (l *limitListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		a := remote(c.RemoteAddr().String())
		if l.limits.take(a) {
			return &limitConn{Socket: ws.NewSocket(c), limits: l.limits, addr: a}, nil
		}
		l.limits.refused.Add(1)
		c.Close()
	}
}

type limitConn struct {
	*ws.Socket // so that WebSockets can wait without buffers
	limits     *limits
	addr       netip.Addr
	once       sync.Once
}

// Close gives the place free, once.
func (c *limitConn) Close() error {
	c.once.Do(func() { c.limits.put(c.addr) })
	return c.Socket.Close()
}

// remote gives the IP address of host:port, invalid when there is none.
func remote(hostPort string) netip.Addr {
	a, err := netip.ParseAddrPort(hostPort)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap().WithZone("")
}

// loopbackOnly answers others as if there were nothing. A proxy on this machine would make everybody a loopback peer: what it
// has forwarded is refused too.
func loopbackOnly(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		forwarded := false
		for _, name := range []string{"Forwarded", "X-Forwarded-For", "X-Real-Ip", "Via"} { // RFC 7239, and habits
			forwarded = forwarded || r.Header.Get(name) != ""
		}
		if a := remote(r.RemoteAddr); !a.IsLoopback() || forwarded {
			http.NotFound(w, r)
			return
		}
		h.ServeHTTP(w, r)
	})
}
