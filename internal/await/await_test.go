package await

import (
	"testing"
	"testing/synctest"
	"time"
)

// TestWithin: what happens in time is seen at the next look, what does not is given up after that time.
func TestWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		if !Within(time.Minute, time.Second, func() bool { return time.Since(begin) > 9*time.Second }) || time.Since(begin) != 10*time.Second {
			t.Errorf("seen after %v", time.Since(begin))
		}
		begin = time.Now()
		if Within(time.Minute, time.Second, func() bool { return false }) || time.Since(begin) != time.Minute {
			t.Errorf("given up after %v", time.Since(begin))
		}
		if begin = time.Now(); !Within(0, time.Second, func() bool { return true }) || time.Since(begin) != 0 {
			t.Error("what is so already was waited for")
		}
	})
}
