package xmpp

import (
	"strconv"
	"sync"
	"sync/atomic"

	"konzil/internal/ledger"
	"konzil/xmpp/stanza"
)

// Keeper puts messages on disk before they go on, and before their sender is told that they were handled (XEP-0198 §4). Hooks.Keeper
// sets the one of the server.
type Keeper interface {
	// Keep sees each message that a local session, or (x nil) another server, sends, in order and before the hooks. It returns the message to go on with and
	// a ticket: 0 when nothing is to be waited for. It must not wait for the disk itself. An error is the sender's answer.
	Keep(x *Session, st *stanza.Stanza) (*stanza.Stanza, uint64, *stanza.Error)
	// Settle returns once what the ticket stands for is on disk; ticket 0 stands for everything that was kept so far.
	Settle(ticket uint64) error
	// Keeping tells whether a message that came on a channel (stanza.Origin) is on its way to the disk without a ticket, since a room keeps it. It
	// must not wait.
	Keeping(channel uint32) bool
	// Sent tells that a message with a ticket was handed on to all who get it, or refused.
	Sent(st *stanza.Stanza)
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

// inOrder carries out in their order what one peer has sent, while messages in it wait for the disk: on the goroutine that calls take while
// nothing waits, else on one of its own that ends when the queue is empty. take and drained are for one goroutine.
type inOrder struct {
	srv *Server
	do  func(it inItem) // does what is left to do, in order
	ch  *ledger.Channel // of the peer; nil: nothing is remembered

	mu      sync.Mutex // guards queue, running, plain
	queue   []inItem
	running bool
	plain   int        // of the queue, and under way: stanzas that are not kept
	less    *sync.Cond // queue or passing got shorter, or one of their goroutines ended; nil: nobody has waited yet (wait)

	unsettled bool // messages were handled since the last settle; belongs to whoever carries out

	passing []*stanza.Stanza // kept messages on whose way something still waits (passOn); guarded by mu
	passes  bool             // passAll runs; guarded by mu
}

// inItem is a stanza on its way in, or (st nil) the peer's wish to know what was handled.
type inItem struct {
	st      *stanza.Stanza
	bad     *stanza.JIDError
	ticket  uint64
	refused *stanza.Error // it goes no further
}

// keep gives a message to the keeper; x is the session that sent it, nil for another server.
func (it *inItem) keep(srv *Server, x *Session) {
	if k := srv.hooks.keeper; k != nil {
		st, ticket, err := k.Keep(x, it.st)
		it.st, it.ticket, it.refused = st, ticket, err
	}
}

// take carries out it, now or in its turn.
func (q *inOrder) take(it inItem) {
	q.mu.Lock()
	if !q.running && it.ticket == 0 && (it.st != nil || !q.unsettled) {
		q.mu.Unlock()
		q.carryOut(it)
		return
	}
	for len(q.queue) >= maxKeeping {
		q.wait()
	}
	q.queue = append(q.queue, it)
	if it.plain() {
		q.plain++
	}
	if !q.running {
		q.running = true
		go q.carryOutAll()
	}
	q.mu.Unlock()
}

// wait returns when something has got shorter, or ended; mu is held.
func (q *inOrder) wait() {
	if q.less == nil {
		q.less = sync.NewCond(&q.mu)
	}
	q.less.Wait()
}

// wake is for those in wait; mu is held.
func (q *inOrder) wake() {
	if q.less != nil {
		q.less.Broadcast()
	}
}

// carryOutAll empties the queue and ends.
func (q *inOrder) carryOutAll() {
	for {
		q.mu.Lock()
		batch := q.queue
		q.queue = nil
		if len(batch) == 0 {
			q.running = false
		}
		q.wake()
		q.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		for i := range batch {
			q.carryOut(batch[i])
			if batch[i].plain() {
				q.mu.Lock()
				q.plain--
				q.wake()
				q.mu.Unlock()
			}
		}
	}
}

func (it *inItem) plain() bool { return it.st != nil && it.ticket == 0 }

// plainFirst returns when no stanza waits that is not kept, here or in a room: what is kept counts as handled once it is on disk, and with it all that
// came before.
func (q *inOrder) plainFirst() {
	q.mu.Lock()
	for q.plain > 0 {
		q.wait()
	}
	q.mu.Unlock()
	q.released()
}

// released returns when no room holds anything of the peer's; false: the server has ended before.
func (q *inOrder) released() bool { return q.srv.holds.wait(q.srv.ctx, q.ch.ID()) }

// drained returns when nothing waits any more.
func (q *inOrder) drained() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.running || q.passes {
		q.wait()
	}
}

// settle makes sure that what was handled is on disk or with those who get it, so that it may be counted to the peer; false: it may not.
func (q *inOrder) settle() bool {
	if q.unsettled && q.srv.hooks.keeper != nil {
		if !q.released() { // what a room lets go may be for an archive
			return false
		}
		if err := q.srv.hooks.keeper.Settle(0); err != nil {
			q.srv.log.Error("what was handled may not be on disk", "err", err) // who sent it has got an error
		}
	}
	q.unsettled = false
	return true
}

// keptBefore returns once what the sender of st has sent before it is on disk. The queue that takes st remembers it as handled, and with it all before
// (ledger.Item): after a kill the sender would not send again what a room had yet to keep. What is in an archive itself came there after those.
func (s *Server) keptBefore(st *stanza.Stanza) {
	k, channel := s.hooks.keeper, st.Origin().Channel
	if k == nil || channel == 0 || st.Kind != stanza.Message || st.Archive() != "" || !k.Keeping(channel) {
		return
	}
	if err := k.Settle(0); err != nil {
		s.log.Error("what was sent before may not be on disk", "from", st.From.String(), "err", err)
	}
}

func (q *inOrder) carryOut(it inItem) {
	switch {
	case it.st == nil:
		if !q.settle() {
			return
		}
	case it.ticket != 0:
		if err := q.srv.hooks.keeper.Settle(it.ticket); err != nil {
			q.srv.log.Error("message not kept", "from", it.st.From.String(), "err", err)
			it.refused = stanza.ErrInternal.With("The message could not be stored")
		}
	case it.st.Kind == stanza.Message:
		q.unsettled = true // a room may keep it
	}
	q.do(it)
	if it.ticket != 0 {
		q.passOn(it.st)
	}
}

// passOn tells the keeper that a kept message has gone to all who get it: at once, or, where something that the peer has sent is still in a room, or on its way
// from there to the disk, when that is over. A private message in a room is kept for its sender first, and then for whom it is for. What comes behind it
// does not wait: one wait for the disk is for all that pass meanwhile.
func (q *inOrder) passOn(st *stanza.Stanza) {
	if q.ch == nil || !q.srv.holds.holding(q.ch.ID()) && !q.srv.hooks.keeper.Keeping(q.ch.ID()) {
		q.srv.hooks.keeper.Sent(st)
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.passing) >= maxKeeping {
		q.wait()
	}
	q.passing = append(q.passing, st)
	if !q.passes {
		q.passes = true
		go q.passAll()
	}
}

// passAll empties passing and ends, with the server at the latest.
func (q *inOrder) passAll() {
	k := q.srv.hooks.keeper
	for going := true; ; {
		q.mu.Lock()
		batch := q.passing
		q.passing = nil
		q.passes = going && len(batch) > 0
		q.wake()
		more := q.passes
		q.mu.Unlock()
		if !more {
			return
		}
		if going = q.released(); !going { // a restart hands on what passes
			continue
		}
		if k.Keeping(q.ch.ID()) {
			if err := k.Settle(0); err != nil {
				q.srv.log.Error("what was passed on may not be on disk", "err", err)
			}
		}
		for _, st := range batch {
			k.Sent(st)
		}
	}
}

// carryOut is the last step of what a client has sent.
func (st *stream) carryOut(it inItem) {
	x := st.sess
	switch {
	case it.st == nil:
		h := x.noteHandled()
		x.push(outItem{raw: stanza.NewElement(nsSM, "a", "h", strconv.FormatUint(uint64(h), 10)).AppendXML(nil, "")})
		return
	case it.refused != nil:
		x.refuse(it.st, it.refused)
	default:
		x.dispatch(it.st, it.bad)
	}
	x.mu.Lock()
	x.sm.handled++
	x.mu.Unlock()
	if it.ticket == 0 && !st.in.unsettled {
		x.noteHandled()
	}
}

// Inbound takes what another server or a component sends: checked for what it must not say, kept, and routed in its order. One goroutine
// uses it.
type Inbound struct {
	q       inOrder
	taken   uint32 // stanzas, numbered as the peer counts
	handled atomic.Uint32
	asked   func(h uint32)
}

// NewInbound makes one; asked is called in its turn for each Ask, with how many stanzas were handled and are on disk.
func (s *Server) NewInbound(asked func(h uint32)) *Inbound {
	in := &Inbound{asked: asked}
	in.q.srv = s
	in.q.do = func(it inItem) {
		switch {
		case it.st == nil:
			in.asked(in.noteHandled())
			return
		case it.refused != nil:
			s.bounce(it.st, it.refused)
		default:
			s.Route(it.st)
		}
		in.handled.Add(1)
		if it.ticket == 0 && !in.q.unsettled {
			in.noteHandled()
		}
	}
	return in
}

// Number drains and counts anew from h, as stream management does when it begins or goes on (XEP-0198 §3, §5); ch, which may be nil, remembers the count.
func (in *Inbound) Number(ch *ledger.Channel, h uint32) {
	in.Drain()
	in.q.ch, in.taken = ch, h
	in.handled.Store(h)
	in.noteHandled()
}

func (in *Inbound) noteHandled() uint32 {
	h := in.handled.Load()
	in.q.ch.SetHandled(h)
	return h
}

// Take takes a stanza whose addresses the caller has checked. It waits while too much is on its way to the disk.
func (in *Inbound) Take(st *stanza.Stanza) {
	in.taken++
	it := inItem{st: st.WithOrigin(stanza.Origin{Channel: in.q.ch.ID(), Number: in.taken})}
	if st.Kind == stanza.Message {
		it.st = in.q.srv.honestRemote(it.st)
		in.q.plainFirst()
		it.keep(in.q.srv, nil)
	}
	in.q.take(it)
}

// Refuse counts a stanza that is not let in, and answers it with err.
func (in *Inbound) Refuse(st *stanza.Stanza, err *stanza.Error) {
	in.taken++
	in.q.plainFirst()
	in.q.take(inItem{st: st.WithOrigin(stanza.Origin{Channel: in.q.ch.ID(), Number: in.taken}), refused: err})
}

// Ask wants asked to be called.
func (in *Inbound) Ask() { in.q.take(inItem{}) }

// Drain returns when all that was taken is handled and on disk, with how many stanzas that are since the beginning.
func (in *Inbound) Drain() uint32 {
	in.q.drained()
	if !in.q.settle() {
		return in.handled.Load() // nobody is told it any more
	}
	return in.noteHandled()
}
