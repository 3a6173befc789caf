package archive

import (
	"context"
	"database/sql"
	"time"
)

// Ticket names a batch: Wait with it ends when the batch is on disk.
type Ticket uint64

// batch collects records for one journal row.
type batch struct {
	body []byte
	recs []record
	then []func(error)
}

// record is an entry of the journal: a message for its owners, or a replacement.
type record struct {
	op     op
	id     ID
	copies []Copy
	xml    []byte
}

type op uint8

const (
	opAdd     op = 1 // a new message
	opReplace op = 2 // other bytes for a message of one owner that is still in the tail
	opForget  op = 3 // the owner's tail goes
)

// nextID is called with mu held.
func (a *Archive) nextID() ID {
	a.lastID = max(a.lastID+1, idAt(a.now()))
	return a.lastID
}

// Append takes a message into the archives of its one or two owners and returns at once: Wait says when it is on disk. make gets the message's ID and
// gives its bytes, which must not change afterwards; it runs under the archive's lock and must be short.
func (a *Archive) Append(make func(ID) []byte, copies ...Copy) (ID, Ticket, error) {
	return a.append(make, nil, copies)
}

// AppendThen is Append and calls then once the message is on disk (or is not: err), in the order of the IDs, on a goroutine that does nothing else: then
// may Wait for other messages.
func (a *Archive) AppendThen(make func(ID) []byte, then func(err error), copies ...Copy) (ID, error) {
	id, _, err := a.append(make, then, copies)
	return id, err
}

func (a *Archive) append(make func(ID) []byte, then func(error), copies []Copy) (ID, Ticket, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.mayAppend(); err != nil {
		return 0, 0, err
	}
	id := a.nextID()
	t := a.add(record{opAdd, id, copies, make(id)}, then)
	a.appended.Add(1)
	return id, t, nil
}

// mayAppend is called with mu held.
func (a *Archive) mayAppend() error {
	switch {
	case a.closed:
		return ErrClosed
	case len(a.open.recs) >= maxPending, len(a.calls) >= maxPending:
		a.refused.Add(1)
		return ErrBusy
	}
	return nil
}

// add puts a record into the open batch; mu is held.
func (a *Archive) add(r record, then func(error)) Ticket {
	a.open.recs = append(a.open.recs, r)
	if then != nil {
		a.open.then = append(a.open.then, then)
	}
	select {
	case a.wake <- struct{}{}:
	default:
	}
	return Ticket(a.opened)
}

// Settled tells whether Wait would return at once, and with what.
func (a *Archive) Settled(t Ticket) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.settled >= uint64(t), a.outcome(t)
}

// Last is the ticket of what was appended last.
func (a *Archive) Last() Ticket {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.open.recs) == 0 {
		return Ticket(a.opened - 1)
	}
	return Ticket(a.opened)
}

// Wait returns once the batch of t is on disk; an error says that it is not, or that ctx ended first.
func (a *Archive) Wait(ctx context.Context, t Ticket) error {
	stop := context.AfterFunc(ctx, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.cond.Broadcast()
	})
	defer stop()
	a.mu.Lock()
	defer a.mu.Unlock()
	for a.settled < uint64(t) {
		if err := ctx.Err(); err != nil {
			return err
		}
		a.cond.Wait()
	}
	return a.outcome(t)
}

// Barrier returns once everything that was appended before it is on disk.
func (a *Archive) Barrier(ctx context.Context) error { return a.Wait(ctx, a.Last()) }

func (a *Archive) run() {
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.ended = true
		a.toCall.Signal()
	}()
	tick := time.NewTicker(a.bound.tailAge / 4)
	defer tick.Stop()
	for {
		select {
		case <-a.wake:
			a.commit()
			a.flush(false, false)
		case <-tick.C:
			a.flush(true, false)
		case <-a.quit:
			a.commit()
			a.flush(true, true)
			return
		}
	}
}

// commit writes the open batch as one journal row, tells who waits, and puts the messages into the tails.
func (a *Archive) commit() {
	a.mu.Lock()
	if len(a.open.recs) == 0 {
		a.mu.Unlock()
		return
	}
	b := a.open
	a.open, a.spare = a.spare, batch{}
	number := a.opened
	a.opened++
	seq := a.seq + 1
	a.mu.Unlock()

	b.body = encodeBatch(b.body[:0], b.recs)
	err := a.db.Write(context.Background(), func(tx *sql.Tx) error {
		_, err := tx.Exec(`INSERT INTO archive_journal (seq, body) VALUES (?, ?)`, int64(seq), b.body)
		return err
	})

	a.mu.Lock()
	if err == nil {
		r := row{seq, int64(len(b.body)), a.now()}
		a.seq = seq
		a.journal = append(a.journal, r)
		a.bytes += r.size
		for _, rec := range b.recs {
			a.apply(rec, r)
		}
		a.commits.Add(1)
	} else {
		a.failures.Add(1)
		a.log.Error("messages not archived", "messages", len(b.recs), "err", err)
		a.fail(number, err)
	}
	a.settled = number
	a.cond.Broadcast()
	a.callLater(b.then, err)
	a.mu.Unlock()
	if cap(b.body) <= maxSpare {
		b.reset()
		a.mu.Lock()
		a.spare = b
		a.mu.Unlock()
	}
}

// failure is a run of batches that could not be written.
type failure struct {
	first, last uint64
	err         error // of the last
}

// fail notes that a batch is not on disk; mu is held. Who asks may come late: the disk may have failed again by then, and worked in between.
func (a *Archive) fail(number uint64, err error) {
	if n := len(a.failed); n > 0 && a.failed[n-1].last == number-1 {
		a.failed[n-1].last, a.failed[n-1].err = number, err
		return
	}
	if len(a.failed) == maxFailures {
		a.failed = a.failed[1:]
	}
	a.failed = append(a.failed, failure{number, number, err})
}

// outcome is nil for a batch that is settled and on disk; mu is held.
func (a *Archive) outcome(t Ticket) error {
	for _, f := range a.failed {
		if f.first <= uint64(t) && uint64(t) <= f.last {
			return f.err
		}
	}
	return nil
}

// maxSpare bounds the memory that is kept for the next batch, in bytes of its row.
const maxSpare = 1 << 20

// reset empties b and keeps its memory.
func (b *batch) reset() {
	clear(b.recs)
	clear(b.then)
	b.body, b.recs, b.then = b.body[:0], b.recs[:0], b.then[:0]
}

// apply puts what is on disk into the tails; mu is held.
func (a *Archive) apply(rec record, r row) {
	for _, c := range rec.copies {
		t := a.tails[c.Owner]
		switch rec.op {
		case opAdd:
			if t == nil {
				t = &tail{since: r.seq, at: r.at}
				a.tails[c.Owner] = t
			}
			t.messages = append(t.messages, Message{rec.id, c.Peer, rec.xml})
			t.bytes += len(rec.xml) + len(c.Peer) + perMessage
			if len(t.messages) >= a.bound.chunkMessages || t.bytes >= a.bound.chunkBytes {
				a.ready[c.Owner] = struct{}{}
			}
		case opReplace:
			if t != nil {
				t.replace(rec.id, rec.xml)
			}
		case opForget:
			delete(a.tails, c.Owner)
			delete(a.ready, c.Owner)
		}
	}
}

// perMessage is what a message takes besides its bytes, about.
const perMessage = 16

// replace swaps the bytes of a message; queries may hold the old slice of messages, so it is copied.
func (t *tail) replace(id ID, xml []byte) {
	for i, m := range t.messages {
		if m.ID == id {
			t.messages = append([]Message(nil), t.messages...)
			t.bytes += len(xml) - len(m.XML)
			t.messages[i].XML = xml
			return
		}
	}
}
