package sfu

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"konzil/bench/measure"
)

// lookEvery is how long everybody looks at one camera.
const lookEvery = 2 * time.Second

// lookAround lets all receivers look at another camera every lookEvery until ctx ends.
func (l *Load) lookAround(ctx context.Context) error {
	for ctx.Err() == nil {
		l.stage = (l.stage + 1) % stagePublishers
		if err := l.look(ctx); err != nil && ctx.Err() == nil {
			return err
		}
		if err := measure.Pause(ctx, lookEvery); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
	}
	return nil
}

// look makes the camera of l.stage the only one that anybody wants.
func (l *Load) look(ctx context.Context) error {
	var at *member
	for _, m := range l.members {
		if len(m.spec.Publish) > 0 && m.spec.Name == fmt.Sprintf("p%d", l.stage) {
			at = m
		}
	}
	if at == nil {
		return errors.New("sfu: nobody is on the stage")
	}
	layer := 0
	for _, t := range at.spec.Publish {
		layer = max(layer, len(t.Layers)-1)
	}
	room := make(chan struct{}, l.o.Joins)
	var mu sync.Mutex // guards errs
	var errs error
	var wg sync.WaitGroup
	for _, m := range l.members {
		if m == at {
			continue
		}
		m.spec.Want.Only = at.spec.Name
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			m.peer.Expect(at.peer, layer)
			if err := m.session.Want(ctx, m.spec.Want); err != nil {
				mu.Lock()
				errs = errors.Join(errs, err)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return errs
}
