package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
)

const (
	// writeQueue is how many writers may wait. When it is full, Write waits for room until its context ends: whoever writes
	// is slowed down to what the disk can do, and nothing is lost. Stats counts it as write_queue_full.
	writeQueue = 1024

	// maxGroup bounds how many jobs share a commit, so that the first of them does not wait for ever behind later ones.
	maxGroup = 256
)

// ErrClosed is returned by Write after Close.
var ErrClosed = errors.New("store: closed")

// Invariants:
//   - Only the goroutine of writer.run uses writer.db.
//   - A job's done channel gets exactly one value if the job was taken (state taken), and none if it was given up.

// job states: a waiting job is either taken by the writer or given up by its caller, never both.
const (
	jobWaiting = iota
	jobTaken
	jobGivenUp
)

type job struct {
	fn    func(tx *sql.Tx) error
	state atomic.Int32
	done  chan error // capacity 1: the writer never waits for a caller
	panic any        // set before done when fn panicked
}

type writer struct {
	db  *sql.DB
	log *slog.Logger

	jobs chan *job
	stop chan struct{} // closed by close: no new jobs
	end  chan struct{} // closed when run has returned

	mu       sync.RWMutex // guards stopping against sends on jobs
	stopping bool
	once     sync.Once // of close

	writes, commits, undone, failed, full atomic.Uint64
}

func newWriter(db *sql.DB, log *slog.Logger) *writer {
	w := &writer{db: db, log: log, jobs: make(chan *job, writeQueue), stop: make(chan struct{}), end: make(chan struct{})}
	go w.run()
	return w
}

// Write runs fn in a transaction and returns once its changes are on disk. When fn returns an error its changes are undone and
// the error is returned as it is. fn runs on the writer's goroutine together with others' in one transaction: it must be
// short, must not call Commit or Rollback, must not keep tx or its rows, and must not call Write. fn runs at most once; when
// ctx ends while it waits its turn, it does not run.
func (db *DB) Write(ctx context.Context, fn func(tx *sql.Tx) error) error {
	return db.writer.do(ctx, fn)
}

func (w *writer) do(ctx context.Context, fn func(tx *sql.Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	j := &job{fn: fn, done: make(chan error, 1)}
	if err := w.enqueue(ctx, j); err != nil {
		return err
	}
	select {
	case err := <-j.done:
		return j.result(err)
	case <-ctx.Done():
		if j.state.CompareAndSwap(jobWaiting, jobGivenUp) {
			return ctx.Err()
		}
		return j.result(<-j.done) // it runs already: its outcome must be known
	}
}

func (j *job) result(err error) error {
	if j.panic != nil {
		panic(j.panic) // in the caller's goroutine, where it belongs
	}
	return err
}

func (w *writer) enqueue(ctx context.Context, j *job) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.stopping {
		return ErrClosed
	}
	select {
	case w.jobs <- j:
		return nil
	default:
	}
	w.full.Add(1)
	select {
	case w.jobs <- j:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-w.stop:
		return ErrClosed
	}
}

// close refuses new jobs, lets the waiting ones finish and returns when the goroutine has ended.
func (w *writer) close() {
	w.once.Do(func() {
		close(w.stop) // wakes those who wait for room, so that the lock below comes free
		w.mu.Lock()
		w.stopping = true
		close(w.jobs)
		w.mu.Unlock()
	})
	<-w.end
}

func (w *writer) run() {
	defer close(w.end)
	group := make([]*job, 0, maxGroup)
	for j := range w.jobs {
		group = w.runGroup(j, group[:0])
		clear(group)
	}
}

// runGroup runs first and whoever else waits in one transaction, and tells them all. It returns group for re-use.
func (w *writer) runGroup(first *job, group []*job) []*job {
	if !first.state.CompareAndSwap(jobWaiting, jobTaken) {
		return group
	}
	tx, err := w.db.BeginTx(context.Background(), nil)
	if err != nil {
		w.failed.Add(1)
		first.done <- fmt.Errorf("store: begin: %w", err)
		return group
	}
	for j, n := first, 1; j != nil; j, n = w.next(n), n+1 {
		undone, err := w.runJob(tx, j)
		if err == nil && undone == nil {
			group = append(group, j)
			continue
		}
		if err == nil { // only its own changes are undone
			w.undone.Add(1)
			j.done <- undone
			continue
		}
		// The transaction itself is broken (disk full, I/O error): nobody's changes can be kept.
		_ = tx.Rollback()
		w.failed.Add(1)
		w.log.Error("write transaction broken", "err", err, "writers", len(group)+1)
		for _, g := range append(group, j) {
			g.done <- fmt.Errorf("store: transaction: %w", err)
		}
		return group
	}
	if err = tx.Commit(); err != nil {
		_ = tx.Rollback()
		w.failed.Add(1)
		w.log.Error("commit failed", "err", err, "writers", len(group))
		err = fmt.Errorf("store: commit: %w", err)
	} else {
		w.commits.Add(1)
		w.writes.Add(uint64(len(group)))
	}
	for _, g := range group {
		g.done <- err
	}
	return group
}

// next gives a further waiting job, or nil when none waits or the group has run maxGroup jobs.
func (w *writer) next(ran int) *job {
	for ran < maxGroup {
		select {
		case j, ok := <-w.jobs:
			if !ok {
				return nil
			}
			if j.state.CompareAndSwap(jobWaiting, jobTaken) {
				return j
			}
		default:
			return nil
		}
	}
	return nil
}

// runJob runs one job in a savepoint. undone is the job's own error after which its changes are gone; err means that the
// whole transaction is broken.
func (w *writer) runJob(tx *sql.Tx, j *job) (undone, err error) {
	if _, err := tx.Exec("SAVEPOINT job"); err != nil {
		return nil, err
	}
	undone = w.call(tx, j)
	if undone != nil {
		if _, err := tx.Exec("ROLLBACK TO job"); err != nil {
			return undone, errors.Join(undone, err)
		}
	}
	if _, err := tx.Exec("RELEASE job"); err != nil {
		return undone, err
	}
	return undone, nil
}

func (w *writer) call(tx *sql.Tx, j *job) (err error) {
	defer func() {
		if p := recover(); p != nil {
			j.panic = p
			err = fmt.Errorf("store: panic in a writer: %v", p)
		}
	}()
	return j.fn(tx)
}

// Stats are counters since Open: writes kept, commits they took (fewer under load), jobs undone by their own error,
// transactions that failed, writers that met a full queue, and the length of the queue now.
func (db *DB) Stats() map[string]uint64 {
	w := db.writer
	return map[string]uint64{
		"writes":           w.writes.Load(),
		"commits":          w.commits.Load(),
		"writes_undone":    w.undone.Load(),
		"commits_failed":   w.failed.Load(),
		"write_queue_full": w.full.Load(),
		"write_queue":      uint64(len(w.jobs)),
	}
}
