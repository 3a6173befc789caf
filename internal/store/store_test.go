package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"konzil/internal/await"
	"konzil/internal/oops"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		writeForEver(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

func open(t testing.TB, dir string) *DB {
	t.Helper()
	db, err := Open(context.Background(), dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// openNumbers gives a database with a table of numbers.
func openNumbers(t testing.TB) *DB {
	t.Helper()
	db := open(t, t.TempDir())
	mustExec(t, db, "CREATE TABLE numbers (n INTEGER PRIMARY KEY) STRICT")
	return db
}

func mustExec(t testing.TB, db *DB, q string, args ...any) {
	t.Helper()
	if err := db.Write(context.Background(), func(tx *sql.Tx) error { _, err := tx.Exec(q, args...); return err }); err != nil {
		t.Fatal(err)
	}
}

func count(t testing.TB, db *DB, where string) (n int) {
	t.Helper()
	if err := db.Read().QueryRow("SELECT count(*) FROM numbers WHERE " + where).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func insert(n int) func(*sql.Tx) error {
	return func(tx *sql.Tx) error {
		_, err := tx.Exec("INSERT INTO numbers VALUES (?)", n)
		return err
	}
}

func TestPragmas(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "with space", "100% ?#")
	db := open(t, dir)
	for _, pool := range []*sql.DB{db.read.DB, db.write} {
		for pragma, want := range map[string]string{"journal_mode": "wal", "synchronous": "2", "foreign_keys": "1", "busy_timeout": "10000"} {
			var got string
			if err := pool.QueryRow("PRAGMA " + pragma).Scan(&got); err != nil || got != want {
				t.Errorf("%s is %q (%v), want %q", pragma, got, err, want)
			}
		}
	}
	if _, err := db.Read().Exec("CREATE TABLE t (a)"); err == nil {
		t.Error("the reader pool can write")
	}
	for _, name := range []string{fileName, fileName + "-wal", lockName} {
		fi, err := os.Stat(filepath.Join(dir, name))
		if err != nil || fi.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, mode %v, want 0600", name, err, fi.Mode())
		}
	}
}

func TestWriteIsSeenByReaders(t *testing.T) {
	db := openNumbers(t)
	mustExec(t, db, "INSERT INTO numbers VALUES (7)")
	if n := count(t, db, "n = 7"); n != 1 {
		t.Fatalf("%d rows, want 1", n)
	}
}

// TestGroup holds the writer in one job while many wait, so that they must share commits, and lets some of them fail.
func TestGroup(t *testing.T) {
	db := openNumbers(t)
	base := db.Stats()["commits"]
	entered, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = db.Write(context.Background(), func(*sql.Tx) error { close(entered); <-release; return nil })
	})
	<-entered
	const n = 100
	odd := errors.New("odd")
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() {
			errs[i] = db.Write(context.Background(), func(tx *sql.Tx) error {
				if err := insert(i)(tx); err != nil || i%2 == 0 {
					return err
				}
				return odd
			})
		})
	}
	await.True(t, "the jobs wait", func() bool { return len(db.writer.jobs) == n })
	close(release)
	wg.Wait()
	for i, err := range errs {
		if i%2 == 1 && err != odd || i%2 == 0 && err != nil {
			t.Fatalf("job %d: %v", i, err)
		}
	}
	if got := count(t, db, "n % 2 = 0"); got != n/2 {
		t.Errorf("%d even rows, want %d", got, n/2)
	}
	if got := count(t, db, "n % 2 = 1"); got != 0 {
		t.Errorf("%d rows of failed jobs were kept", got)
	}
	if got := db.Stats()["commits"] - base; got > 2 {
		t.Errorf("%d commits for one group", got)
	}
	if got := db.Stats()["writes_undone"]; got != n/2 {
		t.Errorf("writes_undone = %d, want %d", got, n/2)
	}
}

func TestConstraintErrorUndoesOnlyItsOwn(t *testing.T) {
	db := openNumbers(t)
	err := db.Write(context.Background(), func(tx *sql.Tx) error {
		if err := insert(1)(tx); err != nil {
			return err
		}
		return insert(1)(tx)
	})
	if err == nil || count(t, db, "1") != 0 {
		t.Fatalf("err %v, %d rows; want an error and none", err, count(t, db, "1"))
	}
}

func TestPanicReachesTheCaller(t *testing.T) {
	db := openNumbers(t)
	func() {
		defer func() {
			if p := recover(); p != "boom" {
				t.Errorf("recovered %v", p)
			}
		}()
		_ = db.Write(context.Background(), func(tx *sql.Tx) error { _ = insert(1)(tx); panic("boom") })
	}()
	if err := db.Write(context.Background(), insert(2)); err != nil {
		t.Fatal(err)
	}
	if got := count(t, db, "1"); got != 1 {
		t.Errorf("%d rows, want only the one after the panic", got)
	}
}

func TestCancelWhileWaiting(t *testing.T) {
	db := openNumbers(t)
	entered, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = db.Write(context.Background(), func(*sql.Tx) error { close(entered); <-release; return nil })
	})
	<-entered
	ctx, cancel := context.WithCancel(context.Background())
	gaveUp := make(chan struct{})
	wg.Go(func() {
		defer close(gaveUp)
		if err := db.Write(ctx, insert(1)); !errors.Is(err, context.Canceled) {
			t.Errorf("cancelled write: %v", err)
		}
	})
	await.True(t, "the job waits", func() bool { return len(db.writer.jobs) == 1 })
	cancel()
	<-gaveUp // before the first lets go
	close(release)
	wg.Wait()
	mustExec(t, db, "INSERT INTO numbers VALUES (2)") // after whatever the cancelled one might have done
	if got := count(t, db, "n = 1"); got != 0 {
		t.Error("a cancelled write was done")
	}
}

func TestFullQueueWaitsAndCounts(t *testing.T) {
	db := openNumbers(t)
	entered, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = db.Write(context.Background(), func(*sql.Tx) error { close(entered); <-release; return nil })
	})
	<-entered
	const extra = 10
	for i := range writeQueue + extra {
		wg.Go(func() {
			if err := db.Write(context.Background(), insert(i)); err != nil {
				t.Error(err)
			}
		})
	}
	await.True(t, "those too many are refused", func() bool { return db.Stats()["write_queue_full"] == extra })
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := db.Write(ctx, insert(-1)); !errors.Is(err, context.Canceled) {
		t.Errorf("write with an ended context: %v", err)
	}
	close(release)
	wg.Wait()
	if got := count(t, db, "1"); got != writeQueue+extra {
		t.Errorf("%d rows, want %d", got, writeQueue+extra)
	}
}

func TestCloseFinishesWaitersAndRefusesNew(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	mustExec(t, db, "CREATE TABLE numbers (n INTEGER PRIMARY KEY) STRICT")
	entered, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = db.Write(context.Background(), func(*sql.Tx) error { close(entered); <-release; return nil })
	})
	<-entered
	wg.Go(func() {
		if err := db.Write(context.Background(), insert(1)); err != nil {
			t.Error(err)
		}
	})
	await.True(t, "the job waits", func() bool { return len(db.writer.jobs) == 1 })
	wg.Go(func() { db.Close() })
	<-db.writer.stop
	close(release)
	wg.Wait()
	if err := db.Write(context.Background(), insert(2)); !errors.Is(err, ErrClosed) {
		t.Errorf("write after Close: %v", err)
	}
	if got := count(t, open(t, dir), "1"); got != 1 {
		t.Errorf("%d rows after reopening, want 1", got)
	}
}

func TestSecondProgramIsRefused(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	_, err := Open(context.Background(), dir, slog.New(slog.DiscardHandler))
	if _, ok := oops.Is(err); !ok || !strings.Contains(err.Error(), fmt.Sprint("process ", os.Getpid())) {
		t.Fatalf("got %v", err)
	}
}

func TestOperatorErrors(t *testing.T) {
	t.Run("damaged", func(t *testing.T) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, fileName), []byte(strings.Repeat("not a database. ", 100)), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := Open(context.Background(), dir, slog.New(slog.DiscardHandler))
		if _, ok := oops.Is(err); !ok {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("newer", func(t *testing.T) {
		dir := t.TempDir()
		db := open(t, dir)
		mustExec(t, db, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (999999, 1)")
		db.Close()
		_, err := Open(context.Background(), dir, slog.New(slog.DiscardHandler))
		if _, ok := oops.Is(err); !ok || !strings.Contains(err.Error(), "newer konzil") {
			t.Fatalf("got %v", err)
		}
	})
}

func BenchmarkWrite(b *testing.B) {
	db := openNumbers(b)
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := db.Write(context.Background(), func(tx *sql.Tx) error {
				_, err := tx.Exec("INSERT INTO numbers (n) VALUES (NULL)")
				return err
			}); err != nil {
				b.Error(err)
			}
		}
	})
	s := db.Stats()
	b.ReportMetric(float64(s["writes"])/float64(s["commits"]), "writes/commit")
}

// TestStatements: what is asked again is prepared once, with bounds, and what cannot be prepared fails as ever.
func TestStatements(t *testing.T) {
	db := open(t, t.TempDir())
	defer db.Close()
	r := db.Read()
	for range 3 {
		var n int
		if err := r.QueryRowContext(t.Context(), "SELECT ? + 1", 2).Scan(&n); err != nil || n != 3 {
			t.Fatal(n, err)
		}
	}
	if len(r.statements) != 1 {
		t.Errorf("%d statements", len(r.statements))
	}
	for i := range maxStatements + 5 {
		var n int
		if err := r.QueryRowContext(t.Context(), fmt.Sprint("SELECT ", i)).Scan(&n); err != nil || n != i {
			t.Fatal(i, n, err)
		}
	}
	if len(r.statements) != maxStatements {
		t.Errorf("%d statements", len(r.statements))
	}
	if _, err := r.QueryContext(t.Context(), "SELECT nothing"); err == nil {
		t.Error("no error")
	}
}
