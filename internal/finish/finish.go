// Package finish waits for goroutines that have been told to end.
package finish

import (
	"context"
	"sync"
)

// Wait returns when all of wg have ended, or with the error of ctx; the goroutine that waits then ends with the last of wg.
func Wait(ctx context.Context, wg *sync.WaitGroup) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		wg.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
