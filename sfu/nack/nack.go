// Package nack watches the sequence numbers of one incoming stream: Generator says what to ask the sender for again
// (RFC 4585 §6.2.1), Stats (stats.go) makes the receiver report (RFC 3550 §6.4.1, appendices A.3 and A.8). Answers (answers.go) is for the other
// direction: it says which requests of a receiver are to be answered.
//
// Call Received for every packet of the media SSRC, those recovered by RTX too; call Due at each tick (10..20 ms) and send what it
// returns; when GaveUp says so, ask for a keyframe instead. No goroutine, lock or clock; for one user at a time; times are nanoseconds.
package nack

import "konzil/sfu/rtp"

// Limits of Generator.
const (
	window      = 1000            // sequence numbers back that are still asked for: more is cheaper to replace by a keyframe
	maxTries    = 10              // requests for one packet
	reorderWait = 5 * 1e6         // ns before the first request: a packet merely overtaken arrives meanwhile
	minRetry    = 20 * 1e6        // ns between requests when the round trip is shorter: a sender answers from its pacer
	defaultRTT  = 100 * 1e6       // ns, while the round trip is unknown
	maxRetry    = 1000 * 1000_000 // ns
	recvWords   = 1024 / 64
	recvWindow  = recvWords * 64
)

// Generator keeps the missing sequence numbers of one stream. The zero value is ready.
type Generator struct {
	seq     rtp.Unwrapper
	hi      int64
	any     bool
	got     [recvWords]uint64 // bit per number in (hi-recvWindow, hi]
	missing []miss            // ascending
	gaveUp  bool
}

type miss struct {
	seq   int64
	next  int64 // when to ask
	tries uint8
}

func (g *Generator) bit(i int64) (w *uint64, m uint64) {
	return &g.got[uint64(i)/64%recvWords], 1 << (uint64(i) % 64)
}

// Received notes a packet. isNew is false for a packet that came before, or so long ago that nobody knows.
func (g *Generator) Received(seq uint16, now int64) (isNew bool) {
	i := g.seq.Unwrap(seq)
	if !g.any {
		g.any, g.hi = true, i
		w, m := g.bit(i)
		*w |= m
		return true
	}
	if i <= g.hi {
		if i <= g.hi-recvWindow {
			return false
		}
		w, m := g.bit(i)
		if *w&m != 0 {
			return false
		}
		*w |= m
		g.found(i)
		return true
	}
	if i-g.hi > window {
		// Nothing that is missing now will be asked for.
		g.giveUp(len(g.missing) + 1)
		g.got = [recvWords]uint64{}
	} else {
		for s := g.hi + 1; s < i; s++ {
			w, m := g.bit(s)
			*w &^= m
			g.add(s, now)
		}
	}
	g.hi = i
	w, m := g.bit(i)
	*w |= m
	n := 0
	for n < len(g.missing) && g.missing[n].seq <= i-window {
		n++
	}
	g.giveUp(n)
	return true
}

// Got reports whether seq was received, as far as that is remembered.
func (g *Generator) Got(seq uint16) bool {
	if !g.any {
		return false
	}
	i := g.seq.Peek(seq)
	if i > g.hi || i <= g.hi-recvWindow {
		return false
	}
	w, m := g.bit(i)
	return *w&m != 0
}

// Newest is the newest number received; only valid after the first Received.
func (g *Generator) Newest() uint16 { return uint16(g.hi) }

func (g *Generator) add(s, now int64) {
	if g.missing == nil {
		g.missing = make([]miss, 0, window)
	}
	if len(g.missing) == cap(g.missing) {
		g.giveUp(1)
	}
	g.missing = append(g.missing, miss{seq: s, next: now + reorderWait})
}

// giveUp drops the n oldest missing numbers.
func (g *Generator) giveUp(n int) {
	if n <= 0 {
		return
	}
	g.gaveUp = true
	n = min(n, len(g.missing))
	g.missing = g.missing[:copy(g.missing, g.missing[n:])]
}

// found removes a number that is missing no longer.
func (g *Generator) found(s int64) {
	lo, hi := 0, len(g.missing)
	for lo < hi {
		mid := (lo + hi) / 2
		if g.missing[mid].seq < s {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo < len(g.missing) && g.missing[lo].seq == s {
		g.missing = g.missing[:lo+copy(g.missing[lo:], g.missing[lo+1:])]
	}
}

// Due appends to dst the sequence numbers to ask for now, in ascending order. Each is asked for again after rtt (<= 0: unknown), at
// most maxTries times.
func (g *Generator) Due(now int64, rtt int64, dst []uint16) []uint16 {
	if len(g.missing) == 0 {
		return dst
	}
	if rtt <= 0 {
		rtt = defaultRTT
	}
	rtt = min(max(rtt, minRetry), maxRetry)
	keep := g.missing[:0]
	for _, m := range g.missing {
		if m.next <= now {
			if m.tries == maxTries {
				g.gaveUp = true
				continue
			}
			dst = append(dst, uint16(m.seq))
			m.tries++
			m.next = now + rtt
		}
		keep = append(keep, m)
	}
	g.missing = keep
	return dst
}

// GaveUp reports whether packets were given up since the last call: only a keyframe helps now.
func (g *Generator) GaveUp() bool {
	v := g.gaveUp
	g.gaveUp = false
	return v
}
