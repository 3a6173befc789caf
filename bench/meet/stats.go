package meet

import (
	"encoding/binary"
	"math/bits"
	"sync"
	"time"

	"github.com/pion/rtp"
	"github.com/pion/rtp/codecs"
)

// Every media payload of the client carries a stamp: magic, sender, counter of the outgoing stream, wall clock in ns. In video it stands
// stampOff bytes behind the payload descriptor, in audio audioOff bytes from the start.
const (
	stampMagic = 0x6b7a6231
	stampSize  = 20
	stampOff   = 10 // behind the uncompressed part of a VP8 keyframe header (RFC 6386 §9.1)
	audioOff   = 1  // behind the Opus TOC byte
)

func putStamp(b []byte, sender, counter uint32, now time.Time) {
	binary.BigEndian.PutUint32(b, stampMagic)
	binary.BigEndian.PutUint32(b[4:], sender)
	binary.BigEndian.PutUint32(b[8:], counter)
	binary.BigEndian.PutUint64(b[12:], uint64(now.UnixNano()))
}

func readStamp(b []byte) (sender, counter uint32, at int64, ok bool) {
	if len(b) < stampSize || binary.BigEndian.Uint32(b) != stampMagic {
		return 0, 0, 0, false
	}
	return binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint32(b[8:]), int64(binary.BigEndian.Uint64(b[12:])), true
}

// Hist is a histogram of durations with 3 % resolution, from 1 us to about an hour.
type Hist struct {
	n       [28 * 32]uint32
	Count   uint64
	Max     time.Duration
	Skipped uint64 // negative: the clocks disagree
}

// Add counts one duration.
func (h *Hist) Add(d time.Duration) {
	if d < 0 {
		h.Skipped++
		return
	}
	h.Count++
	h.Max = max(h.Max, d)
	us := uint64(d / time.Microsecond)
	i := us
	if us >= 32 {
		e := bits.Len64(us) - 6
		i = uint64(e+1)*32 + us>>e - 32
	}
	h.n[min(i, uint64(len(h.n)-1))]++
}

// Sub takes away what an earlier copy of the same histogram had counted. Max stays that of the whole.
func (h *Hist) Sub(o *Hist) {
	for i, n := range o.n {
		h.n[i] -= n
	}
	h.Count -= o.Count
	h.Skipped -= o.Skipped
}

// Quantile returns the duration that a share q of all is not above; 0 when there are none.
func (h *Hist) Quantile(q float64) time.Duration {
	if h.Count == 0 {
		return 0
	}
	rank := uint64(q * float64(h.Count))
	if rank >= h.Count {
		return h.Max
	}
	sum := uint64(0)
	for i, n := range h.n {
		if sum += uint64(n); sum > rank {
			return min(upper(i), h.Max)
		}
	}
	return h.Max
}

// Each calls f for every step of the histogram that counted something, with the longest duration of the step.
func (h *Hist) Each(f func(d time.Duration, n uint32)) {
	for i, n := range h.n {
		if n > 0 {
			f(min(upper(i), h.Max), n)
		}
	}
}

// upper is the longest duration of step i.
func upper(i int) time.Duration {
	us := uint64(i)
	if i >= 32 {
		us = (uint64(i%32+32)+1)<<(i/32-1) - 1
	}
	return time.Duration(us) * time.Microsecond
}

// Received is what came on one SSRC.
type Received struct {
	SSRC       uint32
	Kind       string
	Source     string // source name as signalled last
	Owner      string
	Packets    uint64
	Bytes      uint64 // payload
	Expected   uint64 // by RTP sequence numbers
	Duplicates uint64
	Keyframes  uint64
	Frames     uint64 // VP8: first packets of frames
	Width      int
	Height     int // of the last keyframe
	Unstamped  uint64
	Sender     uint32 // of the last stamp
	Senders    int    // how many changes of sender: a rewritten SSRC serves several sources
	TSBack     uint64 // timestamps that went back while sequence numbers went on
	SeqJumps   uint64 // sequence numbers that leapt by more than 1000
	Latency    Hist
}

// recvStream counts one SSRC.
type recvStream struct {
	mu   sync.Mutex // guards all below
	r    Received
	any  bool
	base int64
	hi   int64
	hiTS uint32
	seen [1024]int64 // extended number by place, to tell duplicates
}

func (s *recvStream) add(p *rtp.Packet, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := int64(p.SequenceNumber) + 1<<16
	if s.any {
		d := int64(int16(p.SequenceNumber - uint16(s.hi)))
		i = s.hi + d
		if d > 1000 || d < -1000 {
			s.r.SeqJumps++
		}
	} else {
		s.any, s.base, s.hi, s.hiTS = true, i, i-1, p.Timestamp
	}
	if s.seen[uint64(i)%1024] == i {
		s.r.Duplicates++
		return
	}
	s.seen[uint64(i)%1024] = i
	if len(p.Payload) == 0 { // padding that keeps its place in the numbering
		s.hi = max(s.hi, i)
		s.base++
		return
	}
	if i > s.hi {
		if int32(p.Timestamp-s.hiTS) < 0 {
			s.r.TSBack++
		}
		s.hi, s.hiTS = i, p.Timestamp
	}
	s.base = min(s.base, i)
	s.r.Packets++
	s.r.Bytes += uint64(len(p.Payload))
	s.r.Expected = uint64(max(s.hi-s.base+1, 0))
	s.payload(p.Payload, now)
}

func (s *recvStream) payload(b []byte, now time.Time) {
	off := audioOff
	if s.r.Kind == "video" {
		var v codecs.VP8Packet
		rest, err := v.Unmarshal(b)
		if err != nil {
			s.r.Unstamped++
			return
		}
		if v.S == 1 && v.PID == 0 {
			s.r.Frames++
			if len(rest) >= 10 && rest[0]&1 == 0 {
				s.r.Keyframes++
				s.r.Width = int(binary.LittleEndian.Uint16(rest[6:]) & 0x3fff)
				s.r.Height = int(binary.LittleEndian.Uint16(rest[8:]) & 0x3fff)
			}
		}
		b, off = rest, stampOff
	}
	if len(b) < off+stampSize {
		s.r.Unstamped++
		return
	}
	sender, _, at, ok := readStamp(b[off:])
	if !ok {
		s.r.Unstamped++
		return
	}
	if sender != s.r.Sender {
		s.r.Sender = sender
		s.r.Senders++
	}
	s.r.Latency.Add(time.Duration(now.UnixNano() - at))
}

func (s *recvStream) snapshot() Received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.r
}
