package translator

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
	// arenaSize is for sealed packets between two flushes: a batch for some ends.
	arenaSize = 256 << 10
	// maxDatagram is the largest that is passed: an Ethernet frame's. Fragments are for no one.
	maxDatagram = 1500
	// every is the pace of checks (ICE) and of looking at silences.
	every = 100 * time.Millisecond
)

// worker serves the sockets of its groups with one goroutine.
type worker struct {
	s    *Server
	loop *udpio.Loop
	load atomic.Int32 // groups

	mu         sync.Mutex // guards the fields below, and all of its groups' and channels' that are not fixed
	fan        *udpio.Fan
	told       udpio.WriteStats // as last counted
	channels   map[*Channel]struct{}
	transports map[*transport]struct{}
	arena      []byte // what was sealed for the fan
}

func newWorker(s *Server) (*worker, error) {
	loop, err := udpio.NewLoop(nil)
	if err != nil {
		return nil, err
	}
	return &worker{s: s, loop: loop, fan: udpio.NewFan(fanSlots, fanSegs), channels: map[*Channel]struct{}{}, transports: map[*transport]struct{}{}, arena: make([]byte, 0, arenaSize)}, nil
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
		w.arena = w.arena[:0]
		w.tally()
		w.mu.Unlock()
		w.s.count.add(cPacketsIn, uint64(len(batch)))
		w.s.count.add(cBytesIn, bytes)
		evs.tell()
	}
}

// take handles one datagram. Caller holds w.mu.
func (w *worker) take(evs *events, c *component, d *udpio.Datagram, now int64) {
	t, count := c.t, &w.s.count
	if len(t.channels) == 0 {
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
		if t.ice == nil || !c.stun(evs, d.Data, d.From, now) {
			count.inc(cDropSTUN)
		}
		return
	case dtlsMsg:
		count.inc(cDTLS)
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
	if !t.allow(len(d.Data), now) {
		t.limited++
		count.inc(cDropRate)
		return
	}
	t.heard = now
	if k == dtlsMsg {
		if c.assoc == nil || !c.assoc.pipe.Push(d.Data) {
			count.inc(cDropDTLS)
		}
		return
	}
	ch := t.channelOf(k, d.Data)
	if ch == nil {
		count.inc(cDropNoChannel)
		return
	}
	ch.stats.PacketsIn++
	ch.stats.BytesIn += uint64(len(d.Data))
	if b := w.opened(c, k, d.Data); b != nil {
		ch.source(evs, k, b)
		w.pass(ch, c, k, b)
	}
}

// opened gives what is passed of a packet, nil for nothing. Caller holds w.mu.
func (w *worker) opened(c *component, k kind, b []byte) []byte {
	count := &w.s.count
	switch {
	case c.t.how != byDTLS:
		return b
	case k == zrtp, !c.ready():
		count.inc(cDropKeys)
		return nil
	}
	plain, err := c.open(k, b)
	if err != nil {
		count.inc(cDropSRTP)
		return nil
	}
	return plain
}

// pass sends a packet of ch to the ends of all other channels. Caller holds w.mu.
func (w *worker) pass(from *Channel, c *component, k kind, b []byte) {
	count := &w.s.count
	if from.mute {
		count.inc(cDropDirection)
		return
	}
	ends := from.group.ends
	if k == zrtp && len(ends) > 2 && from.group.latched() > 2 {
		count.inc(cDropZRTPCrowd)
		return
	}
	for _, to := range ends {
		switch {
		case to.t == from.t:
			continue
		case to.deaf:
			count.inc(cDropDirection)
			continue
		case (to.t.how == byDTLS) != (from.t.how == byDTLS): // what was opened goes to nobody in clear, what was not cannot be sealed
			count.inc(cDropMixed)
			continue
		}
		out := &to.t.comp[min(c.index, len(to.t.comp)-1)]
		if k == rtcp && !out.ready() {
			out = &to.t.comp[0] // an end that muxes (RFC 5761) never shows up at the second port
		}
		if !out.ready() {
			count.inc(cDropNoEnd)
			continue
		}
		p := b
		if to.t.how == byDTLS {
			if p = out.sealed(k, b); p == nil {
				count.inc(cDropKeys)
				continue
			}
		}
		to.stats.PacketsOut++
		to.stats.BytesOut += uint64(len(p))
		count.add(cBytesOut, uint64(len(p)))
		w.fan.Add(out.sock, out.remote, p)
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
		if now-ch.t.heard > int64(ch.expire) {
			over = append(over, ch)
		}
	}
	for t := range w.transports {
		for i := range t.comp {
			t.comp[i].recheck(now)
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
