package measure

import (
	"syscall"
	"time"
	"unsafe"
)

// cpuClock reads the CPU clock of a process with the scheduler's resolution: clock_gettime of the id that clock_getcpuclockid(3) makes. It
// counts all threads, those that ended too.
func cpuClock(pid int) (time.Duration, bool) {
	const schedClock = 2 // CPUCLOCK_SCHED (linux/posix-timers.h)
	id := uintptr(^pid<<3 | schedClock)
	var ts syscall.Timespec
	if _, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, id, uintptr(unsafe.Pointer(&ts)), 0); errno != 0 {
		return 0, false
	}
	return time.Duration(ts.Nano()), true
}
