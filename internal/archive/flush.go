package archive

import (
	"context"
	"database/sql"
	"math"
)

// flush moves tails into chunks: those that have become long, once they are many; all old ones when old is set; every one when all is, or when the journal is too long.
// The two latter cut the journal up to the oldest row that a tail still needs.
func (a *Archive) flush(old, all bool) {
	a.mu.Lock()
	all = all || a.bytes > a.bound.journalBytes
	few := len(a.ready) < a.bound.flushReady
	a.mu.Unlock()
	if few && !old && !all {
		return
	}
	for {
		items := a.due(old, all)
		if len(items) == 0 {
			break
		}
		if err := a.store(items); err != nil {
			a.failures.Add(1)
			a.log.Error("archive not moved into chunks; it stays in the journal", "owners", len(items), "err", err)
			return
		}
		a.flushed.Add(uint64(len(items)))
	}
	if old || all {
		a.cutJournal()
	}
}

// flushItem is a tail on its way into chunks.
type flushItem struct {
	owner    string
	messages []Message
}

// due picks up to flushOwners tails.
func (a *Archive) due(old, all bool) []flushItem {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []flushItem
	take := func(owner string) bool {
		if t := a.tails[owner]; t != nil {
			out = append(out, flushItem{owner, t.messages})
		}
		return len(out) < flushOwners
	}
	for owner := range a.ready {
		if !take(owner) {
			return out
		}
	}
	if !old && !all {
		return out
	}
	limit := a.now().Add(-a.bound.tailAge)
	for owner, t := range a.tails {
		if _, taken := a.ready[owner]; !taken && (all || !t.at.After(limit)) && !take(owner) {
			break
		}
	}
	return out
}

// store writes the chunks of some tails in one transaction, then takes them out of memory.
func (a *Archive) store(items []flushItem) error {
	err := a.db.Write(context.Background(), func(tx *sql.Tx) error {
		return chunking(tx, func(c *chunker) error {
			for _, it := range items {
				if err := a.storeTail(c, it); err != nil {
					return err
				}
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, it := range items { // only this goroutine changes tails, so they are what they were
		delete(a.ready, it.owner)
		delete(a.tails, it.owner)
	}
	return nil
}

// storeTail makes chunks of a tail, the first of which takes in the owner's newest one when both are short.
func (a *Archive) storeTail(c *chunker, it flushItem) error {
	owner, err := c.owner(it.owner)
	if err != nil {
		return err
	}
	ms := it.messages
	if a.chunkLen(ms) == len(ms) { // else it fills a chunk without the one before
		before, err := a.takeShort(c.tx, owner)
		if err != nil {
			return err
		}
		ms = append(before, ms...)
	}
	return a.cut(c, owner, ms)
}

// cut makes chunks of messages.
func (a *Archive) cut(c *chunker, owner int64, ms []Message) error {
	for len(ms) > 0 {
		n := a.chunkLen(ms)
		if err := c.insert(owner, ms[:n]); err != nil {
			return err
		}
		ms = ms[n:]
	}
	return nil
}

// takeShort takes the owner's newest chunk away if it is short, and gives its messages.
func (a *Archive) takeShort(tx *sql.Tx, owner int64) ([]Message, error) {
	var first int64
	var body []byte
	err := tx.QueryRow(`SELECT first, body FROM archive_chunks WHERE owner = ? AND first =
		(SELECT max(first) FROM archive_chunks WHERE owner = ?) AND count < ? AND length(body) < ?`, owner, owner, a.bound.chunkMessages/2, a.bound.chunkBytes/2).Scan(&first, &body)
	if err == sql.ErrNoRows {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	ms, err := decodeChunk(body)
	if err != nil {
		return nil, err
	}
	_, err = tx.Exec(`DELETE FROM archive_chunks WHERE owner = ? AND first = ?`, owner, first)
	return ms, err
}

// chunkLen is how many messages from the front make a chunk.
func (a *Archive) chunkLen(ms []Message) int {
	n, size := 0, 0
	for n < len(ms) && n < a.bound.chunkMessages && (n == 0 || size < a.bound.chunkBytes) {
		size += len(ms[n].XML) + len(ms[n].Peer) + perMessage
		n++
	}
	return n
}

// chunker has the statements by which many chunks of many owners are made in one transaction.
type chunker struct {
	tx              *sql.Tx
	find, name, put *sql.Stmt
	body            []byte
}

// chunking runs f with a chunker.
func chunking(tx *sql.Tx, f func(*chunker) error) (err error) {
	c := &chunker{tx: tx}
	for _, s := range []struct {
		to  **sql.Stmt
		sql string
	}{
		{&c.find, `SELECT id FROM archive_owners WHERE name = ?`},
		{&c.name, `INSERT INTO archive_owners (name) VALUES (?)`},
		{&c.put, `INSERT INTO archive_chunks (owner, first, last, count, peers, body) VALUES (?, ?, ?, ?, ?, ?)`},
	} {
		st, err := tx.Prepare(s.sql)
		if err != nil {
			return err
		}
		defer st.Close()
		*s.to = st
	}
	return f(c)
}

// insert makes one chunk.
func (c *chunker) insert(owner int64, ms []Message) error {
	var peers uint64
	for _, m := range ms {
		peers |= peerBit(m.Peer)
	}
	c.body = encodeChunk(c.body[:0], ms)
	_, err := c.put.Exec(owner, int64(ms[0].ID), int64(ms[len(ms)-1].ID), len(ms), int64(peers), c.body)
	return err
}

// owner finds or makes the number of an owner.
func (c *chunker) owner(name string) (id int64, err error) {
	err = c.find.QueryRow(name).Scan(&id)
	if err != sql.ErrNoRows {
		return id, err
	}
	res, err := c.name.Exec(name)
	if err != nil {
		return 0, err
	}
	return res.LastInsertId()
}

// cutJournal removes the rows that no tail needs any more.
func (a *Archive) cutJournal() {
	a.mu.Lock()
	need := uint64(math.MaxUint64)
	for _, t := range a.tails {
		need = min(need, t.since)
	}
	n := 0
	for n < len(a.journal) && a.journal[n].seq < need {
		n++
	}
	rows := a.journal[:n]
	a.mu.Unlock()
	if n == 0 {
		return
	}
	err := a.db.Write(context.Background(), func(tx *sql.Tx) error {
		_, err := tx.Exec(`DELETE FROM archive_journal WHERE seq <= ?`, int64(rows[n-1].seq))
		return err
	})
	if err != nil {
		a.failures.Add(1)
		a.log.Error("journal of the archive not cut", "err", err)
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range rows {
		a.bytes -= r.size
	}
	a.journal = append([]row(nil), a.journal[n:]...)
}
