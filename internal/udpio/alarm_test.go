package udpio

import (
	"testing"
	"time"
)

// TestAlarm sets, puts off and closes an alarm.
func TestAlarm(t *testing.T) {
	a, err := NewAlarm()
	if err != nil {
		t.Fatal(err)
	}
	rings, over := make(chan time.Time, 1), make(chan struct{})
	go func() {
		defer close(over)
		a.Serve(func() { rings <- time.Now() })
	}()
	heard := func() time.Time {
		t.Helper()
		select {
		case at := <-rings:
			return at
		case <-time.After(10 * time.Second):
			t.Fatal("it does not ring")
		}
		return time.Time{}
	}
	a.Set(0)
	heard()
	const later = 100 * time.Millisecond
	began := time.Now()
	a.Set(later / 2)
	a.Set(later) // put off
	if d := heard().Sub(began); d < later {
		t.Errorf("it rang after %v, not %v", d, later)
	}
	a.Set(time.Hour)
	a.Set(1) // brought forward
	heard()
	a.Close()
	select {
	case <-over:
	case <-time.After(10 * time.Second):
		t.Fatal("Serve goes on")
	}
	if len(rings) > 0 {
		t.Error("it rang once more")
	}
}
