// Package storetest opens databases for tests. Only tests use it.
package storetest

import (
	"context"
	"log/slog"
	"testing"

	"konzil/internal/store"
)

// Open is a database in a folder of its own until the test ends.
func Open(t testing.TB) *store.DB {
	t.Helper()
	db := OpenIn(t, t.TempDir())
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// OpenIn is the database of dir, for tests that close it and open it again.
func OpenIn(t testing.TB, dir string) *store.DB {
	t.Helper()
	db, err := store.Open(context.Background(), dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return db
}
