package xmpp

import (
	"strconv"
	"sync"

	"konzil/xmpp/stanza"
)

// Keeper puts messages on disk before they go on, and before their sender is told that they were handled (XEP-0198 §4). Hooks.Keeper
// sets the one of the server.
type Keeper interface {
	// Keep sees each message that a local session sends, in order and before the outbound hooks. It returns the message to go on with and
	// a ticket: 0 when nothing is to be waited for. It must not wait for the disk itself. An error is the sender's answer.
	Keep(x *Session, st *stanza.Stanza) (*stanza.Stanza, uint64, *stanza.Error)
	// Settle returns once what the ticket stands for is on disk; ticket 0 stands for everything that was kept so far.
	Settle(ticket uint64) error
}

// Keeper sets the keeper; there is one.
func (h *Hooks) Keeper(k Keeper) {
	if h.keeper != nil {
		panic("xmpp: two keepers")
	}
	h.keeper = k
}

// maxKeeping bounds what of one stream waits for the disk and for what waits before it. When it is full nothing more is read
// from the stream until there is room.
const maxKeeping = 256

// keeping carries out in their order what a stream has received, while messages in it wait for the disk: on the stream's goroutine while
// nothing waits, else on one of its own that ends when the queue is empty.
type keeping struct {
	mu      sync.Mutex // guards queue, running
	queue   []inItem
	running bool
	less    *sync.Cond // the queue got shorter or running ended

	unsettled bool // messages were handled since the last Settle(0); belongs to whoever carries out
}

// inItem is a stanza on its way in, or (ask) the client's wish to know what was handled.
type inItem struct {
	st      *stanza.Stanza
	bad     *stanza.JIDError
	ticket  uint64
	refused *stanza.Error // the keeper does not take it
	ask     bool
}

// take carries out it, now or in its turn.
func (st *stream) take(it inItem) {
	q := &st.keeping
	q.mu.Lock()
	if !q.running && it.ticket == 0 && !(it.ask && q.unsettled) {
		q.mu.Unlock()
		st.carryOut(it)
		return
	}
	if q.less == nil {
		q.less = sync.NewCond(&q.mu)
	}
	for len(q.queue) >= maxKeeping {
		q.less.Wait()
	}
	q.queue = append(q.queue, it)
	if !q.running {
		q.running = true
		go st.carryOutAll()
	}
	q.mu.Unlock()
}

// carryOutAll empties the queue and ends.
func (st *stream) carryOutAll() {
	q := &st.keeping
	for {
		q.mu.Lock()
		batch := q.queue
		q.queue = nil
		if len(batch) == 0 {
			q.running = false
		}
		q.less.Broadcast()
		q.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		for _, it := range batch {
			st.carryOut(it)
		}
	}
}

// drained returns when nothing waits any more; only for the goroutine that calls take.
func (st *stream) drained() {
	q := &st.keeping
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.running {
		q.less.Wait()
	}
}

// settleAll makes sure that what was handled is on disk, so that it may be counted to the client.
func (st *stream) settleAll() {
	q := &st.keeping
	if q.unsettled && st.srv.hooks.keeper != nil {
		if err := st.srv.hooks.keeper.Settle(0); err != nil {
			st.srv.log.Error("what was handled may not be on disk", "jid", st.sess.jid.String(), "err", err)
		}
	}
	q.unsettled = false
}

// carryOut is the last step of one item.
func (st *stream) carryOut(it inItem) {
	x := st.sess
	if it.ask {
		st.settleAll()
		x.mu.Lock()
		h := x.sm.handled
		x.mu.Unlock()
		x.push(outItem{raw: stanza.NewElement(nsSM, "a", "h", strconv.FormatUint(uint64(h), 10)).AppendXML(nil, "")})
		return
	}
	refused := it.refused
	if it.ticket != 0 {
		if err := st.srv.hooks.keeper.Settle(it.ticket); err != nil {
			st.srv.log.Error("message not kept", "from", x.jid.String(), "err", err)
			refused = stanza.ErrInternal.With("The message could not be stored")
		}
	}
	if refused != nil {
		x.refuse(it.st, refused)
	} else {
		st.keeping.unsettled = st.keeping.unsettled || it.st.Kind == stanza.Message
		x.dispatch(it.st, it.bad)
	}
	x.mu.Lock()
	x.sm.handled++
	x.mu.Unlock()
}
