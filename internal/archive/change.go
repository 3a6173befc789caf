package archive

import (
	"context"
	"database/sql"
	"errors"
	"time"
)

// Replace puts other bytes in the place of a message of one owner, as a retraction does. ErrNotFound: there is no such message.
func (a *Archive) Replace(ctx context.Context, owner string, id ID, xml []byte) error {
	if err := a.Barrier(ctx); err != nil { // what is under way is in the tail then
		return err
	}
	a.mu.Lock()
	if t := a.tails[owner]; t != nil && t.has(id) {
		if err := a.mayAppend(); err != nil {
			a.mu.Unlock()
			return err
		}
		// The tail may be in a chunk by the time that the record is on disk, so the chunk is tried, too.
		t := a.add(record{opReplace, id, []Copy{{Owner: owner}}, xml}, nil)
		a.mu.Unlock()
		if err := a.Wait(ctx, t); err != nil {
			return err
		}
		if err := a.replaceInChunk(ctx, owner, id, xml); !errors.Is(err, ErrNotFound) {
			return err
		}
		return nil
	}
	a.mu.Unlock()
	return a.replaceInChunk(ctx, owner, id, xml)
}

func (t *tail) has(id ID) bool {
	for _, m := range t.messages {
		if m.ID == id {
			return true
		}
	}
	return false
}

func (a *Archive) replaceInChunk(ctx context.Context, owner string, id ID, xml []byte) error {
	return a.db.Write(ctx, func(tx *sql.Tx) error {
		var rowid int64
		var body []byte
		err := tx.QueryRow(`SELECT c.rowid, c.body FROM archive_chunks c JOIN archive_owners o ON o.id = c.owner
			WHERE o.name = ? AND c.first <= ? AND c.last >= ?`, owner, int64(id), int64(id)).Scan(&rowid, &body)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrNotFound
		}
		if err != nil {
			return err
		}
		ms, err := decodeChunk(body)
		if err != nil {
			return err
		}
		for i := range ms {
			if ms[i].ID == id {
				ms[i].XML = xml
				_, err := tx.Exec(`UPDATE archive_chunks SET body = ? WHERE rowid = ?`, encodeChunk(nil, ms), rowid)
				return err
			}
		}
		return ErrNotFound
	})
}

// Forget removes all messages of an owner. Copies in archives of others stay.
func (a *Archive) Forget(ctx context.Context, owner string) error {
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return ErrClosed
	}
	t := a.add(record{opForget, 0, []Copy{{Owner: owner}}, nil}, nil)
	a.mu.Unlock()
	if err := a.Wait(ctx, t); err != nil {
		return err
	}
	return a.db.Write(ctx, func(tx *sql.Tx) error {
		_, err := tx.Exec(`DELETE FROM archive_owners WHERE name = ?`, owner) // and its chunks
		return err
	})
}

// expireRows is how many chunks share a transaction when messages expire.
const expireRows = 200

// Expire removes messages that came before a time: of one owner, or with owner "" of all. Messages younger than the age of a tail stay.
func (a *Archive) Expire(ctx context.Context, owner string, before time.Time) (removed int, err error) {
	limit := idAt(before)
	for {
		n, more := 0, false
		err := a.db.Write(ctx, func(tx *sql.Tx) (err error) {
			n, more, err = a.expireSome(tx, owner, limit)
			return err
		})
		if err != nil {
			return removed, err
		}
		removed += n
		if !more {
			return removed, nil
		}
	}
}

// expireSome removes what is old from up to expireRows chunks.
func (a *Archive) expireSome(tx *sql.Tx, owner string, limit ID) (removed int, more bool, err error) {
	rows, err := tx.Query(`SELECT c.rowid, c.owner, c.last, c.count, CASE WHEN c.last < ? THEN x'' ELSE c.body END FROM archive_chunks c
		JOIN archive_owners o ON o.id = c.owner WHERE c.first < ? AND (? = '' OR o.name = ?) LIMIT ?`, int64(limit), int64(limit), owner, owner, expireRows)
	if err != nil {
		return 0, false, err
	}
	type chunk struct {
		rowid, owner, last int64
		count              int
		body               []byte
	}
	var found []chunk
	for rows.Next() {
		var c chunk
		if err := rows.Scan(&c.rowid, &c.owner, &c.last, &c.count, &c.body); err != nil {
			_ = rows.Close()
			return 0, false, err
		}
		found = append(found, c)
	}
	if err := errors.Join(rows.Err(), rows.Close()); err != nil {
		return 0, false, err
	}
	err = chunking(tx, func(put *chunker) error {
		for _, c := range found {
			if _, err := tx.Exec(`DELETE FROM archive_chunks WHERE rowid = ?`, c.rowid); err != nil {
				return err
			}
			removed += c.count
			if ID(c.last) < limit {
				continue
			}
			ms, err := decodeChunk(c.body)
			if err != nil {
				return err
			}
			for len(ms) > 0 && ms[0].ID < limit {
				ms = ms[1:]
			}
			removed -= len(ms)
			if err := put.insert(c.owner, ms); err != nil {
				return err
			}
		}
		return nil
	})
	return removed, len(found) == expireRows, err
}
