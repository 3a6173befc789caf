package clock

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A sleeper wakes up at its time when the clock rings, and by itself when it does not.
func TestClock(t *testing.T) {
	mem, err := unix.Mmap(-1, 0, placesMost*placeSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED|unix.MAP_ANONYMOUS)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(mem) }()
	c := &Clock{mem: mem}
	if (&Clock{}).newPlace() != -1 || c.newPlace() != 0 || c.newPlace() != 1 {
		t.Error("places")
	}
	alone := time.Now().Add(30 * time.Millisecond)
	for time.Now().Before(alone) { // a signal of the runtime's may come
		c.sleep(1, alone.UnixNano())
	}
	at, _ := words(mem, 0)
	until := time.Now().Add(10 * time.Second)
	var wg sync.WaitGroup
	var rung atomic.Bool
	wg.Go(func() {
		for !rung.Load() && time.Now().Before(until) {
			c.sleep(0, until.UnixNano())
		}
	})
	for atomic.LoadInt64(at) == 0 {
		ring(mem, 0, until.UnixNano()-1)
	}
	rung.Store(true)
	ring(mem, 0, until.UnixNano()) // a time that has come
	wg.Wait()
	if time.Now().After(until) {
		t.Error("slept too long")
	}
}
