package muc

import (
	"context"
	"sync"

	"konzil/internal/slots"
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
	asked *slots.Slots[stanza.JID] // for those that somebody asked for

	mu      sync.Mutex // guards running
	idle    *sync.Cond // it became 0
	running int        // goroutines and messages on their way to the disk
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
	if !t.asked.Take(who) {
		return false
	}
	t.run(func() {
		defer t.asked.Give(who)
		f()
	})
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
