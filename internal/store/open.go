package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver, under the name sqlite

	"konzil/internal/oops"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	fileName = "konzil.db"
	lockName = "konzil.lock"

	// maxReaders bounds the reader pool. SQLite reads from the page cache without waiting, so more than a few per core only
	// cost memory (about 2 MB of cache each).
	maxReaders = 8

	// busyTimeout is for outside readers (sqlite3, backup tools) that hold a lock for a moment; inside there is one writer.
	busyTimeout = 10 * time.Second
)

// DB is an open database. Its methods may be called from any goroutine.
type DB struct {
	dir    string
	log    *slog.Logger
	lock   *os.File // of dir
	read   *Reader
	write  *sql.DB
	writer *writer
}

// Open makes dir (0700) when it is missing, opens or creates the database in it, and brings its schema up to date. Only one
// program can have dir open at a time. Errors of type *oops.Error are for the operator.
func Open(ctx context.Context, dir string, log *slog.Logger) (*DB, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, oops.New("store", "data directory "+dir+" cannot be made", "make it for this user or choose another with data", err)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, err
	}
	db := &DB{dir: dir, log: log, lock: lock}
	if err := db.open(ctx, filepath.Join(dir, fileName)); err != nil {
		db.closeFiles()
		return nil, err
	}
	db.writer = newWriter(db.write, log)
	return db, nil
}

func (db *DB) open(ctx context.Context, name string) error {
	// Made before SQLite does, which would leave it readable by all; -wal and -shm copy its mode.
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return oops.File("store", name, "give it to this user", err)
	}
	f.Close()

	if db.write, err = sql.Open("sqlite", dsn(name, false)); err != nil {
		return fmt.Errorf("store: %w", err)
	}
	db.write.SetMaxOpenConns(1)
	read, err := sql.Open("sqlite", dsn(name, true))
	if err != nil {
		return fmt.Errorf("store: %w", err)
	}
	db.read = newReader(read)
	db.read.SetMaxOpenConns(maxReaders)
	db.read.SetMaxIdleConns(maxReaders)
	return db.migrate(ctx, name)
}

// dsn names the file and what each connection is set to.
func dsn(name string, readOnly bool) string {
	q := url.Values{}
	for _, p := range []string{
		"busy_timeout(" + strconv.Itoa(int(busyTimeout.Milliseconds())) + ")",
		"journal_mode(WAL)",
		"synchronous(FULL)", // WAL with NORMAL may lose the last commits when power fails
		"foreign_keys(1)",
		"temp_store(MEMORY)",
		"trusted_schema(0)",
	} {
		q.Add("_pragma", p)
	}
	if readOnly {
		q.Add("_pragma", "query_only(1)")
	} else {
		q.Set("_txlock", "immediate") // take the write lock at BEGIN: no upgrade that can fail half-way
	}
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: name}).EscapedPath(), RawQuery: q.Encode()}).String()
}

func (db *DB) migrate(ctx context.Context, name string) error {
	files, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	// Numbers are given out by feature, so a lower one may come later; features' tables do not depend on each other.
	p, err := goose.NewProvider(goose.DialectSQLite3, db.write, files, goose.WithAllowOutofOrder(true), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("store: migrations: %w", err)
	}
	current, target, err := p.GetVersions(ctx)
	if err != nil {
		return notADatabase(name, err)
	}
	if current > target {
		return oops.New("store", fmt.Sprintf("%s was written by a newer konzil (schema %d, this program knows %d)", name, current, target),
			"run the newer program or restore the backup made before the upgrade", nil)
	}
	results, err := p.Up(ctx)
	if err != nil {
		return fmt.Errorf("store: migration of %s: %w", name, err)
	}
	level := slog.LevelInfo
	if current == 0 { // a new database is no news
		level = slog.LevelDebug
	}
	for _, r := range results {
		db.log.Log(ctx, level, "schema changed", "migration", r.Source.Path, "took", r.Duration)
	}
	return nil
}

func notADatabase(name string, err error) error {
	if strings.Contains(err.Error(), "file is not a database") || strings.Contains(err.Error(), "malformed") {
		return oops.New("store", name+" is damaged or not a SQLite database", "restore it from a backup or move it away", err)
	}
	return fmt.Errorf("store: %s: %w", name, err)
}

// lockDir takes an advisory lock that the kernel gives back when the process ends in any way.
func lockDir(dir string) (*os.File, error) {
	name := filepath.Join(dir, lockName)
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, oops.File("store", name, "give the data directory to this user or choose another with data", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		pid, _ := os.ReadFile(name)
		f.Close()
		return nil, oops.New("store", fmt.Sprintf("data directory %s is in use by another konzil (process %s)", dir, strings.TrimSpace(string(pid))),
			"stop it or choose another directory with data", err)
	}
	if err := f.Truncate(0); err == nil {
		_, _ = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0) // only told to the operator
	}
	return f, nil
}

// Read gives the pool of connections that can only read. They see what was committed when their statement or transaction began.
func (db *DB) Read() *Reader { return db.read }

// Close lets writers that are already waiting finish, refuses new ones, and closes the files.
func (db *DB) Close() error {
	db.writer.close()
	return db.closeFiles()
}

func (db *DB) closeFiles() error {
	var errs []error
	if db.read != nil {
		errs = append(errs, db.read.Close())
	}
	if db.write != nil {
		errs = append(errs, db.write.Close())
	}
	return errors.Join(append(errs, db.lock.Close())...)
}
