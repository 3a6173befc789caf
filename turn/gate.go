package turn

import (
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"konzil/internal/udpio"

	"github.com/pion/stun/v4"
	pion "github.com/pion/turn/v3"
)

// link is what carries packets between clients and us: the UDP sockets of a shard, or its TCP and TLS connections.
type link interface {
	// read gives what has come, valid until the next read: from clients, and from peers when the relays' sockets are in the same loop.
	read() ([]udpio.Datagram, error)
	// refused gives what routers and hosts have said, as of the last read, of what relays have sent.
	refused() []udpio.Refusal
	// write sends one packet of pion/turn's, or our own, to a client.
	write(p []byte, to netip.AddrPort) error
	// frame sends head and data as channel data with the next flush of o, message a whole message.
	frame(o *outlet, to netip.AddrPort, head [4]byte, data []byte)
	message(o *outlet, to netip.AddrPort, p []byte)
	// loop is what reads the sockets of the clients' relays.
	loop() *udpio.Loop
	local() net.Addr
	netAddr(a netip.AddrPort) net.Addr
	Close() error
}

// gate is the net.PacketConn that a pion/turn server reads requests from and writes answers to. What is no request does not reach it:
// the gate relays it, in batches, on the same goroutine.
//
// Invariant: what is below "of the goroutine" belongs to the goroutine that calls ReadFrom. pion/turn handles each packet on that goroutine
// before it reads the next, so that cur is the request it handles when it asks for a key, a permission or a relay, and when it writes
// an answer.
type gate struct {
	s          *Server
	link       link
	datagram   bool          // the source address may be forged
	maxChannel uint16        // the highest channel number that it can carry
	memory     *sharedOutlet // for packets that come in memory

	// Of the goroutine.
	cur     request
	msg     stun.Message
	limit   limiter
	batch   []udpio.Datagram // in hand
	next    int              // of batch
	now     int64            // Server.clock at the start of batch
	up      *udpio.Fan       // to peers
	out     outlet           // to clients
	touched []*relay         // with packets that stay in this process
	seen    []*relay         // by recent: who has sent data lately
	tally   tally

	mu      sync.Mutex // guards clients
	clients map[netip.AddrPort]*relay
}

// request is what the gate knows of the request in hand.
type request struct {
	from     netip.AddrPort
	id       [stun.TransactionIDSize]byte
	method   stun.Method
	username string
	nonce    string // as pion/turn has made it
	wishes   wishes // of an Allocate
	drop     byte   // the family of a relayed address that a Refresh ends; 0: none
	peers    []netip.AddrPort
	channel  uint16 // of a ChannelBind
	key      []byte
	sha256   bool   // its integrity is by SHA-256
	signed   bool   // it has an integrity, USERNAME, REALM and NONCE
	ok       bool   // and the integrity is right
	instead  []byte // what pion/turn gets in place of the request; nil: the request
}

// newGate makes a gate on a link. up sends to peers, fan to clients from the gate's goroutine, memory from those who deliver in memory; both are nil for
// a stream.
func (s *Server) newGate(l link, datagram bool, up, fan, memory *udpio.Fan) *gate {
	g := &gate{s: s, link: l, datagram: datagram, up: up, maxChannel: maxChannel, clients: map[netip.AddrPort]*relay{}, seen: make([]*relay, recentClients)}
	g.out = outlet{fan: fan, count: &s.count}
	g.memory = &sharedOutlet{outlet: outlet{fan: memory, count: &s.count}}
	return g
}

// serve makes a pion/turn server on a gate. It ends when the link does.
func (s *Server) serve(g *gate) error {
	if !s.enter() {
		return net.ErrClosed
	}
	_, err := pion.NewServer(pion.ServerConfig{
		Realm: s.cfg.Realm,
		AuthHandler: func(username, realm string, _ net.Addr) ([]byte, bool) {
			return s.creds.key(algorithmMD5, username, realm)
		},
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
	}
	return err
}

// generator makes relays for pion/turn.
type generator struct{ g *gate }

func (generator) Validate() error { return nil }

func (n generator) AllocatePacketConn(string, int) (net.PacketConn, net.Addr, error) {
	r, err := n.g.s.newRelay(n.g)
	if err != nil {
		n.g.s.count.noPort.Add(1)
		return nil, nil, err
	}
	return r, r.LocalAddr(), nil
}

func (generator) AllocateConn(string, int) (net.Conn, net.Addr, error) {
	return nil, nil, errors.ErrUnsupported // RFC 6062 is not offered
}

// ReadFrom gives pion/turn the next request that is worth its while, and relays everything else.
func (g *gate) ReadFrom(p []byte) (int, net.Addr, error) {
	for {
		for g.next < len(g.batch) {
			d := &g.batch[g.next]
			g.next++
			if d.Sock != nil {
				if r, ok := d.Sock.Owner().(*relay); ok {
					g.tally.socketIn++
					r.fromPeer(&g.out, d.From, d.Data)
					continue
				}
			}
			g.tally.in++
			if isData(d.Data) {
				g.fromClient(d.Data, d.From)
				continue
			}
			if len(d.Data) >= len(p) {
				g.s.count.oversized.Add(1)
				continue
			}
			if !g.admit(d.Data, d.From) {
				continue
			}
			g.flush() // what came before a request goes before what the request changes
			if g.cur.instead != nil {
				return copy(p, g.cur.instead), g.link.netAddr(d.From), nil
			}
			return copy(p, d.Data), g.link.netAddr(d.From), nil
		}
		g.flush()
		var err error
		if g.batch, err = g.link.read(); err != nil {
			g.end()
			return 0, nil, err
		}
		g.next, g.now = 0, g.s.clock()
		g.out.now = g.now
		for _, x := range g.link.refused() {
			if r, ok := x.Sock.Owner().(*relay); ok {
				r.fromRouter(&g.out, x)
			}
		}
	}
}

// isData tells channel data and Send indications from all else.
func isData(p []byte) bool {
	if len(p) < 4 {
		return false
	}
	if p[0]>>6 == 1 {
		return true
	}
	return p[0] == 0 && p[1] == 0x16 && len(p) >= stunHeader && [4]byte(p[4:8]) == [4]byte{0x21, 0x12, 0xa4, 0x42}
}

// WriteTo sends pion/turn's packet to a client, and takes over what it grants. It puts 401 for the 400 that pion/turn answers wrong
// credentials with (RFC 8489 §9.2.4).
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
	if len(p) >= stunHeader && [stun.TransactionIDSize]byte(p[8:20]) == g.cur.id {
		switch {
		case isErrorResponse(p):
			out = g.corrected(p)
		case isSuccess(p):
			out = g.accepted(p)
		}
	}
	g.s.count.packetsOut.Add(1)
	if err := g.link.write(out, a); err != nil {
		return 0, err
	}
	return len(p), nil
}

// corrected is the error that pion/turn should have answered; it counts those for whom credentials were shown.
func (g *gate) corrected(p []byte) []byte {
	m := &stun.Message{Raw: p}
	var code stun.ErrorCodeAttribute
	if m.Decode() != nil || code.GetFrom(m) != nil {
		return p
	}
	if code.Code == stun.CodeUnauthorized || code.Code == stun.CodeStaleNonce {
		if g.cur.signed && code.Code == stun.CodeStaleNonce {
			g.s.count.staleNonces.Add(1)
		}
		var nonce stun.Nonce
		_ = nonce.GetFrom(m) // both have one
		return rewritten(p, g.cur.method, []stun.AttrType{stun.AttrNonce, stun.AttrRealm}, g.challenge(nonce.String())...)
	}
	switch {
	case g.cur.ok:
		if code.Code != stun.CodeInsufficientCapacity { // which counts where it comes from
			g.s.count.refused.Add(1)
		}
		return rewritten(p, g.cur.method, nil, g.cur.proof())
	case g.cur.signed && code.Code == stun.CodeBadRequest:
		return g.errorResponse(stun.CodeUnauthorized, g.challenge(g.cur.nonce)...)
	}
	return p
}

// accepted takes over what a success response grants, and gives what is sent instead of it.
func (g *gate) accepted(p []byte) []byte {
	if !g.cur.ok {
		return p
	}
	var without []stun.AttrType
	var more []stun.Setter
	r := g.client(g.cur.from) // nil: it has just ended
	switch {
	case r == nil:
	case g.cur.method == stun.MethodCreatePermission || g.cur.method == stun.MethodChannelBind:
		r.granted(&g.cur, g.s.clock())
	case g.cur.method == stun.MethodAllocate:
		more = r.answer
	case g.cur.method == stun.MethodRefresh:
		if g.cur.drop != 0 {
			r.drop(g.cur.drop)
			without = []stun.AttrType{stun.AttrLifetime}
			more = []stun.Setter{stun.RawAttribute{Type: stun.AttrLifetime, Value: make([]byte, 4)}}
		}
	}
	return rewritten(p, g.cur.method, without, append(slices.Clip(more), g.cur.proof())...)
}

// isErrorResponse tells by the class bits (RFC 8489 §5).
func isErrorResponse(p []byte) bool {
	return len(p) >= stunHeader && p[0]&0xc1 == 0x01 && p[1]&0x10 == 0x10
}

func isSuccess(p []byte) bool {
	return len(p) >= stunHeader && p[0]&0xc1 == 0x01 && p[1]&0x10 == 0
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
