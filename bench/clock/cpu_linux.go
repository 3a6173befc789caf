package clock

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// threadCPU is the CPU time of the thread, ns (clock_gettime(2), CLOCK_THREAD_CPUTIME_ID).
func threadCPU() int64 {
	var t unix.Timespec
	_, _, _ = unix.RawSyscall(unix.SYS_CLOCK_GETTIME, unix.CLOCK_THREAD_CPUTIME_ID, uintptr(unsafe.Pointer(&t)), 0) // does not fail
	return t.Nano()
}
