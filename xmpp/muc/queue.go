package muc

import (
	"context"

	"konzil/xmpp/stanza"
)

// out is one entry of a room's outgoing queue: a stanza for some recipients, many stanzas for one, or a function to run at that point of the order.
type out struct {
	wait *wait // nil unless the entry, and all behind it, have to wait for the disk
	st   *stanza.Stanza
	to   []stanza.JID // not changed after it is here
	many []*stanza.Stanza
	do   func()
}

// send queues st for each of to. The room is locked.
func (r *room) send(st *stanza.Stanza, to ...stanza.JID) {
	if st != nil && len(to) > 0 {
		r.queue = append(r.queue, out{st: st, to: to})
	}
}

// sendAll queues many stanzas for one: the presences of a large room are one entry, so that joins do not fill the queue. The room is locked.
func (r *room) sendAll(many []*stanza.Stanza, to stanza.JID) {
	if len(many) > 0 {
		r.queue = append(r.queue, out{many: many, to: []stanza.JID{to}})
	}
}

// answer queues a stanza that carries its address already, nil is passed over. The room is locked.
func (r *room) answer(st *stanza.Stanza) {
	if st != nil {
		r.queue = append(r.queue, out{st: st})
	}
}

// later queues f. It runs without the lock. The room is locked.
func (r *room) later(f func()) { r.queue = append(r.queue, out{do: f}) }

// fail answers st with err. The room is locked.
func (r *room) fail(st *stanza.Stanza, err *stanza.Error) { r.answer(errorReply(st, err)) }

// errorReply is the error that answers st, nil where none may be sent. To a presence it comes with the child that says it is about a room
// (XEP-0045 §7.2.5 to §7.2.9, §7.6, in all examples): slixmpp takes a refusal by that child alone.
func errorReply(st *stanza.Stanza, err *stanza.Error) *stanza.Stanza {
	e := st.ErrorReply(err)
	if e == nil || st.Kind != stanza.Presence {
		return e
	}
	return e.WithPayload(stanza.NewElement(nsMUC, "x"), err.Element())
}

// full tells that the queue has no room for the broadcasts of st, and answers st. The room is locked.
func (r *room) full(st *stanza.Stanza) bool {
	if len(r.queue) < maxQueued {
		return false
	}
	r.svc.count.overflows.Add(1)
	r.fail(st, stanza.ErrResourceConstraint.With("The room is too busy"))
	return true
}

// flush empties the queue in order, up to what waits for the disk, unless another goroutine, or a caller further up, is already doing
// that. It is called with the lock and gives it back.
func (r *room) flush() {
	if r.flushing {
		r.mu.Unlock()
		return
	}
	r.flushing = true
	for n := r.ready(); n > 0; n = r.ready() {
		batch := r.queue[:n]
		if r.queue = r.queue[n:]; len(r.queue) == 0 {
			r.queue = nil
		}
		r.mu.Unlock()
		for i := range batch {
			r.run(batch[i])
		}
		r.mu.Lock()
	}
	r.flushing = false
	r.mu.Unlock()
}

// ready is how many entries at the front can go out. With 0 and entries left it has made sure that wake will be heard. The room is locked.
func (r *room) ready() int {
	for i := range r.queue {
		if w := r.queue[i].wait; w == nil || w.over() {
			continue
		} else if i > 0 {
			return i
		} else if r.stalled.Store(true); !w.over() || !r.stalled.CompareAndSwap(true, false) {
			return 0
		}
	}
	return len(r.queue)
}

// wake goes on with a queue that stopped for the disk. It does not wait: the archive calls it, and others after it.
func (r *room) wake() {
	if r.stalled.CompareAndSwap(true, false) {
		r.svc.tasks.run(func() {
			r.mu.Lock()
			r.flush()
		})
	}
}

func (r *room) run(o out) {
	switch {
	case o.do != nil:
		o.do()
	case o.many != nil:
		for _, st := range o.many {
			r.svc.router.Route(st.WithTo(o.to[0]))
		}
	case o.to == nil:
		r.svc.router.Route(o.st)
	default:
		r.svc.spread(o.st, o.to)
	}
}

// spread routes st to many. It counts as handled when the last one has it, but for one in the archive: that is on disk.
func (s *Service) spread(st *stanza.Stanza, to []stanza.JID) {
	part := st
	if st.Kind == stanza.Message && len(to) > 1 && st.Archive() == "" {
		part = st.Part()
	}
	for i, j := range to {
		if i == len(to)-1 {
			part = st
		}
		s.router.Route(part.WithTo(j))
	}
}

// hold sees to it that a message whose answers or copies wait in the queue does not count as handled before they are out; one on its way to the
// archive, from entry n on, does once it is there. The room is locked.
func (r *room) hold(st *stanza.Stanza, n int) {
	if r.svc.cfg.Hold == nil || len(r.queue) == 0 || st.Origin().Channel == 0 {
		return
	}
	for _, o := range r.queue[min(n, len(r.queue)):] {
		if o.wait != nil {
			return
		}
	}
	r.later(r.svc.cfg.Hold(st.Origin()))
}

// stored queues write and, once it is on disk, then; where it fails st is answered with an error. For a room that is not persistent,
// or without a store, only then runs. The room is locked; write and then run without the lock.
func (r *room) stored(st *stanza.Stanza, write func(ctx context.Context, store Store) error, then func()) {
	if r.svc.store == nil || !r.set.Persistent {
		r.later(then)
		return
	}
	r.write(st, write, then)
}

func (r *room) write(st *stanza.Stanza, write func(ctx context.Context, store Store) error, then func()) {
	r.later(func() {
		ctx, cancel := context.WithTimeout(context.Background(), r.svc.cfg.StoreTimeout)
		defer cancel()
		if err := write(ctx, r.svc.store); err != nil {
			r.svc.count.storeErrors.Add(1)
			r.svc.log.Error("room not stored", "room", r.jid.String(), "err", err)
			r.svc.reply(st.ErrorReply(stanza.ErrInternal.With("It could not be stored and holds only until the server restarts")))
			return
		}
		then()
	})
}
