package archive

import (
	"cmp"
	"context"
	"database/sql"
	"math"
	"slices"
	"time"
)

// Past is a message that another server has archived.
type Past struct {
	At   time.Time
	Peer string
	XML  []byte
}

// Import puts messages before those that an owner has; what is not older than these is left out. It gives the number of messages taken.
func (a *Archive) Import(ctx context.Context, owner string, past []Past) (int, error) {
	if err := a.Barrier(ctx); err != nil {
		return 0, err
	}
	past = slices.Clone(past)
	slices.SortStableFunc(past, func(x, y Past) int { return cmp.Compare(x.At.UnixMilli(), y.At.UnixMilli()) })
	oldest, _, err := a.Bounds(ctx, owner)
	if err != nil {
		return 0, err
	}
	limit := ID(math.MaxInt64)
	if oldest != nil {
		limit = oldest.ID
	}
	a.mu.Lock()
	limit = min(limit, a.nextID()) // nothing is newer than what comes from now on
	a.mu.Unlock()
	ms := make([]Message, 0, len(past))
	var last ID
	for _, p := range past {
		id := max(last+1, idAt(p.At))
		if id >= limit {
			break
		}
		last = id
		ms = append(ms, Message{id, p.Peer, p.XML})
	}
	return len(ms), a.db.Write(ctx, func(tx *sql.Tx) error {
		return chunking(tx, func(c *chunker) error {
			number, err := c.owner(owner)
			if err != nil {
				return err
			}
			return a.cut(c, number, ms)
		})
	})
}

// Owners are all that have an archive.
func (a *Archive) Owners(ctx context.Context) (out []string, err error) {
	rows, err := a.db.Read().QueryContext(ctx, `SELECT name FROM archive_owners ORDER BY name`)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			return nil, err
		}
		out = append(out, name)
	}
	return out, rows.Err()
}
