package sfu

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"
)

// ICE over TCP (RFC 6544): passive candidates on ports of their own, for clients whose network lets no UDP out. A connection carries the same
// datagrams as UDP, each behind its length (RFC 4571 §2). Who has connected is nobody until a check over the connection has proved a password.
const (
	// tcpMax bounds the connections; each takes two goroutines and 20 KB. Others are closed at once.
	tcpMax = 8192
	// tcpStrangers and tcpStrangersOf bound those that have proved nothing yet, in all and of one address (many clients may be behind one NAT).
	tcpStrangers   = 1024
	tcpStrangersOf = 64
	// tcpOfOne bounds the connections of one transport: one for each network of a client, and those that it has left.
	tcpOfOne = 8
	// tcpProof is how long a connection may take to prove a password.
	tcpProof = 10 * time.Second
	// tcpRest is the pause after an error of accept: no descriptors are left, mostly.
	tcpRest = 100 * time.Millisecond
)

// ErrTCP: a listening address of ICE over TCP cannot be had.
var ErrTCP = errors.New("sfu: tcp")

// tcpServer is the side of the SFU that listens on TCP.
type tcpServer struct {
	s         *SFU
	addrs     []netip.AddrPort
	listeners []*net.TCPListener
	gone      *tcpConn // stands for connections that have ended

	mu        sync.Mutex // guards all below; taken with an ice.mu held, never the other way round
	conns     map[tcpEnd]*tcpConn
	strangers map[netip.Addr]int
	unproved  int
	closed    bool
}

// tcpEnd names a connection.
type tcpEnd struct {
	local  int // in SFU.localAddr
	remote netip.AddrPort
}

func (x *tcpServer) init(s *SFU) {
	x.s = s
	x.gone = &tcpConn{s: s, ended: true}
	x.conns, x.strangers = map[tcpEnd]*tcpConn{}, map[netip.Addr]int{}
}

// listen opens the sockets; serve begins to accept.
func (x *tcpServer) listen(addrs []netip.AddrPort) error {
	for _, a := range addrs {
		l, err := net.ListenTCP("tcp", net.TCPAddrFromAddrPort(a))
		if err != nil {
			x.close()
			return fmt.Errorf("%w: %w", ErrTCP, err)
		}
		x.listeners = append(x.listeners, l)
		at := l.Addr().(*net.TCPAddr).AddrPort()
		x.addrs = append(x.addrs, netip.AddrPortFrom(at.Addr().Unmap(), at.Port()))
	}
	return nil
}

func (x *tcpServer) serve() {
	for i, l := range x.listeners {
		x.s.wg.Go(func() { x.accept(len(x.s.addrs)+i, l) })
	}
}

// accept is the goroutine of one listener.
func (x *tcpServer) accept(local int, l *net.TCPListener) {
	for {
		c, err := l.AcceptTCP()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			x.s.log.Warn("ICE over TCP: accept", "err", err)
			rest := time.NewTimer(tcpRest)
			select {
			case <-x.s.done:
				rest.Stop()
				return
			case <-rest.C:
				continue
			}
		}
		x.enter(local, c)
	}
}

// enter starts a connection, or refuses it.
func (x *tcpServer) enter(local int, nc *net.TCPConn) {
	at := nc.RemoteAddr().(*net.TCPAddr).AddrPort()
	c := newTCPConn(x.s, tcpEnd{local, netip.AddrPortFrom(at.Addr().Unmap().WithZone(""), at.Port())}, nc)
	x.mu.Lock()
	defer x.mu.Unlock()
	from := c.end.remote.Addr()
	if x.closed || len(x.conns) >= tcpMax || x.unproved >= tcpStrangers || x.strangers[from] >= tcpStrangersOf {
		x.s.count.inc(cTCPRefused)
		_ = nc.Close()
		return
	}
	x.s.count.inc(cTCPAccepted)
	x.s.count.inc(cTCPNow)
	x.conns[c.end] = c
	x.strangers[from]++
	x.unproved++
	x.s.wg.Go(c.read)
	x.s.wg.Go(c.write)
}

// find gives the connection with a peer, or gone.
func (x *tcpServer) find(local int, remote netip.AddrPort) *tcpConn {
	x.mu.Lock()
	defer x.mu.Unlock()
	if c := x.conns[tcpEnd{local, remote}]; c != nil {
		return c
	}
	return x.gone
}

// leave forgets a connection that has ended, and gives back whose it was.
func (x *tcpServer) leave(c *tcpConn) *transport {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.conns[c.end] == c {
		delete(x.conns, c.end)
		x.s.count.add(cTCPNow, ^uint64(0))
	}
	t := c.owner.Load()
	if t == nil {
		x.known(c)
	} else {
		t.streams--
	}
	return t
}

// known takes a connection off the strangers. Caller holds mu.
func (x *tcpServer) known(c *tcpConn) {
	x.unproved--
	from := c.end.remote.Addr()
	if x.strangers[from]--; x.strangers[from] == 0 {
		delete(x.strangers, from)
	}
}

// drop ends the connections of a transport.
func (x *tcpServer) drop(t *transport) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if t.streams == 0 {
		return
	}
	for _, c := range x.conns {
		if c.owner.Load() == t {
			_ = c.conn.Close()
		}
	}
}

// close ends all; the SFU waits for the goroutines.
func (x *tcpServer) close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.closed = true
	for _, l := range x.listeners {
		_ = l.Close()
	}
	for _, c := range x.conns {
		_ = c.conn.Close()
	}
}
