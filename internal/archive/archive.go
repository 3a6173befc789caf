package archive

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"konzil/internal/store"
)

// Sizes, each with its reason.
const (
	chunkMessages = 128              // messages in a chunk: a page of a query (50) comes from one or two rows
	chunkBytes    = 64 << 10         // and their bytes: a chunk is decoded whole
	tailAge       = 10 * time.Minute // a tail older than this goes into a chunk, so that the journal stays short
	journalBytes  = 32 << 20         // the journal's length at which all tails go into chunks: what Open has to read back
	flushOwners   = 256              // owners whose tails share a transaction: the writer is free for others in between
	flushReady    = 64               // long tails that are waited for, so that a transaction and its statements are shared; journalBytes bounds what they hold
	maxPending    = 65536            // messages that wait for the disk; Append fails with ErrBusy beyond that
	maxFailures   = 64               // times that the disk failed and worked again, of which who asks late is told
)

// Errors of Append and Query.
var (
	ErrBusy     = errors.New("archive: the disk is too slow for what comes")
	ErrClosed   = errors.New("archive: closed")
	ErrNotFound = errors.New("archive: no such message")
)

// ID is the place of a message in its archives.
type ID uint64

const idCounterBits = 20

// idAt is the least ID that a message of time t can have.
func idAt(t time.Time) ID {
	ms := t.UnixMilli()
	if ms < 0 {
		return 0
	}
	return ID(ms) << idCounterBits
}

// Time is when the message came, to the millisecond.
func (id ID) Time() time.Time { return time.UnixMilli(int64(id >> idCounterBits)) }

// String is the ID as it is shown to others: 13 characters of base 32, in the order of the IDs.
func (id ID) String() string {
	s := strconv.FormatUint(uint64(id), 32)
	return "0000000000000"[:13-len(s)] + s
}

// ParseID reads what String wrote.
func ParseID(s string) (ID, error) {
	if len(s) != 13 {
		return 0, ErrNotFound
	}
	n, err := strconv.ParseUint(s, 32, 64)
	if err != nil {
		return 0, ErrNotFound
	}
	return ID(n), nil
}

// Copy is the place of a message in one owner's archive. Peer is the full address of the other side: queries match it whole or up to the slash.
type Copy struct{ Owner, Peer string }

// Message is one archived message.
type Message struct {
	ID   ID
	Peer string
	XML  []byte // read only
}

// Archive is an open archive. Its methods may be called from any goroutine.
type Archive struct {
	db    *store.DB
	log   *slog.Logger
	now   func() time.Time
	bound limits

	mu      sync.Mutex // guards all below
	open    batch      // what the next journal row will hold
	spare   batch      // the one before, for its memory
	lastID  ID
	tails   map[string]*tail
	ready   map[string]struct{} // owners whose tail is long enough for a chunk
	journal []row               // rows on disk, oldest first
	bytes   int64               // of the journal
	seq     uint64              // of the last journal row
	settled uint64              // batches that are on disk, but for those in failed
	opened  uint64              // number of the open batch; batches up to opened-1 are taken
	cond    *sync.Cond          // settled has grown
	failed  []failure           // the last ones, oldest first
	calls   []call              // that are due, oldest first
	toCall  *sync.Cond          // calls has grown, or ended is true
	closed  bool
	ended   bool // run has: no call comes any more

	wake   chan struct{} // capacity 1: something is in the open batch
	quit   chan struct{}
	called chan struct{} // closed when both goroutines have ended

	appended, commits, flushed, refused, failures atomic.Uint64
}

// limits can be made small by tests.
type limits struct {
	chunkMessages, chunkBytes int
	flushReady                int
	journalBytes              int64
	tailAge                   time.Duration
}

// row is a journal row: its number and how many bytes it has.
type row struct {
	seq  uint64
	size int64
	at   time.Time
}

// tail is the newest messages of an owner, which are in no chunk yet.
type tail struct {
	messages []Message
	bytes    int
	since    uint64 // journal row of the oldest
	at       time.Time
}

// Open reads the journal and starts the writing goroutine.
func Open(ctx context.Context, db *store.DB, log *slog.Logger) (*Archive, error) {
	return open(ctx, db, log, time.Now, limits{chunkMessages, chunkBytes, flushReady, journalBytes, tailAge})
}

func open(ctx context.Context, db *store.DB, log *slog.Logger, now func() time.Time, bound limits) (*Archive, error) {
	a := &Archive{
		db: db, log: log, now: now, bound: bound, tails: map[string]*tail{}, ready: map[string]struct{}{}, opened: 1,
		wake: make(chan struct{}, 1), quit: make(chan struct{}), called: make(chan struct{}),
	}
	a.cond, a.toCall = sync.NewCond(&a.mu), sync.NewCond(&a.mu)
	if err := a.replay(ctx); err != nil {
		return nil, err
	}
	go a.callAll()
	go a.run()
	return a, nil
}

// replay reads the journal back into tails. What a chunk already has is passed over: a kill may come between chunk and cut.
func (a *Archive) replay(ctx context.Context) error {
	var last sql.NullInt64
	if err := a.db.Read().QueryRowContext(ctx, `SELECT max(last) FROM archive_chunks`).Scan(&last); err != nil {
		return err
	}
	a.lastID = ID(last.Int64)
	rows, err := a.db.Read().QueryContext(ctx, `SELECT seq, body FROM archive_journal ORDER BY seq`)
	if err != nil {
		return err
	}
	defer func() { _ = rows.Close() }()
	stored := map[string]ID{} // the last ID in chunks, by owner
	for rows.Next() {
		r := row{at: a.now()}
		var body []byte
		if err := rows.Scan(&r.seq, &body); err != nil {
			return err
		}
		recs, err := decodeBatch(body)
		if err != nil {
			return err
		}
		r.size = int64(len(body))
		a.seq, a.journal, a.bytes = r.seq, append(a.journal, r), a.bytes+r.size
		for _, rec := range recs {
			if err := a.reapply(ctx, rec, r, stored); err != nil {
				return err
			}
		}
	}
	return rows.Err()
}

// reapply is apply for what is not in a chunk.
func (a *Archive) reapply(ctx context.Context, rec record, r row, stored map[string]ID) error {
	a.lastID = max(a.lastID, rec.id)
	if rec.op != opAdd {
		a.apply(rec, r)
		return nil
	}
	for _, c := range rec.copies {
		last, known := stored[c.Owner]
		if !known {
			owner, err := a.lookup(ctx, c.Owner)
			if err == nil {
				last, err = a.lastInChunks(ctx, owner)
			}
			if err != nil {
				return err
			}
			stored[c.Owner] = last
		}
		if rec.id > last {
			a.apply(record{rec.op, rec.id, []Copy{c}, rec.xml}, r)
		}
	}
	return nil
}

// Close writes what is pending, puts all tails into chunks, calls those who asked for it and ends the goroutines. Nothing may be appended any more.
func (a *Archive) Close(ctx context.Context) error {
	a.mu.Lock()
	if !a.closed {
		a.closed = true
		close(a.quit)
	}
	a.mu.Unlock()
	select {
	case <-a.called:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Counters are numbers for metrics.
func (a *Archive) Counters() map[string]uint64 {
	return map[string]uint64{
		"appended_total": a.appended.Load(), "commits_total": a.commits.Load(), "flushed_total": a.flushed.Load(),
		"refused_total": a.refused.Load(), "store_errors_total": a.failures.Load(),
	}
}
