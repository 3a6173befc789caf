package proctest

import (
	"io"
	"net"
	"sync"
	"testing"
)

// Proxy passes TCP connections on until the test breaks them.
type Proxy struct {
	ln     net.Listener
	target string

	mu      sync.Mutex // guards below
	conns   map[net.Conn]struct{}
	stalled bool
	resume  sync.Cond // stalled is false again
}

// StartProxy listens on a loopback port for connections to target. It ends with the test.
func StartProxy(t testing.TB, target string) *Proxy {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{ln: ln, target: target, conns: map[net.Conn]struct{}{}}
	p.resume.L = &p.mu
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			wg.Go(func() { p.pass(c) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		p.Cut()
		wg.Wait()
	})
	return p
}

// Port is where it listens.
func (p *Proxy) Port() int { return p.ln.Addr().(*net.TCPAddr).Port }

// Stall holds back all that either side says from now on, until Cut loses it.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = true
}

// Cut breaks every connection with a reset, as a lost network does: no stream is closed properly.
func (p *Proxy) Cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.stalled = false
	p.resume.Broadcast()
	for c := range p.conns { // all of them before one is closed, for which pass closes the other
		if tc, ok := c.(*net.TCPConn); ok {
			_ = tc.SetLinger(0)
		}
	}
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *Proxy) pass(client net.Conn) {
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		_ = client.Close()
		return
	}
	p.hold(client, server)
	var wg sync.WaitGroup
	for _, way := range [][2]net.Conn{{client, server}, {server, client}} {
		wg.Go(func() {
			_, _ = io.Copy(gate{p, way[0]}, way[1]) // until one of them ends, or Cut
			_ = client.Close()
			_ = server.Close()
		})
	}
	wg.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, client)
	delete(p.conns, server)
}

// gate is the way to one side.
type gate struct {
	p    *Proxy
	conn net.Conn
}

// Write implements io.Writer.
func (g gate) Write(b []byte) (int, error) {
	g.p.mu.Lock()
	for g.p.stalled {
		g.p.resume.Wait()
	}
	g.p.mu.Unlock()
	return g.conn.Write(b)
}

func (p *Proxy) hold(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		p.conns[c] = struct{}{}
	}
}
