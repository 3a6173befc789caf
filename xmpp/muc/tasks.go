package muc

import (
	"context"
	"sync"

	"konzil/xmpp/stanza"
)

const (
	// maxTasks bounds the questions to the archive that are under way for all rooms: each holds a connection to the store.
	maxTasks = 64
	// maxTasksEach bounds those of one person, so that nobody takes all.
	maxTasksEach = 4
)

// tasks are goroutines of the service that end by themselves. Close waits for them.
type tasks struct {
	mu      sync.Mutex // guards all below
	idle    *sync.Cond // running became 0
	running int        // goroutines and messages on their way to the disk
	asked   int        // of them those that somebody asked for
	by      map[stanza.JID]int
}

func (t *tasks) begin() {
	t.mu.Lock()
	t.running++
	t.mu.Unlock()
}

func (t *tasks) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.running--; t.running == 0 {
		t.idle.Broadcast()
	}
}

// run starts f.
func (t *tasks) run(f func()) {
	t.begin()
	go func() {
		defer t.end()
		f()
	}()
}

// runFor starts f for who asked for it, a bare JID; false: there is too much under way already.
func (t *tasks) runFor(who stanza.JID, f func()) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.asked >= maxTasks || t.by[who] >= maxTasksEach {
		return false
	}
	t.asked++
	t.by[who]++
	t.running++
	go func() {
		defer t.end()
		defer func() {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.asked--
			if t.by[who]--; t.by[who] == 0 {
				delete(t.by, who)
			}
		}()
		f()
	}()
	return true
}

// wait returns when nothing is under way, or ctx's error.
func (t *tasks) wait(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.idle.Broadcast()
	})
	defer stop()
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.running > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		t.idle.Wait()
	}
	return nil
}
