package turn

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"sync"

	"konzil/internal/udpio"
)

// outlet is how packets go to clients from one goroutine, in batches. Only its owner uses it, or who holds its lock.
type outlet struct {
	fan   *udpio.Fan // nil: for streams alone
	last  *stream    // that something was queued for
	dirty []*stream  // to flush
	slab  []byte     // Data indications, until flush
	used  int
	now   int64
	tally outTally
	count *counters
}

type outTally struct{ out, stray, denied, throttled uint64 }

// indicationSlab holds the Data indications of one flush, bytes: as much as a batch of plain datagrams.
const indicationSlab = 128 << 10

// downState is what a relay keeps of its peers' packets.
type downState struct {
	// Of the goroutine of the loop that the relay's sockets are in: the last source that the policy was asked for, and the answer.
	addr  netip.Addr
	ok    bool
	until int64

	mu     sync.Mutex // guards bucket: peers on sockets and in memory are served by different goroutines
	bucket bucket
}

// fromPeer sends a packet from a peer on a socket to the client with the next flush. The goroutine of the loop calls it.
func (r *relay) fromPeer(o *outlet, from netip.AddrPort, data []byte) {
	if !r.mayComeFrom(from, o.now) {
		o.tally.denied++
		return
	}
	r.toClient(o, from, data)
}

// mayComeFrom asks the policy again what it said to the permission: a permission for our own address opens only the SFU's ports.
func (r *relay) mayComeFrom(a netip.AddrPort, now int64) bool {
	d := &r.down
	if a.Addr() != d.addr || d.until <= now {
		d.addr, d.ok, d.until = a.Addr(), r.s.policy.allowed(a.Addr()), now+int64(ownFor)
	}
	return d.ok || r.s.owns(a)
}

// toClient sends a packet from a peer to the client with the next flush: as channel data, as a Data indication, or not at all
// (RFC 8656 §11.3, §12.7).
func (r *relay) toClient(o *outlet, from netip.AddrPort, data []byte) {
	t := r.table.Load()
	if !t.permits(from.Addr(), o.now) {
		o.tally.stray++
		return
	}
	if rate := r.s.cfg.Bandwidth; rate > 0 {
		r.down.mu.Lock()
		ok := r.down.bucket.take(len(data), rate, o.now)
		r.down.mu.Unlock()
		if !ok {
			o.tally.throttled++
			return
		}
	}
	o.tally.out++
	if c := t.byPeer(from, o.now); c != nil {
		r.gate.link.frame(o, r.client, [4]byte{byte(c.number >> 8), byte(c.number), byte(len(data) >> 8), byte(len(data))}, data)
		return
	}
	r.gate.link.message(o, r.client, o.indication(from, attrData, data))
}

// fromRouter tells the client that a packet of its did not arrive (RFC 8656 §11.5), when it still may send such.
func (r *relay) fromRouter(o *outlet, x udpio.Refusal) {
	to := unmap(x.To)
	known := x.Type == 3 || x.Type == 11 // unreachable, time exceeded
	if to.Addr().Is6() {
		known = x.Type >= 1 && x.Type <= 3 // unreachable, too big, time exceeded
	}
	if !known || !r.table.Load().permits(to.Addr(), o.now) {
		o.tally.stray++
		return
	}
	r.s.count.peerErrors.Add(1)
	o.tally.out++
	var v [8]byte // RFC 8656 §18.13: 16 bits reserved, 7 bits type, 9 bits code, 32 bits data
	binary.BigEndian.PutUint16(v[2:], uint16(x.Type)<<9|uint16(x.Code))
	binary.BigEndian.PutUint32(v[4:], x.MTU)
	r.gate.link.message(o, r.client, o.indication(to, attrICMP, v[:]))
}

// deliver sends packets from a peer in this process to the client. Any goroutine may call it.
func (r *relay) deliver(from netip.AddrPort, pkts [][]byte) {
	o := r.gate.memory
	o.mu.Lock()
	defer o.mu.Unlock()
	o.now = r.s.clock()
	for _, p := range pkts {
		r.toClient(&o.outlet, from, p)
	}
	o.flush()
}

// sharedOutlet is the outlet of those who deliver in memory.
type sharedOutlet struct {
	mu sync.Mutex // guards outlet
	outlet
}

const (
	attrData = 0x0013 // RFC 8656 §18.4
	attrICMP = 0x8004 // RFC 8656 §18.13
)

// indication builds a Data indication about a peer with one attribute (RFC 8656 §11.3, §11.5), valid until flush.
func (o *outlet) indication(from netip.AddrPort, attr uint16, data []byte) []byte {
	addr := 8
	if from.Addr().Is6() {
		addr = 20
	}
	padded := (len(data) + 3) &^ 3
	size := stunHeader + 4 + addr + 4 + padded
	if o.slab == nil {
		o.slab = make([]byte, indicationSlab)
	}
	if o.used+size > len(o.slab) {
		o.flush()
	}
	p := o.slab[o.used : o.used+size : o.used+size]
	o.used += size
	binary.BigEndian.PutUint16(p, 0x0017) // Data indication
	binary.BigEndian.PutUint16(p[2:], uint16(size-stunHeader))
	binary.BigEndian.PutUint32(p[4:], magicCookie)
	binary.BigEndian.PutUint64(p[8:], rand.Uint64()) // nobody answers it, so it need not be a secret
	binary.BigEndian.PutUint32(p[16:], rand.Uint32())
	binary.BigEndian.PutUint16(p[20:], 0x0012) // XOR-PEER-ADDRESS
	binary.BigEndian.PutUint16(p[22:], uint16(addr))
	binary.BigEndian.PutUint16(p[26:], from.Port()^uint16(magicCookie>>16))
	p[24] = 0
	if from.Addr().Is4() {
		p[25] = familyIPv4
		a := from.Addr().As4()
		binary.BigEndian.PutUint32(p[28:], binary.BigEndian.Uint32(a[:])^magicCookie)
	} else {
		p[25] = familyIPv6
		a := from.Addr().As16()
		for i := range a {
			p[28+i] = a[i] ^ p[4+i]
		}
	}
	at := stunHeader + 4 + addr
	binary.BigEndian.PutUint16(p[at:], attr)
	binary.BigEndian.PutUint16(p[at+2:], uint16(len(data)))
	n := copy(p[at+4:], data)
	clear(p[at+4+n:])
	return p
}

// streamTo gives the connection of a client, which the next flush sends over; nil: it is gone.
func (o *outlet) streamTo(l *streamLink, to netip.AddrPort) *stream {
	if o.last == nil || o.last.from != to {
		if o.last = l.stream(to); o.last != nil {
			o.dirty = append(o.dirty, o.last)
		}
	}
	return o.last
}

// flush sends what was collected.
func (o *outlet) flush() {
	o.used = 0
	move(&o.tally.out, &o.count.packetsOut)
	move(&o.tally.stray, &o.count.stray)
	move(&o.tally.denied, &o.count.deniedPacket)
	move(&o.tally.throttled, &o.count.throttled)
	for i, c := range o.dirty {
		c.flush()
		o.dirty[i] = nil
	}
	o.last, o.dirty = nil, o.dirty[:0]
	if o.fan == nil {
		return
	}
	o.fan.Flush()
	o.count.sendFailed.Add(o.fan.Stats.Dropped)
	o.fan.Stats = udpio.WriteStats{}
}
