package xmpp

import (
	"errors"
	"net"
	"sync/atomic"
	"time"

	"konzil/xmpp/stanza"
)

// outItem is one thing to write: a stanza or raw bytes of ours (stream management, last words).
type outItem struct {
	st      *stanza.Stanza
	raw     []byte
	counted bool      // stream management counts it (XEP-0198 §4)
	shared  *delivery // of a message that went to several sessions
	at      int64     // when it was put here, milliseconds since 1970; 0 for raw
	kept    bool      // it is on disk elsewhere: not routed again
	ref     uint64    // where, if the one who keeps it wants to know that the client has it
	logged  bool      // the ledger has it
}

// rawItems are bytes of ours, each an element.
func rawItems(raw [][]byte) []outItem {
	out := make([]outItem, 0, len(raw))
	for _, b := range raw {
		out = append(out, outItem{raw: b})
	}
	return out
}

func (o *outItem) size() int {
	if o.st == nil {
		return len(o.raw)
	}
	return o.st.Size()
}

// delivery is shared by the copies of a message to a bare address: it is lost only when the last of them is.
type delivery struct {
	left    atomic.Int32 // copies that may still arrive
	arrived atomic.Bool
}

// lost tells, of one copy that did not arrive, whether the message must be routed again.
func (d *delivery) lost() bool {
	if d == nil {
		return true
	}
	return d.left.Add(-1) == 0 && !d.arrived.Load()
}

func (d *delivery) ok() {
	if d != nil {
		d.arrived.Store(true)
	}
}

// again notes that the client of one copy had got it before a kill: waits tells that it is still in its queue, and counted as one of those.
func (d *delivery) again(waits bool) {
	if d == nil {
		return
	}
	if !waits {
		d.arrived.Store(true)
	}
	d.left.Add(-1)
}

// fifo is a queue of outItems that knows its bytes. The zero value is empty.
type fifo struct {
	items []outItem
	head  int
	bytes int
}

func (q *fifo) len() int { return len(q.items) - q.head }

func (q *fifo) push(o outItem) {
	if q.head > 0 && len(q.items) == cap(q.items) && q.head >= len(q.items)/2 {
		n := copy(q.items, q.items[q.head:])
		clear(q.items[n:])
		q.items, q.head = q.items[:n], 0
	}
	q.items = append(q.items, o)
	q.bytes += o.size()
}

func (q *fifo) pop() outItem {
	o := q.items[q.head]
	q.items[q.head] = outItem{}
	q.head++
	q.bytes -= o.size()
	if q.head == len(q.items) {
		q.head = 0
		if cap(q.items) > maxIdleQueue {
			q.items = nil
		} else {
			q.items = q.items[:0]
		}
	}
	return o
}

// maxIdleQueue is the largest empty queue that an idle session keeps.
const maxIdleQueue = 16

// all empties the queue.
func (q *fifo) all() []outItem {
	out := q.items[q.head:]
	*q = fifo{}
	return out
}

// prepend puts items before what is there.
func (q *fifo) prepend(items []outItem) {
	rest := q.items[q.head:]
	n := fifo{items: make([]outItem, 0, len(items)+len(rest))}
	for _, o := range items {
		n.push(o)
	}
	for _, o := range rest {
		n.push(o)
	}
	*q = n
}

// batchBytes is about how much goes into one write: a few TLS records.
const batchBytes = 64 << 10

// push queues one item; false: the session has ended, the caller still has the stanza.
func (x *Session) push(o outItem) bool {
	x.mu.Lock()
	ok, overflow := x.pushLocked(o)
	x.mu.Unlock()
	if overflow {
		x.overflow()
	}
	return ok
}

func (x *Session) pushLocked(o outItem) (ok, overflow bool) {
	if x.dead || x.doomed {
		return false, false
	}
	l := &x.srv.cfg.Limits
	if o.st != nil {
		o.counted = x.sm.on
		o.at = time.Now().UnixMilli()
		if x.csi != nil && x.holdLocked(&o) {
			return true, false
		}
		if !x.logLocked(&o) {
			if id := o.st.Archive(); id != "" { // of others the copies are not known to be of one message (restoreQueue)
				o.shared.again(x.waitsLocked(id))
			}
			return true, false
		}
		x.srv.count.stanzasOut.Add(1)
	}
	x.pending.push(o)
	waiting, bytes := x.pending.len(), x.pending.bytes
	if x.stream == nil { // what nobody can acknowledge counts as one queue
		waiting, bytes = waiting+x.sm.unacked.len(), bytes+x.sm.unacked.bytes
	}
	if waiting > l.OutboxStanzas || bytes > l.OutboxBytes {
		x.srv.count.outboxOverflows.Add(1)
		return true, true
	}
	x.kickLocked()
	return true, false
}

// waitsLocked tells whether a message is queued for the client, by its id in archives.
func (x *Session) waitsLocked(archive string) bool {
	for _, q := range []fifo{x.sm.unacked, x.pending} {
		for _, o := range q.items[q.head:] {
			if o.st != nil && o.st.Archive() == archive && !isCarbon(o.st) {
				return true
			}
		}
	}
	return false
}

// kickLocked sees to it that a flusher is at work while there is something to write and a stream to write it to.
func (x *Session) kickLocked() {
	if st := x.stream; st != nil && !st.flushing && !st.finished {
		st.flushing = true
		st.srv.flushers.start(st)
	}
}

// flushedLocked notes that the flusher of st has ended.
func (st *stream) flushedLocked() {
	st.flushing = false
	if st.idle != nil {
		close(st.idle)
		st.idle = nil
	}
}

// flush is the one writer of a stream; it ends when the outbox is empty, so that idle sessions cost one goroutine, not two. It collects in the memory of
// batch, which is empty, and gives it back so.
func (st *stream) flush(batch []outItem) []outItem {
	for {
		var final bool
		batch, final = st.sess.take(st, batch[:0])
		if len(batch) == 0 {
			return batch
		}
		if err := st.wire.write(batch); err != nil {
			var ne net.Error
			if errors.As(err, &ne) && ne.Timeout() {
				st.srv.count.slowReaders.Add(1)
			}
			st.wire.abandon() // the reader notices and gives the session back
			st.sess.unwritten(st, batch)
			return nil
		}
		st.sess.delivered(batch)
		clear(batch)
		if final {
			st.wire.endWrite()
			st.sess.mu.Lock()
			st.flushedLocked()
			st.sess.mu.Unlock()
			return batch[:0]
		}
	}
}

// delivered notes what was written and nobody will acknowledge.
func (x *Session) delivered(batch []outItem) {
	logged := 0
	for i := range batch {
		if o := &batch[i]; !o.counted {
			o.shared.ok()
			x.signed(o)
			if o.logged {
				logged++
			}
		}
	}
	if logged > 0 {
		x.mu.Lock()
		x.ch.Ack(logged, x.sm.acked)
		x.mu.Unlock()
	}
}

// signed tells who keeps o that the client has it.
func (x *Session) signed(o *outItem) {
	if o.ref != 0 && x.srv.hooks.signed != nil {
		x.srv.hooks.signed(x.jid.Bare(), o.ref)
	}
}

// take moves a batch from the outbox to the writer, and what is counted to the unacknowledged. An empty batch ends the flusher.
func (x *Session) take(st *stream, batch []outItem) (_ []outItem, final bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.stream != st && st.last == nil || st.finished {
		st.flushedLocked()
		return batch, false
	}
	for bytes := 0; x.stream == st && (st.last == nil || st.drain) && x.pending.len() > 0 && bytes < batchBytes; {
		o := x.pending.pop()
		bytes += o.size()
		if o.counted {
			x.sm.unacked.push(o)
			x.sm.sinceAsk++
		}
		batch = append(batch, o)
	}
	l := &x.srv.cfg.Limits
	if st.last == nil && (x.sm.unacked.len() > l.UnackedStanzas || x.sm.unacked.bytes > l.OutboxBytes) {
		x.srv.count.unackedOverflows.Add(1)
		x.doomed = true
		x.lastWordsLocked(st, stanza.NewStreamError("resource-constraint", "too much is not acknowledged"), false)
	}
	if st.last != nil && (!st.drain || x.stream != st || x.pending.len() == 0) {
		st.finished = true
		return append(batch, st.last...), true
	}
	if len(batch) == 0 {
		st.flushedLocked()
		return batch, false
	}
	if x.askLocked() {
		batch = append(batch, outItem{raw: smRequest})
	}
	return batch, false
}

// unwritten puts back what a failed write had and nobody else has: the counted ones are among the unacknowledged.
func (x *Session) unwritten(st *stream, batch []outItem) {
	var back []outItem
	for _, o := range batch {
		if o.st != nil && !o.counted {
			back = append(back, o)
		}
	}
	x.mu.Lock()
	st.finished = true
	dead := x.dead
	if !dead {
		x.pending.prepend(back)
	}
	x.mu.Unlock()
	if dead { // ended meanwhile, without them
		x.srv.reroute(back)
	}
	x.mu.Lock()
	st.flushedLocked()
	x.mu.Unlock()
}

// lastWords makes st end with an error, or properly for nil; drain: after what waits.
func (x *Session) lastWords(st *stream, se *stanza.StreamError, drain bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.lastWordsLocked(st, se, drain)
}

func (x *Session) lastWordsLocked(st *stream, se *stanza.StreamError, drain bool) {
	if st.last != nil || st.finished {
		return
	}
	if se != nil {
		st.last = append(st.last, outItem{raw: st.xml(se)})
	}
	st.last = append(st.last, outItem{raw: st.wire.appendTrailer(nil)})
	st.drain = drain
	wait := lastWordsTimeout
	if drain {
		wait = drainTimeout
	}
	st.cutoff = time.AfterFunc(wait, st.wire.abandon)
	if !st.flushing {
		st.flushing = true
		st.srv.flushers.start(st)
	}
}
