package store

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"sync"
	"testing"

	"konzil/internal/proctest"
)

// childEnv makes the test binary write until it is killed, instead of testing.
const childEnv = "KONZIL_STORE_TEST_CHILD"

// writeForEver writes rows from several goroutines and prints each number once it is acknowledged.
func writeForEver(dir string) {
	db, err := Open(context.Background(), dir, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := g; ; i += 8 {
				if err := db.Write(context.Background(), insert(i)); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				if _, err := os.Stdout.WriteString(strconv.Itoa(i) + "\n"); err != nil {
					os.Exit(1)
				}
			}
		})
	}
	wg.Wait()
}

// TestKill kills a writing process with SIGKILL three times on the same file: each acknowledged row must be there, and the
// file must be sound.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir)
	mustExec(t, db, "CREATE TABLE numbers (n INTEGER PRIMARY KEY) STRICT")
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for round := range 3 {
		acked := killWriter(t, dir, 200+50*round)
		db := open(t, dir)
		for _, n := range acked {
			if got := count(t, db, "n = "+n); got != 1 {
				t.Errorf("round %d: acknowledged row %s is not there", round, n)
			}
		}
		var sound string
		if err := db.Read().QueryRow("PRAGMA integrity_check").Scan(&sound); err != nil || sound != "ok" {
			t.Errorf("round %d: integrity_check: %s, %v", round, sound, err)
		}
		mustExec(t, db, "DELETE FROM numbers")
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// killWriter starts the child, kills it after so many acknowledgements, and gives all that it printed.
func killWriter(t *testing.T, dir string, after int) (acked []string) {
	t.Helper()
	proctest.KillChild(t, childEnv+"="+dir, func(line string) bool {
		acked = append(acked, line)
		return len(acked) >= after
	})
	return acked
}
