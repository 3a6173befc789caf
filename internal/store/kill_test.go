package store

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"time"
)

// childEnv makes the test binary write until it is killed, instead of testing.
const childEnv = "KONZIL_STORE_TEST_CHILD"

// eventually waits until ok is true, up to 10 s.
func eventually(t testing.TB, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); {
		if time.Now().After(deadline) {
			t.Fatal("it did not happen within 10 s")
		}
		runtime.Gosched()
	}
}

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
	cmd := exec.Command(os.Args[0], "-test.run=^$")
	cmd.Env = append(os.Environ(), childEnv+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(30*time.Second, func() { _ = cmd.Process.Kill() })
	defer watchdog.Stop()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		acked = append(acked, lines.Text())
		if len(acked) == after {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // killed
	if len(acked) < after {
		t.Fatalf("the child ended after %d acknowledgements, before it was killed", len(acked))
	}
	return acked
}
