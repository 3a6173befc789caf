package udpio

import (
	"os"
	"runtime"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// spell is for how long, at least, a goroutine waits in one way before it looks whether the other one is better. After a spell in the kernel it lets others
	// run: what it has woken itself waits for its processor, unless another one is idle.
	spell = 25 * time.Millisecond
	// brisk is how many waits there have to be in a spell, 2,500 a second, for those in the kernel to be cheaper. Each saves 1 to 2 µs.
	brisk = 63
	// steady is how many spells have to be brisk, one after the other, before the first one in the kernel: to begin and to end costs as much as some spells save.
	steady = 2
	// glance is how many waits there are between two looks at the clock.
	glance = 8
	// lapse is when a spell is over in which nothing comes any more.
	lapse = 40 * time.Millisecond
)

// vigil decides how the goroutine that reads an epoll waits for it. For a wait in the runtime's poller four calls are made, two of the poller and two to see
// what there is; it lets others run meanwhile, and costs nothing while nothing comes. A wait in the kernel is one call; the goroutine keeps its
// processor in it (Processors), and the scheduler is not told: who tells it wakes the runtime's monitor. A time limit of the call's own would cost 0.2 µs each
// time.
type vigil struct {
	procs *Processors // nil: always in the poller
	alarm int         // a timerfd in the epoll, for lapse
	start time.Time
	since time.Duration // of the spell
	waits int           // in it
	good  int           // brisk spells, with the last one
	need  int           // of them: steady
	on    bool          // in the kernel
	alone bool          // the last wait was in the poller: nobody else may sit there
}

// open prepares a vigil over an epoll.
func (v *vigil) open(ep int, procs *Processors) (err error) {
	if procs == nil {
		return nil
	}
	if v.alarm, err = unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK); err != nil {
		return os.NewSyscallError("timerfd_create", err)
	}
	v.procs, v.need, v.start = procs, steady, time.Now()
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, v.alarm, &unix.EpollEvent{Events: unix.EPOLLIN | epollET, Fd: int32(v.alarm)}))
}

// inKernel says how the wait that begins now is one.
func (v *vigil) inKernel() bool {
	if v.procs == nil {
		return false
	}
	v.waits++
	if v.waits%glance == 0 {
		v.look(time.Since(v.start))
	}
	was := v.alone
	v.alone = !v.on || v.procs.rests()
	if was && !v.alone {
		runtime.Gosched() // a thread waits in the runtime's poller for the others then
	}
	return !v.alone
}

// look ends a spell when it is time.
func (v *vigil) look(now time.Duration) {
	if now-v.since < spell {
		return
	}
	v.good++
	if v.waits < brisk || now-v.since > 2*spell || v.on && !v.procs.suffice() {
		v.end()
	} else if v.on = v.on || v.good >= v.need && v.procs.take(); v.on {
		_ = unix.TimerfdSettime(v.alarm, 0, &unix.ItimerSpec{Value: unix.NsecToTimespec(int64(lapse))}, nil)
		runtime.Gosched() // whose turn it is
	}
	v.since, v.waits = now, 0
}

// wait is epoll_wait in the kernel. None is that the runtime wants the processor, or a signal has come.
func (v *vigil) wait(ep int, events []unix.EpollEvent) int {
	n, _, e := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(ep), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), ^uintptr(0), 0, 0)
	if e != 0 {
		v.procs.disturbed()
		return 0
	}
	return int(n)
}

// rang says whether an event is that of the alarm, which ends waits in the kernel.
func (v *vigil) rang(fd int32) bool {
	if v.procs == nil || fd != int32(v.alarm) {
		return false
	}
	v.end()
	return true
}

// end has the next waits be in the poller.
func (v *vigil) end() {
	v.good = 0
	if v.on {
		v.on = false
		v.procs.giveBack()
	}
}

func (v *vigil) close() {
	if v.procs != nil {
		v.end()
		unix.Close(v.alarm)
	}
}
