package udpio

import (
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Alarm rings after a time. Unlike the runtime's timers it wakes nobody when it is put off, and not the runtime's monitor when it rings.
type Alarm struct {
	file *os.File
	raw  syscall.RawConn
}

// NewAlarm makes an alarm that is not set.
func NewAlarm() (*Alarm, error) {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	a := &Alarm{}
	if a.file, a.raw, err = polled(fd, "timerfd"); err != nil {
		return nil, err
	}
	return a, nil
}

// Set has it ring after d, and not when it was to ring before.
func (a *Alarm) Set(d time.Duration) {
	spec := unix.ItimerSpec{Value: unix.NsecToTimespec(int64(max(d, 1)))} // 0 would be never
	_ = a.raw.Control(func(fd uintptr) { _ = unix.TimerfdSettime(int(fd), 0, &spec, nil) })
}

// Serve calls ring each time until the alarm is closed.
func (a *Alarm) Serve(ring func()) {
	var times [8]byte
	_ = a.raw.Read(func(fd uintptr) bool {
		n, _, _ := unix.RawSyscall(unix.SYS_READ, fd, uintptr(unsafe.Pointer(&times[0])), uintptr(len(times))) // does not wait, see Reader
		if int(n) == len(times) {
			ring()
		}
		return false
	})
}

// Close ends Serve.
func (a *Alarm) Close() { _ = a.file.Close() }
