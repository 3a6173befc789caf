package finish

import (
	"context"
	"errors"
	"sync"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestWait(t *testing.T) {
	var wg sync.WaitGroup
	end := make(chan struct{})
	wg.Go(func() { <-end })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Wait(ctx, &wg); !errors.Is(err, context.Canceled) {
		t.Errorf("a goroutine that goes on: %v", err)
	}
	close(end)
	if err := Wait(t.Context(), &wg); err != nil {
		t.Error(err)
	}
}
