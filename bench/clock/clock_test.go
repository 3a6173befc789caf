package clock

import (
	"runtime"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A sleeper returns when its time has come, not before, and was idle for no longer than it took.
func TestSleeper(t *testing.T) {
	var none *Clock
	if s := none.Sleeper(); s.On() || none.Idle() != 0 {
		t.Error("a clock that is not there")
	}
	c := &Clock{}
	s := c.Sleeper()
	if s.On() {
		t.Error("on before it was started")
	}
	c.Start()
	if !s.On() {
		t.Error("not on")
	}
	const d = 20 * time.Millisecond
	began := time.Now()
	s.Until(began.Add(d).UnixNano())
	took, idle := time.Since(began), c.Idle()
	if took < d || idle <= 0 || idle > took {
		t.Errorf("took %v, of which idle %v", took, idle)
	}
	s.Until(began.UnixNano()) // has come already
	if c.Idle() != idle {
		t.Error("idle for nothing")
	}
}

// Other goroutines run while somebody waits, also when there is one processor.
func TestOthersRun(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	c := &Clock{}
	c.Start()
	s := c.Sleeper()
	ran := make(chan struct{})
	go close(ran)
	s.Until(time.Now().Add(10 * time.Millisecond).UnixNano())
	select {
	case <-ran:
	default:
		t.Error("nobody else could run")
	}
}
