// Package await is how tests wait for what happens on other goroutines, in other processes or in a browser and cannot be waited for by a channel: they
// look again and again, and fail when it takes too long. Only tests use it.
package await

import (
	"testing"
	"time"
)

const (
	// patience is for what happens in milliseconds, on a machine that does much else.
	patience = 30 * time.Second
	// pause is between two looks: short beside what is waited for, and long enough to leave the CPU to those who are to do it. Where ok does a step itself, such
	// as sending a frame, that is its pace.
	pause = 5 * time.Millisecond
)

// True waits until ok says so; the test ends when it does not within half a minute. what is for the message, which reads "never: what".
func True(t testing.TB, what string, ok func() bool) {
	t.Helper()
	if !Within(patience, pause, ok) {
		t.Fatalf("never: %s", what)
	}
}

// Within looks each pause until ok says so, for at most d; it tells whether ok did.
func Within(d, pause time.Duration, ok func() bool) bool {
	if ok() {
		return true
	}
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); {
		<-tick.C
		if ok() {
			return true
		}
	}
	return false
}
