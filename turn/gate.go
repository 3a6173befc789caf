package turn

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"github.com/pion/stun/v4"
	pion "github.com/pion/turn/v3"
)

// link is what carries packets between clients and us: a UDP socket, or one TCP or TLS connection. This is where batched sockets fit in.
type link interface {
	// read gives one datagram or frame. n == len(p) means that it may have been cut.
	read(p []byte) (n int, from netip.AddrPort, err error)
	write(p []byte, to netip.AddrPort) error
	local() net.Addr
	netAddr(a netip.AddrPort) net.Addr
	Close() error
}

// gate is the net.PacketConn that a pion/turn server reads requests from and writes answers to.
//
// Invariant: cur and msg belong to the goroutine that calls ReadFrom. pion/turn handles each packet on that goroutine before it
// reads the next, so that cur is the request it handles when it asks for a key, a permission or a relay, and when it writes
// an error response. Its other goroutines only write data.
type gate struct {
	s        *Server
	link     link
	datagram bool // the source address may be forged

	cur   request
	msg   stun.Message
	limit limiter

	mu      sync.Mutex // guards clients
	clients map[netip.AddrPort]*relay
}

// request is what the gate knows of the request in hand.
type request struct {
	from      netip.AddrPort
	id        [stun.TransactionIDSize]byte
	method    stun.Method
	username  string
	nonce     []byte
	family    byte // of the relayed address wanted
	key       []byte
	integrity bool // it has MESSAGE-INTEGRITY, USERNAME, REALM and NONCE
	ok        bool // and the integrity is right
}

// serve makes a pion/turn server on a link. It ends when the link does.
func (s *Server) serve(l link, datagram bool) (*gate, error) {
	g := &gate{s: s, link: l, datagram: datagram, clients: map[netip.AddrPort]*relay{}}
	if !s.enter() {
		return nil, net.ErrClosed
	}
	_, err := pion.NewServer(pion.ServerConfig{
		Realm:         s.cfg.Realm,
		AuthHandler:   func(username, realm string, _ net.Addr) ([]byte, bool) { return s.creds.key(username, realm) },
		LoggerFactory: loggers{s.log},
		InboundMTU:    packetSize,
		PacketConnConfigs: []pion.PacketConnConfig{{
			PacketConn:            g,
			RelayAddressGenerator: generator{g},
			PermissionHandler: func(_ net.Addr, ip net.IP) bool {
				a, ok := netip.AddrFromSlice(ip)
				return ok && s.mayPermit(a.Unmap())
			},
		}},
	})
	if err != nil {
		s.leave()
		return nil, err
	}
	return g, nil
}

// generator makes relays for pion/turn.
type generator struct{ g *gate }

func (generator) Validate() error { return nil }

func (n generator) AllocatePacketConn(_ string, port int) (net.PacketConn, net.Addr, error) {
	r, err := n.g.s.newRelay(n.g, port)
	if err != nil {
		n.g.s.count.noPort.Add(1)
		return nil, nil, err
	}
	return r, r.LocalAddr(), nil
}

func (generator) AllocateConn(string, int) (net.Conn, net.Addr, error) {
	return nil, nil, errors.ErrUnsupported // RFC 6062 is not offered
}

// ReadFrom gives pion/turn the next packet that is worth its while.
func (g *gate) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		n, from, err := g.link.read(p)
		if err != nil {
			if g.datagram && isTemporary(err) {
				continue
			}
			g.end()
			return 0, nil, err
		}
		from = unmap(from)
		g.s.count.packetsIn.Add(1)
		if n >= len(p) {
			g.s.count.oversized.Add(1)
			continue
		}
		if g.admit(p[:n], from) {
			return n, g.addr(from), nil
		}
	}
}

// addr is the client's address in the form that pion/turn wants, without allocation for one that has a relay.
func (g *gate) addr(a netip.AddrPort) net.Addr {
	return g.link.netAddr(a)
}

// WriteTo sends pion/turn's packet to a client. It puts 401 for the 400 that pion/turn answers wrong credentials with (RFC 8489 §9.2.4).
func (g *gate) WriteTo(p []byte, to net.Addr) (int, error) {
	var a netip.AddrPort
	switch t := to.(type) {
	case *net.UDPAddr:
		a = unmap(t.AddrPort())
	case *net.TCPAddr:
		a = unmap(t.AddrPort())
	default:
		return 0, net.InvalidAddrError("neither UDP nor TCP")
	}
	out := p
	if isErrorResponse(p) && g.cur.integrity && !g.cur.ok && [stun.TransactionIDSize]byte(p[8:20]) == g.cur.id {
		m := stun.Message{Raw: p}
		var code stun.ErrorCodeAttribute
		if m.Decode() == nil && code.GetFrom(&m) == nil && code.Code == stun.CodeBadRequest {
			out = g.errorResponse(stun.CodeUnauthorized, stun.NewRealm(g.s.cfg.Realm), stun.RawAttribute{Type: stun.AttrNonce, Value: g.cur.nonce})
		}
	}
	g.s.count.packetsOut.Add(1)
	if err := g.link.write(out, a); err != nil {
		return 0, err
	}
	return len(p), nil
}

// isErrorResponse tells by the class bits (RFC 8489 §5).
func isErrorResponse(p []byte) bool {
	return len(p) >= stunHeader && p[0]&0xc1 == 0x01 && p[1]&0x10 == 0x10
}

func (g *gate) client(a netip.AddrPort) *relay {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.clients[a]
}

func (g *gate) setClient(r *relay) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.clients[r.client] = r
}

func (g *gate) removeClient(r *relay) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.clients[r.client] == r {
		delete(g.clients, r.client)
	}
}

// end closes the link and all relays of its clients; ReadFrom calls it once, at its last return.
func (g *gate) end() {
	g.link.Close()
	g.mu.Lock()
	all := make([]*relay, 0, len(g.clients))
	for _, r := range g.clients {
		all = append(all, r)
	}
	g.mu.Unlock()
	for _, r := range all {
		r.Close()
	}
	g.s.forget(g)
	g.s.leave()
}

// Close ends the link; ReadFrom then returns an error.
func (g *gate) Close() error { return g.link.Close() }

// LocalAddr is the address that clients send to.
func (g *gate) LocalAddr() net.Addr { return g.link.local() }

// SetDeadline and its kind are part of net.PacketConn; pion/turn does not use them on listeners.
func (g *gate) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (g *gate) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (g *gate) SetWriteDeadline(time.Time) error { return nil }

// udpLink is a listening UDP socket.
type udpLink struct {
	*net.UDPConn
	last    netip.AddrPort // of the reading goroutine: the last address in net form, as packets come in runs
	lastNet *net.UDPAddr
}

func (u *udpLink) read(p []byte) (int, netip.AddrPort, error) { return u.ReadFromUDPAddrPort(p) }

func (u *udpLink) write(p []byte, to netip.AddrPort) error {
	_, err := u.WriteToUDPAddrPort(p, to)
	return err
}

func (u *udpLink) local() net.Addr { return u.LocalAddr() }

// netAddr never changes an address it has given out: pion/turn keeps it with the allocation.
func (u *udpLink) netAddr(a netip.AddrPort) net.Addr {
	if a != u.last {
		u.last, u.lastNet = a, net.UDPAddrFromAddrPort(a)
	}
	return u.lastNet
}

// isTemporary tells the errors of a UDP socket that concern one packet, not the socket.
func isTemporary(err error) bool {
	for _, e := range []error{syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ENOBUFS, syscall.ENOMEM, syscall.EMSGSIZE, syscall.EPERM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
