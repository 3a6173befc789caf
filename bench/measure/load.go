package measure

import (
	"context"
	"time"
)

// Load is one load on one server. The driver calls Prepare, then Measure once for warming up and once for each measured interval, then
// Close; Live may be called from another goroutine at any time between.
type Load interface {
	// Prepare brings the load up to where measuring may begin: sessions logged in, channels bound, media flowing. Progress takes a short
	// line of what is happening, for people who wait.
	Prepare(ctx context.Context, progress func(string)) error

	// Measure carries the load for d and returns what was counted within, after waiting a bounded time for what was still under way. A load
	// that is an amount of work (a thousand logins) does it once and pays no heed to d.
	Measure(ctx context.Context, d time.Duration) (*Sample, error)

	// Live is what was sent and delivered since Prepare, for the progress line.
	Live() (sent, delivered uint64)

	// Close ends all sessions. The load is not used again.
	Close() error
}

// Pause waits, unless ctx ends before; then it returns the cause.
func Pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Maker makes a load for a target. Scale is the load's size in its own unit (receivers, sessions, allocations, occupants), which -ramp varies;
// 0 is the size that the flags say.
type Maker func(t *Target, scale int) (Load, error)
