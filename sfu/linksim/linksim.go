// Package linksim is a model of one direction of a network path, for tests of congestion control and for the impairment harness:
// random loss, then a bottleneck with a rate and a drop-tail queue, then a delay with jitter that keeps the order.
//
// Push puts a packet in, Next tells when the next one comes out, Pop takes it. Fields may be changed between calls: a new rate holds
// for what is still queued. Several flows share a link by the tags of their packets. No goroutine, lock or clock: times are nanoseconds
// of whoever calls, and must not go back.
package linksim

import "math/rand/v2"

// Link is one direction. The zero value passes everything at once.
type Link struct {
	Rate   float64 // bits per second, 0: no bottleneck
	Delay  int64   // ns after the bottleneck
	Jitter int64   // ns, uniform on top of Delay; order is kept
	Queue  int64   // ns of data at Rate that may wait; a packet that finds more is lost. 0: no limit
	Loss   float64 // 0..1, before the bottleneck
	Burst  float64 // mean length of runs of lost packets, below 1 counts as 1 (independent losses)
	Rand   *rand.Rand

	Dropped, Lost uint64 // by the queue, by chance

	queue   []packet // in the bottleneck, head first
	flight  []packet // behind it
	bits    float64  // in the queue, the served part of the head taken off
	at      int64    // up to when the bottleneck was served
	last    int64    // arrival of the newest packet in flight
	losing  bool
	arrived int
	served  int
}

type packet struct {
	bits float64
	tag  uint64
	at   int64 // when it comes out
}

// Push puts a packet of size bytes in at now; false when it is lost.
func (l *Link) Push(now int64, size int, tag uint64) bool {
	l.advance(now)
	if l.lose() {
		l.Lost++
		return false
	}
	if l.Rate > 0 && l.Queue > 0 && l.bits*1e9/l.Rate > float64(l.Queue) {
		l.Dropped++
		return false
	}
	p := packet{bits: float64(size) * 8, tag: tag}
	if l.Rate <= 0 {
		l.fly(p, now)
		return true
	}
	l.bits += p.bits
	l.queue = append(l.queue, p)
	return true
}

// lose decides about one packet: independent, or in runs of Burst on average with the same share lost in all (Gilbert).
func (l *Link) lose() bool {
	if l.Loss <= 0 || l.Rand == nil {
		l.losing = false
		return false
	}
	p := l.Loss
	if l.Burst > 1 {
		if l.losing {
			p = 1 - 1/l.Burst
		} else if l.Loss < 1 {
			p = l.Loss / (1 - l.Loss) / l.Burst
		}
	}
	l.losing = l.Rand.Float64() < p
	return l.losing
}

// advance serves the bottleneck up to now.
func (l *Link) advance(now int64) {
	for l.served < len(l.queue) {
		if l.Rate <= 0 {
			l.pass(max(l.at, 0))
			continue
		}
		need := int64(l.queue[l.served].bits * 1e9 / l.Rate)
		if l.at+need > now {
			part := float64(now-l.at) * l.Rate / 1e9
			if part > 0 {
				l.queue[l.served].bits -= part
				l.bits -= part
			}
			break
		}
		l.pass(l.at + need)
	}
	l.at = max(l.at, now)
}

// pass lets the head out of the bottleneck at time t.
func (l *Link) pass(t int64) {
	p := l.queue[l.served]
	l.bits = max(l.bits-p.bits, 0)
	l.at = max(l.at, t)
	l.fly(p, t)
	if l.served++; l.served == len(l.queue) {
		l.queue, l.served, l.bits = l.queue[:0], 0, 0
	}
}

func (l *Link) fly(p packet, now int64) {
	p.at = now + l.Delay
	if l.Jitter > 0 && l.Rand != nil {
		p.at += l.Rand.Int64N(l.Jitter)
	}
	p.at = max(p.at, l.last)
	l.last = p.at
	l.flight = append(l.flight, p)
}

// Pop takes the next packet that has come out by now, with the time when it did.
func (l *Link) Pop(now int64) (tag uint64, at int64, ok bool) {
	l.advance(now)
	if l.arrived == len(l.flight) || l.flight[l.arrived].at > now {
		return 0, 0, false
	}
	p := l.flight[l.arrived]
	if l.arrived++; l.arrived == len(l.flight) {
		l.flight, l.arrived = l.flight[:0], 0
	}
	return p.tag, p.at, true
}

// Next is when something happens next, if nothing is put in: a packet comes out of the bottleneck or of the link. false: never.
func (l *Link) Next(now int64) (at int64, ok bool) {
	l.advance(now)
	if l.arrived < len(l.flight) {
		at, ok = l.flight[l.arrived].at, true
	}
	if l.served < len(l.queue) && l.Rate > 0 {
		if t := l.at + int64(l.queue[l.served].bits*1e9/l.Rate) + 1; !ok || t < at {
			at, ok = t, true
		}
	}
	return at, ok
}

// Wait is how long a packet would wait in the queue now, ns.
func (l *Link) Wait(now int64) int64 {
	l.advance(now)
	if l.Rate <= 0 {
		return 0
	}
	return int64(l.bits * 1e9 / l.Rate)
}
