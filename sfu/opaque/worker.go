package opaque

import (
	"sync"
	"sync/atomic"
	"time"

	"konzil/internal/udpio"
)

const (
	// sockBatch is how many datagrams are taken from one socket before others have their turn.
	sockBatch = 32
	// fanSlots and fanSegs are the messages of one flush, and the datagrams of each.
	fanSlots, fanSegs = 128, 32
	// maxDatagram is the largest that is passed: an Ethernet frame's. Fragments are for no one.
	maxDatagram = 1500
	// every is the pace of checks (ICE) and of looking at silences.
	every = 100 * time.Millisecond
)

// worker serves the sockets of its relays with one goroutine.
type worker struct {
	s    *Server
	loop *udpio.Loop
	load atomic.Int32 // relays

	mu       sync.Mutex // guards the fields below, and all of its relays' and channels' that are not fixed
	fan      *udpio.Fan
	told     udpio.WriteStats // as last counted
	channels map[*Channel]struct{}
}

func newWorker(s *Server) (*worker, error) {
	loop, err := udpio.NewLoop()
	if err != nil {
		return nil, err
	}
	return &worker{s: s, loop: loop, fan: udpio.NewFan(fanSlots, fanSegs), channels: map[*Channel]struct{}{}}, nil
}

func (w *worker) run() {
	for {
		batch, err := w.loop.Read()
		if err != nil {
			return
		}
		now := w.s.now()
		var bytes uint64
		var evs events
		w.mu.Lock()
		for i := range batch {
			d := &batch[i]
			bytes += uint64(len(d.Data))
			if c, ok := d.Sock.Owner().(*component); ok {
				w.take(&evs, c, d, now)
			}
		}
		w.fan.Flush()
		w.tally()
		w.mu.Unlock()
		w.s.count.add(cPacketsIn, uint64(len(batch)))
		w.s.count.add(cBytesIn, bytes)
		evs.tell()
	}
}

// take handles one datagram. Caller holds w.mu.
func (w *worker) take(evs *events, c *component, d *udpio.Datagram, now int64) {
	ch, count := c.ch, &w.s.count
	if ch.closed {
		return
	}
	if len(d.Data) > maxDatagram {
		count.inc(cDropTooLong)
		return
	}
	k := classify(d.Data)
	switch k {
	case unknown:
		count.inc(cDropUnknown)
		return
	case stunMsg:
		count.inc(cSTUN)
		if ch.ice == nil || !c.stun(evs, d.Data, d.From, now) {
			count.inc(cDropSTUN)
		}
		return
	case zrtp:
		count.inc(cZRTP)
	case rtp:
		count.inc(cRTP)
	case rtcp:
		count.inc(cRTCP)
	}
	if !c.accept(evs, k, d.Data, d.From, now) {
		count.inc(cDropSource)
		return
	}
	if !ch.allow(len(d.Data), now) {
		ch.stats.Limited++
		count.inc(cDropRate)
		return
	}
	ch.heard = now
	ch.stats.PacketsIn++
	ch.stats.BytesIn += uint64(len(d.Data))
	ch.source(evs, k, d.Data)
	w.pass(ch, c, k, d.Data)
}

// pass sends a packet of ch to the ends of all other channels. Caller holds w.mu.
func (w *worker) pass(from *Channel, c *component, k kind, b []byte) {
	count := &w.s.count
	if from.mute {
		count.inc(cDropDirection)
		return
	}
	ends := from.relay.ends
	if k == zrtp && len(ends) > 2 && from.relay.latched() > 2 {
		count.inc(cDropZRTPGroup)
		return
	}
	for _, to := range ends {
		if to == from {
			continue
		}
		if to.deaf {
			count.inc(cDropDirection)
			continue
		}
		out := &to.comp[c.index]
		if k == rtcp && !out.remote.IsValid() {
			out = &to.comp[0] // an end that muxes (RFC 5761) never shows up at the second port
		}
		if !out.remote.IsValid() {
			count.inc(cDropNoEnd)
			continue
		}
		to.stats.PacketsOut++
		to.stats.BytesOut += uint64(len(b))
		count.add(cBytesOut, uint64(len(b)))
		w.fan.Add(out.sock, out.remote, b)
	}
}

// tally counts what the fan did. Caller holds w.mu.
func (w *worker) tally() {
	st := w.fan.Stats
	w.s.count.add(cPacketsOut, st.Packets-w.told.Packets)
	w.s.count.add(cDropSocket, st.Dropped-w.told.Dropped)
	w.told = st
}

func (w *worker) ticks() {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-w.s.done:
			return
		case <-t.C:
			w.tick(w.s.now())
		}
	}
}

// tick repeats checks and ends silent channels.
func (w *worker) tick(now int64) {
	var evs events
	var over []*Channel
	w.mu.Lock()
	for ch := range w.channels {
		if now-ch.heard > int64(ch.expire) {
			over = append(over, ch)
			continue
		}
		for i := range ch.comp {
			ch.comp[i].recheck(now)
		}
	}
	w.mu.Unlock()
	for _, ch := range over {
		w.s.count.inc(cExpired)
		evs.add(event{ch: ch, kind: evExpired})
		ch.Close()
	}
	evs.tell()
}
