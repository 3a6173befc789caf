package turn

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"

	"konzil/internal/udpio"
)

// route is how a peer is reached.
type route uint8

const (
	routeDenied route = iota
	routeSocket
	routeMemory // our own SFU
	routeRelay  // at one of our relay addresses: another relay of ours, when there is one at that port
)

// dest is a peer and how it is reached, as it was found out at last. The list of our own addresses may change, so it is asked for again.
type dest struct {
	peer  netip.AddrPort
	route route
	open  bool  // with routeRelay: also over a socket
	until int64 // of Server.clock

	other   *relay // with routeRelay: at that port, as of version
	version uint64 // of the registry
}

// route finds out how a peer is reached.
func (s *Server) route(a netip.AddrPort, now int64) dest {
	d := dest{peer: a, until: now + int64(ownFor)}
	switch {
	case a.Port() == 0:
	case s.owns(a):
		d.route = routeMemory
	case s.reg.hasAddr(a.Addr()):
		d.route, d.open = routeRelay, s.policy.allowed(a.Addr())
	case s.policy.allowed(a.Addr()):
		d.route = routeSocket
	}
	return d
}

// upState is what a relay keeps of its client's packets.
type upState struct {
	last   dest // of Send indications
	bucket bucket

	// Packets of the batch in hand that stay in this process.
	pending [][]byte
	from    *leg
	to      netip.AddrPort
	other   *relay // nil: the SFU
}

// fromClient relays a packet of the batch in hand that is channel data or a Send indication. p is valid until flush.
func (g *gate) fromClient(p []byte, from netip.AddrPort) {
	seen := &g.seen[recent(from)]
	r := *seen
	if r == nil || r.client != from || r.over.Load() {
		if r = g.client(from); r == nil {
			g.tally.stray++
			return
		}
		*seen = r
	}
	if p[0]>>6 == 1 {
		n := int(binary.BigEndian.Uint16(p[2:]))
		if n > len(p)-4 {
			g.tally.malformed++
			return
		}
		c := r.table.Load().byNumber(binary.BigEndian.Uint16(p), g.now)
		if c == nil {
			g.tally.stray++
			return
		}
		if c.dest.until <= g.now {
			c.dest = g.s.route(c.peer, g.now)
		}
		g.toPeer(r, &c.dest, p[4:4+n])
		return
	}
	peer, data, whole, ok := parseSend(p)
	if !ok {
		g.tally.malformed++
		return
	}
	peer = unmap(peer)
	if !r.table.Load().permits(peer.Addr(), g.now) {
		g.tally.stray++
		return
	}
	if d := &r.up.last; d.peer != peer || d.until <= g.now {
		*d = g.s.route(peer, g.now)
	}
	if whole && r.up.last.route == routeSocket {
		g.toPeerWhole(r, peer, data)
		return
	}
	g.toPeer(r, &r.up.last, data)
}

// toPeerWhole sends a datagram that must not be cut on its way (DONT-FRAGMENT, RFC 8656 §12), which the kernel can be told for one socket, not for one
// datagram: it goes by itself.
func (g *gate) toPeerWhole(r *relay, to netip.AddrPort, data []byte) {
	l := r.leg(familyOf(to.Addr()))
	if rate := g.s.cfg.Bandwidth; l == nil || rate > 0 && !r.up.bucket.take(len(data), rate, g.now) {
		g.tally.throttled++
		return
	}
	g.tally.socketOut++
	if l.sock.WriteWhole(data, to) != nil {
		g.s.count.sendFailed.Add(1)
	}
}

// recentClients is how many clients are found without asking the map; neighbours in it take turns.
const recentClients = 4096

// recent is a client's place among the recent ones: clients of one address differ by port, those of one port by address.
func recent(a netip.AddrPort) uint16 {
	b := a.Addr().As16()
	return (a.Port() ^ uint16(b[15]) ^ uint16(b[14])<<3 ^ uint16(b[13])<<6) % recentClients
}

// toPeer puts a packet on its way, which it goes with the next flush.
func (g *gate) toPeer(r *relay, d *dest, data []byte) {
	l := r.leg(familyOf(d.peer.Addr()))
	if l == nil {
		g.tally.denied++
		return
	}
	if rate := g.s.cfg.Bandwidth; rate > 0 && !r.up.bucket.take(len(data), rate, g.now) {
		g.tally.throttled++
		return
	}
	switch d.route {
	case routeSocket:
		g.toSocket(l, d.peer, data)
		return
	case routeMemory:
		g.pend(r, l, d.peer, nil, data)
		return
	case routeRelay:
		if v := g.s.reg.version.Load(); d.version != v {
			d.other, d.version = g.s.reg.relay(d.peer), v
		}
		if d.other != nil {
			g.pend(r, l, d.peer, d.other, data)
			return
		}
		if d.open {
			g.toSocket(l, d.peer, data)
			return
		}
	}
	g.tally.denied++
}

func (g *gate) toSocket(l *leg, to netip.AddrPort, data []byte) {
	g.tally.socketOut++
	g.up.Add(l.sock, to, data)
}

// pend collects packets that stay in this process, so that they are handed over together.
func (g *gate) pend(r *relay, l *leg, to netip.AddrPort, other *relay, data []byte) {
	u := &r.up
	if len(u.pending) > 0 && (u.to != to || u.other != other) {
		g.handOver(r)
	}
	if len(u.pending) == 0 {
		u.from, u.to, u.other = l, to, other
		g.touched = append(g.touched, r)
	}
	u.pending = append(u.pending, data)
	g.tally.memoryOut++
}

func (g *gate) handOver(r *relay) {
	u := &r.up
	if len(u.pending) == 0 {
		return
	}
	if u.other != nil {
		u.other.deliver(u.from.announced, u.pending)
	} else if r.attach(u.from) {
		u.from.send(u.to, u.pending)
	}
	clear(u.pending)
	u.pending, u.other = u.pending[:0], nil
	if cap(u.pending) > keepPending {
		u.pending = nil
	}
}

// keepPending is the largest list of packets that a relay keeps for the next batch: an idle allocation should be small.
const keepPending = 64

// flush sends what the batch in hand led to.
func (g *gate) flush() {
	g.tally.publish(&g.s.count)
	g.up.Flush()
	g.s.count.sendFailed.Add(g.up.Stats.Dropped)
	g.up.Stats = udpio.WriteStats{}
	for i, r := range g.touched {
		g.handOver(r)
		g.touched[i] = nil
	}
	g.touched = g.touched[:0]
	g.out.flush()
}

// parseSend reads a Send indication (RFC 8656 §11.2). One with an attribute that we do not know and would have to is not ok (RFC 8489 §6.3.2);
// so is one without a peer or data. whole is DONT-FRAGMENT.
func parseSend(p []byte) (peer netip.AddrPort, data []byte, whole, ok bool) {
	const (
		xorPeerAddress = 0x0012
		dontFragment   = 0x001a
		optional       = 0x8000
	)
	if len(p) < stunHeader || int(binary.BigEndian.Uint16(p[2:])) != len(p)-stunHeader {
		return peer, nil, false, false
	}
	var havePeer, haveData bool
	for rest := p[stunHeader:]; len(rest) > 0; {
		if len(rest) < 4 {
			return peer, nil, false, false
		}
		kind, n := binary.BigEndian.Uint16(rest), int(binary.BigEndian.Uint16(rest[2:]))
		padded := (n + 3) &^ 3
		if 4+padded > len(rest) {
			return peer, nil, false, false
		}
		v := rest[4 : 4+n]
		switch {
		case kind == xorPeerAddress && !havePeer: // of several the first counts (RFC 8489 §14)
			if peer, _, havePeer = decodeXORAddress(v, [12]byte(p[8:20])); !havePeer {
				return peer, nil, false, false
			}
		case kind == attrData && !haveData:
			data, haveData = v, true
		case kind == dontFragment && udpio.CanForbidFragments:
			whole = true
		case kind != xorPeerAddress && kind != attrData && kind < optional:
			return peer, nil, false, false
		}
		rest = rest[4+padded:]
	}
	return peer, data, whole, havePeer && haveData
}

// bucket is a token bucket of bytes that fills at a rate and holds one second.
type bucket struct {
	bytes int64
	at    int64 // of Server.clock, nanoseconds
}

// take tells whether n bytes may pass now.
func (b *bucket) take(n, rate int, now int64) bool {
	if b.at == 0 {
		b.bytes, b.at = int64(rate), now
	}
	if gain := int64(float64(now-b.at) / 1e9 * float64(rate)); gain > 0 {
		b.bytes, b.at = min(b.bytes+gain, int64(rate)), now
	}
	if b.bytes < int64(n) {
		return false
	}
	b.bytes -= int64(n)
	return true
}

// tally counts within a batch, without a locked operation per packet.
type tally struct {
	in, stray, denied, malformed, throttled, memoryOut, socketOut, socketIn uint64
}

// publish adds the tally to the counters.
func (t *tally) publish(c *counters) {
	move(&t.in, &c.packetsIn)
	move(&t.stray, &c.stray)
	move(&t.denied, &c.deniedPacket)
	move(&t.malformed, &c.malformed)
	move(&t.throttled, &c.throttled)
	move(&t.memoryOut, &c.memoryOut)
	move(&t.socketOut, &c.socketOut)
	move(&t.socketIn, &c.socketIn)
}

func move(from *uint64, to *atomic.Uint64) {
	if *from > 0 {
		to.Add(*from)
		*from = 0
	}
}
