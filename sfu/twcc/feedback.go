package twcc

import (
	"encoding/binary"
	"unsafe"

	"konzil/sfu/prefetch"
)

const (
	// sentWindow is how many outgoing packets wait for feedback at most: at 100 Mb/s (bwe.DefaultMax) in 1200-byte packets 0.4 s.
	sentWindow = 4096
	// sentFirst is where the window begins. It doubles when a packet would go that is younger than sentYoung and was not told of yet: at 260
	// packets a second, told of each 100 ms, it stays.
	sentFirst = 64
	sentYoung = 2e9 // ns
)

// State of a sent packet.
const (
	empty = iota
	inFlight
	reportedLost
	reportedReceived
)

// Sent notes outgoing packets by transport-wide number until feedback comes. The zero value is ready; the first Add allocates.
type Sent struct {
	ring []sentPacket
	// The receiver's reference time has 24 bits and wraps every 12 days; ref is its extension.
	ref    int64
	refAny bool
}

type sentPacket struct {
	at    int64
	seq   uint16
	size  uint16
	state uint8
	probe uint8
}

// Acked is what became of one packet.
type Acked struct {
	Seq         uint16
	Size        int
	SendTime    int64 // ns, our clock
	ArrivalTime int64 // ns, the receiver's clock; -1: lost
	Probe       uint8 // as given to Add
	Late        bool  // was told lost before
}

// Add notes a packet of size bytes that is sent now, as part of a probe if that is not 0.
func (s *Sent) Add(seq uint16, size int, now int64, probe uint8) {
	if s.ring == nil {
		s.ring = make([]sentPacket, sentFirst)
	}
	p := &s.ring[int(seq)&(len(s.ring)-1)]
	if p.state == inFlight && now-p.at < sentYoung && len(s.ring) < sentWindow {
		s.grow()
		p = &s.ring[int(seq)&(len(s.ring)-1)]
	}
	// Not as a literal: that would be made elsewhere and copied in one piece, which waits for its parts to be written.
	p.at, p.seq, p.size, p.state, p.probe = now, seq, uint16(min(max(size, 0), 0xffff)), inFlight, probe
}

// Fetch asks for the memory that Add is going to need.
func (s *Sent) Fetch(seq uint16) {
	if len(s.ring) > 0 {
		prefetch.Lines(unsafe.Pointer(&s.ring[int(seq)&(len(s.ring)-1)]), 2)
	}
}

// grow doubles the ring.
func (s *Sent) grow() {
	old := s.ring
	s.ring = make([]sentPacket, 2*len(old))
	for _, p := range old {
		if p.state == empty {
			continue
		}
		s.ring[int(p.seq)&(len(s.ring)-1)] = p
	}
}

// ParseFeedback reads one feedback message (behind the media SSRC, see rtp.Feedback) and appends to dst what became of the packets in
// s. A packet is told once as lost at most and once as received at most: received may follow lost, when it was only late. Packets that
// s does not know are skipped. Of malformed feedback nothing is used.
func ParseFeedback(fci []byte, s *Sent, dst []Acked) ([]Acked, error) {
	if len(fci) < 8 {
		return dst, ErrFeedback
	}
	base := binary.BigEndian.Uint16(fci)
	count := int(binary.BigEndian.Uint16(fci[2:]))
	ref := int64(fci[4])<<16 | int64(fci[5])<<8 | int64(fci[6])
	// Where do the deltas begin, and are they all there?
	chunks, deltas, need := fci[8:], fci[8:], 0
	for n := 0; n < count; {
		if len(deltas) < 2 {
			return dst, ErrFeedback
		}
		c := binary.BigEndian.Uint16(deltas)
		deltas = deltas[2:]
		for i, m := 0, min(chunkLen(c), count-n); i < m; i++ {
			need += int(chunkSymbol(c, i)) // the symbol is the length of its delta: 0, 1 or 2 bytes
			if c&0x8000 == 0 {
				need += int(chunkSymbol(c, i)) * (m - 1)
				break
			}
		}
		if chunkLen(c) == 0 {
			return dst, ErrFeedback
		}
		n += chunkLen(c)
	}
	if need > len(deltas) {
		return dst, ErrFeedback
	}
	at := s.unwrapRef(ref) * refUnit
	for n := 0; n < count; {
		c := binary.BigEndian.Uint16(chunks)
		chunks = chunks[2:]
		m := min(chunkLen(c), count-n)
		for i := range m {
			seq := base + uint16(n+i)
			switch chunkSymbol(c, i) {
			case symSmall:
				at += int64(deltas[0]) * deltaUnit
				deltas = deltas[1:]
				dst = s.received(seq, at, dst)
			case symLarge:
				at += int64(int16(binary.BigEndian.Uint16(deltas))) * deltaUnit
				deltas = deltas[2:]
				dst = s.received(seq, at, dst)
			default:
				dst = s.lost(seq, dst)
			}
		}
		n += m
	}
	return dst, nil
}

// chunkLen is how many packets a chunk stands for.
func chunkLen(c uint16) int {
	switch c >> 14 {
	case 2:
		return 14
	case 3:
		return 7
	}
	return int(c & 0x1fff)
}

// chunkSymbol is the status of the i-th packet of a chunk. The reserved symbol 3 counts as lost (draft §3.1.1).
func chunkSymbol(c uint16, i int) uint8 {
	var s uint16
	switch c >> 14 {
	case 2:
		s = c >> (13 - i) & 1
	case 3:
		s = c >> (12 - 2*i) & 3
	default:
		s = c >> 13 & 3
	}
	if s == 3 {
		return symLost
	}
	return uint8(s)
}

func (s *Sent) unwrapRef(ref int64) int64 {
	const circle = 1 << 24
	if !s.refAny {
		// One circle up, so that a step back stays positive.
		s.ref, s.refAny = circle+ref, true
		return s.ref
	}
	d := (ref - s.ref) & (circle - 1)
	if d >= circle/2 {
		d -= circle
	}
	x := s.ref + d
	if d > 0 {
		s.ref = x
	}
	return x
}

func (s *Sent) find(seq uint16) *sentPacket {
	if s.ring == nil {
		return nil
	}
	if p := &s.ring[int(seq)&(len(s.ring)-1)]; p.seq == seq && p.state != empty {
		return p
	}
	return nil
}

func (s *Sent) received(seq uint16, at int64, dst []Acked) []Acked {
	p := s.find(seq)
	if p == nil || p.state == reportedReceived {
		return dst
	}
	late := p.state == reportedLost
	p.state = reportedReceived
	return append(dst, Acked{Seq: seq, Size: int(p.size), SendTime: p.at, ArrivalTime: at, Probe: p.probe, Late: late})
}

func (s *Sent) lost(seq uint16, dst []Acked) []Acked {
	p := s.find(seq)
	if p == nil || p.state != inFlight {
		return dst
	}
	p.state = reportedLost
	return append(dst, Acked{Seq: seq, Size: int(p.size), SendTime: p.at, ArrivalTime: -1, Probe: p.probe})
}
