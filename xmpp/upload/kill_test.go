package upload

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"

	"konzil/internal/proctest"
	"konzil/internal/random"
	"konzil/internal/store"
)

// childEnv makes the test binary store files until it is killed, instead of testing.
const childEnv = "KONZIL_UPLOAD_TEST_CHILD"

// uploadForEver stores files and prints id and hash of each once it is stored.
func uploadForEver(dir string) {
	db, err := store.Open(context.Background(), dir, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	c := config(dir)
	c.Quota, c.MaxFile = 0, 1<<20
	s, err := New(c, &answers{}, db, slog.New(slog.DiscardHandler))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				t := ticket{id: random.ID(), name: "x", owner: "romeo@example.org", purpose: 'm'}
				body := strings.Repeat(t.id, 1000)
				t.size = int64(len(body))
				if err := s.receive(context.Background(), t, strings.NewReader(body)); err != nil {
					fmt.Fprintln(os.Stderr, err)
					os.Exit(1)
				}
				sum := sha256.Sum256([]byte(body))
				if _, err := os.Stdout.WriteString(t.id + " " + hex.EncodeToString(sum[:]) + "\n"); err != nil {
					os.Exit(1)
				}
			}
		})
	}
	wg.Wait()
}

// TestKill kills a process that stores files: each that it has confirmed is there whole, and what it had not finished is nowhere to be fetched.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	stored := map[string]string{}
	proctest.KillChild(t, childEnv+"="+dir, func(line string) bool {
		id, sum, _ := strings.Cut(line, " ")
		stored[id] = sum
		return len(stored) >= 40
	})
	db, err := store.Open(context.Background(), dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	s, err := New(config(dir), &answers{}, db, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	for id, want := range stored {
		b, err := os.ReadFile(s.place(id))
		sum := sha256.Sum256(b)
		if _, there, _ := s.file(context.Background(), id); err != nil || !there || hex.EncodeToString(sum[:]) != want {
			t.Errorf("%s: in the database: %v, on disk: %d bytes, %v", id, there, len(b), err)
		}
	}
	half, err := os.ReadDir(s.dir("incoming"))
	if err != nil || len(half) != 0 {
		t.Errorf("%d files that did not come whole, %v", len(half), err)
	}
}
