// Package history keeps the newest packets of one incoming stream, so that any receiver's retransmission request can be answered
// (RFC 4585 §6.2.1, RFC 4588) from one shared copy.
//
// Put stores a decrypted packet under its own sequence number; Get finds it again until it is both older than a given time and so many
// numbers back that nobody asks for it. Bytes stand one packet behind the other in chunks, in the order of their coming, so that short
// packets take little; the oldest chunk is taken again when all in it has gone by, and given up when there is another such one. A Log
// has no lock, goroutine or clock and is for one user at a time; bytes from Get stay valid until the next Put.
package history

import "konzil/sfu/rtp"

const (
	// maxPacket is the longest packet that is stored: the largest UDP payload that fits an Ethernet frame.
	maxPacket = 1500
	// chunkSize is a size class of the allocator's, and some 27 packets of a good picture.
	chunkSize = 32 << 10
	// firstSlots is how many numbers there is room for at first.
	firstSlots = 64
)

// Log is a store of packets by sequence number. Use New.
type Log struct {
	chunks []chunk // oldest first; the last one is written to
	first  uint32  // serial number of chunks[0]
	used   int     // bytes of the last one

	slots []slot // by number, a power of two
	least int64
	most  int64
	keep  int64
	seq   rtp.Unwrapper
	hi    int64
	any   bool
}

// chunk is a piece of the memory for packets.
type chunk struct {
	bytes  []byte
	newest int64 // when the last one came, ns
	hi     int64 // the highest number in it
}

// slot says where a packet is.
type slot struct {
	at    int64  // arrival, ns
	index uint32 // extended sequence number, its low bits
	chunk uint32 // serial number
	off   uint16
	n     uint16 // 0: empty
}

// New makes a log of packets that are younger than keep (ns) or among the newest least numbers, but of none that is most numbers back. most is
// rounded up to a power of two within 64..8192, least is at most that.
func New(least, most int, keep int64) *Log {
	n := firstSlots
	for n < most && n < 8192 {
		n <<= 1
	}
	return &Log{slots: make([]slot, firstSlots), least: int64(min(least, n)), most: int64(n), keep: keep}
}

// Put stores a copy of pkt. A packet that is too far back or longer than maxPacket is not stored.
func (l *Log) Put(seq uint16, pkt []byte, now int64) {
	i := l.seq.Unwrap(seq)
	if !l.any || i > l.hi {
		l.hi, l.any = i, true
	}
	if i <= l.hi-l.most || len(pkt) == 0 {
		return
	}
	if len(pkt) > maxPacket {
		*l.slot(i) = slot{}
		return
	}
	if len(l.chunks) == 0 || l.used+len(pkt) > chunkSize {
		l.turn(now)
	}
	s := l.slot(i)
	for s.n > 0 && s.index != uint32(i) && l.holds(s) && int64(len(l.slots)) < l.most {
		l.grow()
		s = l.slot(i)
	}
	if s.n > 0 && int32(s.index-uint32(i)) > 0 {
		return // older than the slots reach back
	}
	c := &l.chunks[len(l.chunks)-1]
	copy(c.bytes[l.used:], pkt)
	c.newest, c.hi = now, max(c.hi, i)
	s.at, s.index, s.chunk, s.off, s.n = now, uint32(i), l.first+uint32(len(l.chunks)-1), uint16(l.used), uint16(len(pkt))
	l.used += len(pkt)
}

// Get returns the packet with that sequence number, if it is still there.
func (l *Log) Get(seq uint16) ([]byte, bool) {
	b, _, ok := l.getAt(seq)
	return b, ok
}

// getAt is Get, and the time of arrival as given to Put.
func (l *Log) getAt(seq uint16) (pkt []byte, at int64, ok bool) {
	i := l.seq.Peek(seq)
	s := l.slot(i)
	if s.n == 0 || s.index != uint32(i) || i <= l.hi-l.most || !l.holds(s) {
		return nil, 0, false
	}
	end := int(s.off) + int(s.n)
	return l.chunks[s.chunk-l.first].bytes[s.off:end:end], s.at, true
}

func (l *Log) slot(i int64) *slot { return &l.slots[i&int64(len(l.slots)-1)] }

// holds says whether the bytes of s are still there.
func (l *Log) holds(s *slot) bool { return s.chunk-l.first < uint32(len(l.chunks)) }

// spent says whether nobody needs what is in c.
func (l *Log) spent(c *chunk, now int64) bool {
	back := l.hi - c.hi
	return back >= l.most || back >= l.least && now-c.newest >= l.keep
}

// maxChunks is how many there are at most: enough for so many of the longest packets, and it bounds what repetitions of one number take.
func (l *Log) maxChunks() int { return int(l.most)/(chunkSize/maxPacket) + 2 }

// turn makes the last chunk one that has room for everything.
func (l *Log) turn(now int64) {
	l.used = 0
	n := len(l.chunks)
	if n == 0 || n < l.maxChunks() && !l.spent(&l.chunks[0], now) {
		l.chunks = append(l.chunks, chunk{bytes: make([]byte, chunkSize)})
		return
	}
	out := 1
	for out < n-1 && l.spent(&l.chunks[out], now) {
		out++
	}
	again := l.chunks[0].bytes
	copy(l.chunks, l.chunks[out:])
	clear(l.chunks[n-out+1:])
	l.chunks = l.chunks[:n-out+1]
	l.chunks[n-out] = chunk{bytes: again}
	l.first += uint32(out)
}

// grow doubles the slots.
func (l *Log) grow() {
	old := l.slots
	l.slots = make([]slot, 2*len(old))
	for _, s := range old {
		if s.n > 0 {
			*l.slot(int64(s.index)) = s
		}
	}
}
