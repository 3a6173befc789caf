package archive

import (
	"context"
	"database/sql"
	"errors"
	"math"
	"slices"
	"strings"
	"time"
)

// Query asks for messages of one owner.
type Query struct {
	Owner string
	Peer  string            // counterpart: a bare address matches all its resources, a full one itself; "" matches all
	After ID                // only messages after it; 0: no bound
	Until ID                // only messages before it; 0: no bound
	Match func([]byte) bool // a further condition on the bytes; nil: none
	Max   int               // length of the page; 0 counts only
	Last  bool              // the page at the end instead of at the beginning
	IDs   []ID              // only these; the others of the query hold, too
}

// Between sets the bounds by time, both inclusive; zero times are none. Bounds that are closer already stay.
func (q *Query) Between(start, end time.Time) {
	if !start.IsZero() {
		if lo := idAt(start); lo > 0 {
			q.After = max(q.After, lo-1)
		}
	}
	if !end.IsZero() {
		hi := idAt(end.Add(time.Millisecond))
		if q.Until == 0 || hi < q.Until {
			q.Until = max(hi, 1)
		}
	}
}

// Page is the answer: messages in the order of their IDs.
type Page struct {
	Messages []Message
	Complete bool // no further messages of the query lie beyond the page
	// Count is how many messages the bounds hold in all, -1 where a condition (Peer, Match, IDs) would need them to be read.
	Count int
}

// Find answers a query. The error is the store's, ErrNotFound for a listed ID that is not there, or ctx's.
func (a *Archive) Find(ctx context.Context, q Query) (*Page, error) {
	if q.Until == 0 {
		q.Until = math.MaxInt64
	}
	if len(q.IDs) > 0 {
		q.After, q.Until = max(q.After, slices.Min(q.IDs)-1), min(q.Until, slices.Max(q.IDs)+1)
	}
	newest := a.tailOf(q.Owner)
	owner, err := a.lookup(ctx, q.Owner)
	if err != nil {
		return nil, err
	}
	s := scan{q: q}
	count := -1
	if q.Peer == "" && q.Match == nil && q.IDs == nil {
		if count, err = a.count(ctx, owner, q, newest); err != nil {
			return nil, err
		}
	}
	// The tail was copied before the chunks are read, so what moves meanwhile is seen twice rather than never: chunks win.
	inChunks, err := a.lastInChunks(ctx, owner)
	if err != nil {
		return nil, err
	}
	fresh := newest
	for len(fresh) > 0 && fresh[0].ID <= inChunks {
		fresh = fresh[1:]
	}
	if q.Last {
		s.take(fresh)
	}
	if !s.full() && owner != 0 {
		if err := a.walk(ctx, owner, q, s.take, s.full); err != nil {
			return nil, err
		}
	}
	if !q.Last && !s.full() {
		s.take(fresh)
	}
	p := &Page{Messages: s.found, Complete: !s.more, Count: count}
	if q.Last {
		slices.Reverse(p.Messages)
	}
	if len(q.IDs) > 0 && len(p.Messages) < len(q.IDs) && p.Complete {
		return nil, ErrNotFound
	}
	return p, nil
}

// scan collects a page; more becomes true when there is one message beyond it.
type scan struct {
	q     Query
	found []Message
	more  bool
}

func (s *scan) full() bool { return s.more }

// take looks through messages that are in the order of their IDs, from the side that the query asks for.
func (s *scan) take(ms []Message) {
	for i := range ms {
		m := ms[i]
		if s.q.Last {
			m = ms[len(ms)-1-i]
		}
		if !s.fits(m) {
			continue
		}
		if len(s.found) == s.q.Max {
			s.more = true
			return
		}
		s.found = append(s.found, m)
	}
}

func (s *scan) fits(m Message) bool {
	q := &s.q
	switch {
	case m.ID <= q.After || m.ID >= q.Until:
		return false
	case q.Peer == "":
	case strings.IndexByte(q.Peer, '/') >= 0:
		if m.Peer != q.Peer {
			return false
		}
	case bare(m.Peer) != q.Peer:
		return false
	}
	if q.IDs != nil && !slices.Contains(q.IDs, m.ID) {
		return false
	}
	return q.Match == nil || q.Match(m.XML)
}

// tailOf is the tail of an owner; the slice is not changed any more up to its present length.
func (a *Archive) tailOf(owner string) []Message {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t := a.tails[owner]; t != nil {
		return t.messages
	}
	return nil
}

// lookup finds the number of an owner, 0 when it has no chunks.
func (a *Archive) lookup(ctx context.Context, name string) (id int64, err error) {
	err = a.db.Read().QueryRowContext(ctx, `SELECT id FROM archive_owners WHERE name = ?`, name).Scan(&id)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return id, err
}

func (a *Archive) lastInChunks(ctx context.Context, owner int64) (ID, error) {
	var last sql.NullInt64
	err := a.db.Read().QueryRowContext(ctx, `SELECT max(last) FROM archive_chunks WHERE owner = ?`, owner).Scan(&last)
	return ID(last.Int64), err
}

// walk reads chunks that can hold what q asks for, from its side, until full.
func (a *Archive) walk(ctx context.Context, owner int64, q Query, take func([]Message), full func() bool) error {
	query := `SELECT body FROM archive_chunks WHERE owner = ? AND last > ? AND first < ? AND (? = 0 OR peers & ? <> 0) ORDER BY first`
	if q.Last {
		query += ` DESC`
	}
	var bit int64
	if q.Peer != "" {
		bit = int64(peerBit(q.Peer))
	}
	rows, err := a.db.Read().QueryContext(ctx, query, owner, int64(q.After), int64(q.Until), bit, bit)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	for !full() && rows.Next() {
		var body []byte
		if err := rows.Scan(&body); err != nil {
			return err
		}
		ms, err := decodeChunk(body)
		if err != nil {
			return err
		}
		take(ms)
	}
	return rows.Err()
}

// count is how many messages lie between the bounds of q.
func (a *Archive) count(ctx context.Context, owner int64, q Query, newest []Message) (int, error) {
	n, last := 0, ID(0)
	rows, err := a.db.Read().QueryContext(ctx, `SELECT first, last, count FROM archive_chunks WHERE owner = ? AND last > ? AND first < ? ORDER BY first`,
		owner, int64(q.After), int64(q.Until))
	if err != nil {
		return 0, err
	}
	defer func() { _ = rows.Close() }()
	var partly []ID // chunks that the bounds cut: these are read
	for rows.Next() {
		var first, end int64
		var c int
		if err := rows.Scan(&first, &end, &c); err != nil {
			return 0, err
		}
		if ID(first) > q.After && ID(end) < q.Until {
			n += c
		} else {
			partly = append(partly, ID(first))
		}
		last = ID(end)
	}
	if err := rows.Err(); err != nil {
		return 0, err
	}
	for _, first := range partly {
		var body []byte
		if err := a.db.Read().QueryRowContext(ctx, `SELECT body FROM archive_chunks WHERE owner = ? AND first = ?`, owner, int64(first)).Scan(&body); err != nil {
			return 0, err
		}
		ms, err := decodeChunk(body)
		if err != nil {
			return 0, err
		}
		for _, m := range ms {
			if m.ID > q.After && m.ID < q.Until {
				n++
			}
		}
	}
	for _, m := range newest {
		if m.ID > q.After && m.ID < q.Until && m.ID > last {
			n++
		}
	}
	return n, nil
}

// Bounds gives the oldest and the newest message of an owner, nil where the archive is empty.
func (a *Archive) Bounds(ctx context.Context, owner string) (oldest, newest *Message, err error) {
	for _, last := range []bool{false, true} {
		p, err := a.Find(ctx, Query{Owner: owner, Max: 1, Last: last})
		if err != nil || len(p.Messages) == 0 {
			return nil, nil, err
		}
		if last {
			newest = &p.Messages[0]
		} else {
			oldest = &p.Messages[0]
		}
	}
	return oldest, newest, nil
}
