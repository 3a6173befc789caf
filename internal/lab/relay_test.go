package lab

import (
	"io"
	"net"
	"sync"
	"testing"
)

// relay stands before a port of a server and cuts connections when told.
type relay struct {
	ln net.Listener
	to string
	wg sync.WaitGroup

	mu    sync.Mutex // guards conns
	conns map[net.Conn]struct{}
}

func newRelay(t *testing.T, listen, to string) *relay {
	t.Helper()
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{ln: ln, to: to, conns: map[net.Conn]struct{}{}}
	r.wg.Go(r.serve)
	t.Cleanup(func() {
		_ = ln.Close()
		r.cut()
		r.wg.Wait()
	})
	return r
}

func (r *relay) serve() {
	for {
		c, err := r.ln.Accept()
		if err != nil {
			return
		}
		d, err := net.Dial("tcp", r.to)
		if err != nil {
			_ = c.Close()
			continue
		}
		r.mu.Lock()
		r.conns[c] = struct{}{}
		r.conns[d] = struct{}{}
		r.mu.Unlock()
		for _, p := range [][2]net.Conn{{c, d}, {d, c}} {
			r.wg.Go(func() {
				_, _ = io.Copy(p[0], p[1])
				_, _ = p[0].Close(), p[1].Close()
				r.mu.Lock()
				delete(r.conns, p[0])
				r.mu.Unlock()
			})
		}
	}
}

// cut ends all connections, whatever is under way.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		if tc, ok := c.(*net.TCPConn); ok {
			_ = tc.SetLinger(0)
		}
		_ = c.Close()
	}
}
