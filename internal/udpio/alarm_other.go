//go:build !linux

package udpio

import "time"

// Alarm rings after a time.
type Alarm struct {
	timer *time.Timer
	done  chan struct{}
}

// NewAlarm makes an alarm that is not set.
func NewAlarm() (*Alarm, error) {
	a := &Alarm{timer: time.NewTimer(time.Hour), done: make(chan struct{})}
	a.timer.Stop()
	return a, nil
}

// Set has it ring after d, and not when it was to ring before.
func (a *Alarm) Set(d time.Duration) { a.timer.Reset(d) }

// Serve calls ring each time until the alarm is closed.
func (a *Alarm) Serve(ring func()) {
	for {
		select {
		case <-a.timer.C:
			ring()
		case <-a.done:
			return
		}
	}
}

// Close ends Serve.
func (a *Alarm) Close() {
	a.timer.Stop()
	close(a.done)
}
