package rtc

import (
	"container/heap"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/pion/stun/v4"

	"konzil/bench/clock"
	"konzil/bench/measure"
)

const (
	// tick is how often sockets are read when nobody is joining: long, so that a call takes several of a server's bursts (times of arrival are
	// the kernel's), but short beside the 33 ms of a frame, which a keyframe that is asked for waits for anyway.
	tick = int64(20 * time.Millisecond)
	// wheelSlots: with each tick one slot is looked after, so that every transport is once in a turn of 100 ms, evenly spread.
	wheelSlots = 5
	// tickPhase is where ticks lie in the schedule that phase makes: not where the only sender of a scenario sends.
	tickPhase = int64(13 * time.Millisecond)
	// early is how much before its time a tick may be, when the shard is awake anyway.
	early = int64(time.Millisecond)
	// soon is how much before its time a picture may leave when another one is sent: what clients send within a millisecond costs one waking.
	soon = int64(time.Millisecond)
	// handshakeTick is the pace of the loop while a transport is not up yet: a join has six or seven answers of ours in it, each of which
	// waits for half of this on average.
	handshakeTick = int64(200 * time.Microsecond)
	// shortest sleep: less is not worth a system call.
	shortSleep = int64(100 * time.Microsecond)
	// tooLate is when a picture is not sent any more: the generator is overloaded, and a burst of old pictures would load the server with
	// what nobody asked for.
	tooLate = int64(100 * time.Millisecond)
)

// shard owns transports and everything about them. Its goroutine alone touches what is not marked otherwise.
type shard struct {
	eng    *Engine
	p      *inbox
	out    *outbox
	shared *sock     // of all transports, nil: each has its own
	tap    *mediaTap // by which media come, nil: through the sockets

	mu      sync.Mutex // guards queue and closed; bed is there while that is false
	queue   []func()
	bed     bed
	closed  bool
	waiting atomic.Bool

	transports map[int32]*Transport // by number
	bySlot     []*Transport         // by address (shared socket) or port, nil where there is none
	wheel      [wheelSlots][]*Transport
	slot       int
	fast       []*Transport // not up yet
	spare      []*Transport // room for the next fast
	due        dueHeap
	sleeper    clock.Sleeper
	held       bool
	ended      bool

	tickAt int64

	plain   []byte // one packet before encryption
	scratch []byte // decrypted packet
	parts   []part
	msg     stun.Message
	reply   stun.Message
	rng     *rand.Rand

	lat             [2]*hdrhistogram.Histogram // audio, video
	switched        *hdrhistogram.Histogram
	count           Counters
	liveIn, liveOut atomic.Uint64
}

func newShard(e *Engine) (*shard, error) {
	p, err := newInbox()
	if err != nil {
		return nil, err
	}
	b, err := newBed()
	if err != nil {
		p.close()
		return nil, err
	}
	sh := &shard{eng: e, p: p, bed: b, out: newOutbox(), transports: make(map[int32]*Transport), bySlot: make([]*Transport, slots), plain: make([]byte, 2048), scratch: make([]byte, 0, 1<<16),
		parts: make([]part, 0, 64), rng: rand.New(rand.NewPCG(rand.Uint64(), rand.Uint64()))}
	share := e.cfg.Local == loopback && !e.cfg.OwnSockets
	if !e.cfg.NoTap {
		if sh.tap, err = newTap(share); err != nil {
			e.cfg.Logger.Info("all packets are read from the sockets, which costs more", "because", err)
		}
	}
	if share {
		if sh.shared, err = openShared(sh.tap != nil); err == nil && sh.tap != nil {
			err = sh.tap.attach(sh.shared)
		}
		if err != nil {
			e.cfg.Logger.Info("each transport has a socket of its own, which costs more", "because", err)
		}
	}
	sh.sleeper = e.cfg.Clock.Sleeper()
	sh.fresh()
	return sh, nil
}

// fresh begins an interval: new histograms, and nobody was late yet.
func (sh *shard) fresh() {
	sh.count.LateMax = 0
	sh.lat = [2]*hdrhistogram.Histogram{measure.NewHistogram(), measure.NewHistogram()}
	sh.switched = measure.NewHistogram()
}

// post queues work for the shard's goroutine. The queue is bounded by what adapters and handshakes under way can have waiting.
func (sh *shard) post(f func()) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.queue = append(sh.queue, f)
	if !sh.waiting.Swap(true) && !sh.closed {
		sh.bed.wake() // a join begins, or goes on
	}
}

func (sh *shard) commands() {
	if !sh.waiting.Swap(false) {
		return
	}
	sh.mu.Lock()
	q := sh.queue
	sh.queue = nil
	sh.mu.Unlock()
	for _, f := range q {
		f()
	}
}

// run is the shard's goroutine.
func (sh *shard) run() {
	defer sh.close()
	for !sh.ended {
		sh.commands()
		now := time.Now().UnixNano()
		if !sh.held {
			sh.sendDue(now)
		}
		due := now >= sh.tickAt-early
		if due || len(sh.fast) > 0 {
			sh.readAll()
			sh.handshakes(now)
		}
		if due {
			sh.look(now)
			sh.tickAt = sh.eng.after(now+early, tickPhase, tick)
		}
		sh.flush()
		next := sh.tickAt
		if len(sh.fast) > 0 {
			next = min(next, now+handshakeTick)
		}
		if len(sh.due) > 0 && !sh.held {
			next = min(next, sh.due[0].due)
		}
		sh.rest(next)
	}
	sh.commands()
}

// rest lets others run when they can only do so here, and sleeps until a time.
func (sh *shard) rest(until int64) {
	now := time.Now().UnixNano()
	alone := sh.eng.alone.Load()
	if alone {
		sh.sleeper.Yield(now)
		now = time.Now().UnixNano()
	}
	d := until - now
	switch {
	case d <= 0:
	case alone && sh.sleeper.On():
		sh.sleeper.Until(until)
	default:
		sh.bed.sleep(max(d, shortSleep))
	}
}

func (sh *shard) close() {
	sh.mu.Lock()
	sh.closed = true
	sh.mu.Unlock()
	sh.bed.close()
	sh.p.close()
	if sh.shared != nil {
		sh.shared.close()
	}
	if sh.tap != nil {
		sh.tap.close()
	}
}

// flush gives what waits to the kernel.
func (sh *shard) flush() { sh.count.SendErrors += uint64(sh.out.flush()) }

// room is where to write what is to be sent next.
func (sh *shard) room() []byte {
	b, failed := sh.out.room()
	sh.count.SendErrors += uint64(failed)
	return b
}

// end closes all transports and ends the loop.
func (sh *shard) end() {
	for _, t := range sh.transports {
		t.end(errClosed)
	}
	sh.flush()
	sh.ended = true
}

// readAll reads all that came.
func (sh *shard) readAll() {
	before := sh.count.Packets
	if sh.tap != nil {
		sh.readTap()
	}
	switch {
	case sh.shared != nil && sh.tap != nil && len(sh.fast) == 0 && sh.slot != 0: // consent checks at most: once in a turn of the wheel, as from sockets of their own
	case sh.shared != nil:
		sh.read(sh.shared, nil, len(sh.fast) > 0)
	case sh.tap != nil: // the others have a consent check at most: lookAfter reads it
		for _, t := range sh.fast {
			sh.read(t.sock, t, !t.sock.connected)
		}
	default:
		for _, t := range sh.transports {
			sh.read(t.sock, t, !t.sock.connected)
		}
	}
	if n := sh.count.Packets - before; n > 0 {
		sh.liveIn.Add(n)
	}
}

// read takes what a socket has: of a transport, or of all of them with t nil. names asks for the senders, which only connectivity checks need.
func (sh *shard) read(s *sock, t *Transport, names bool) {
	own := t
	for more := true; more; {
		var n int
		n, more = sh.p.read(s, names)
		for i := range n {
			m := sh.p.message(i)
			from := sh.p.from(i)
			sh.count.Messages++
			if m.dropped != 0 && m.dropped != s.dropped {
				sh.count.SocketDrops += uint64(m.dropped - s.dropped)
				s.dropped = m.dropped
			}
			if own == nil {
				if t = sh.bySlot[slotOf(m.to)]; t == nil {
					continue // it has left
				}
			}
			for b := m.b; len(b) > 0 && t.state != stateEnded; {
				k := min(m.seg, len(b))
				t.packet(b[:k], m.at, from)
				b = b[k:]
			}
		}
		if own != nil && own.state == stateEnded {
			return // its socket is closed
		}
	}
}

// readTap takes what the tap has noted.
func (sh *shard) readTap() {
	sh.tap.begin()
	for {
		n, ok := sh.tap.next()
		if !ok {
			break
		}
		t := sh.bySlot[n.slot]
		if t == nil {
			continue // it has left
		}
		sh.count.Messages++
		for {
			b, size, sampled, ok := n.packet()
			if !ok {
				break
			}
			t.media(b, size, n.at, sampled)
		}
	}
	sh.tap.done()
	sh.count.SocketDrops += sh.tap.lostNow()
}

// look serves one slot of the wheel.
func (sh *shard) look(now int64) {
	for _, t := range sh.wheel[sh.slot] {
		t.lookAfter(now)
	}
	sh.slot = (sh.slot + 1) % wheelSlots
}

// hold stops or starts the senders. After a pause each goes on at the place in the schedule where it was.
func (sh *shard) hold(on bool) {
	if sh.held == on {
		return
	}
	sh.held = on
	if on || len(sh.due) == 0 {
		return
	}
	late := time.Now().UnixNano() - sh.due[0].due
	shift := (late + period - 1) / period * period
	for _, o := range sh.due { // the same shift for all keeps the heap in order
		o.due += shift
	}
}

// sendDue sends what is due.
func (sh *shard) sendDue(now int64) {
	out := sh.count.SentPackets
	if len(sh.due) > 0 && sh.due[0].due > now {
		return
	}
	for len(sh.due) > 0 && sh.due[0].due <= now+soon {
		o := sh.due[0]
		late := max(now-o.due, 0)
		if late > tooLate {
			n := late / o.every
			sh.count.Skipped += uint64(n) * uint64(o.perPicture())
			o.due += n * o.every
		} else {
			o.send()
			sh.flush() // the time that it is stamped with is now
			sh.count.LateMax = max(sh.count.LateMax, late)
			o.due += o.every
		}
		heap.Fix(&sh.due, 0)
		now = time.Now().UnixNano()
	}
	if out != sh.count.SentPackets {
		sh.liveOut.Add(sh.count.SentPackets - out)
	}
}

// dueHeap orders outgoing tracks by when they are due.
type dueHeap []*outTrack

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].due < h[j].due }
func (h dueHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i]; h[i].at, h[j].at = i, j }
func (h *dueHeap) Push(x any)        { o := x.(*outTrack); o.at = len(*h); *h = append(*h, o) } // only these are pushed
func (h *dueHeap) Pop() any {
	old := *h
	o := old[len(old)-1]
	*h = old[:len(old)-1]
	o.at = -1
	return o
}
