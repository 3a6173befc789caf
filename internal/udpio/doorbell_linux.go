package udpio

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// doorbell lets a goroutine wait in the runtime's poller for an epoll to have events. It can be muted: an epoll that stood in the runtime's poller
// itself would wake a thread of the runtime with each packet, also while the goroutine does not wait for it.
type doorbell struct {
	fd   int // an epoll in which ep stands
	ep   int
	file *os.File
	raw  syscall.RawConn
	on   bool // not muted
}

func (b *doorbell) open(ep int) (err error) {
	if b.fd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return os.NewSyscallError("epoll_create1", err)
	}
	b.ep, b.on = ep, true
	if b.file, b.raw, err = polled(b.fd, "epoll"); err != nil {
		return err
	}
	return b.control(unix.EPOLL_CTL_ADD, unix.EPOLLIN)
}

// wait returns when poll, which is asked before and after each ring, says that there are events; an error is that the bell was closed.
func (b *doorbell) wait(poll func(uintptr) bool) error {
	if !b.on {
		b.on = true
		if err := b.control(unix.EPOLL_CTL_MOD, unix.EPOLLIN); err != nil {
			return err
		}
	}
	return b.raw.Read(poll)
}

// mute keeps the bell quiet until the next wait.
func (b *doorbell) mute() {
	if b.on {
		b.on = b.control(unix.EPOLL_CTL_MOD, 0) != nil
	}
}

func (b *doorbell) control(op int, events uint32) error {
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(b.fd, op, b.ep, &unix.EpollEvent{Events: events}))
}

func (b *doorbell) close() {
	if b.file != nil {
		_ = b.file.Close()
	}
}

// napTimer lets a goroutine sleep for less than the millisecond that is the runtime's finest.
type napTimer struct {
	file  *os.File
	raw   syscall.RawConn
	start func(fd uintptr) bool
	spec  unix.ItimerSpec
	told  bool // start has set the timer
}

func (t *napTimer) open() error {
	fd, err := unix.TimerfdCreate(unix.CLOCK_MONOTONIC, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return os.NewSyscallError("timerfd_create", err)
	}
	if t.file, t.raw, err = polled(fd, "timerfd"); err != nil {
		return err
	}
	t.start = func(fd uintptr) bool {
		if t.told {
			return true
		}
		t.told = true
		return unix.TimerfdSettime(int(fd), 0, &t.spec, nil) != nil
	}
	return nil
}

// sleep waits for d, or until it is closed.
func (t *napTimer) sleep(d time.Duration) {
	t.told, t.spec.Value = false, unix.NsecToTimespec(int64(d))
	_ = t.raw.Read(t.start) // who is closed is told by the epoll
}

func (t *napTimer) close() {
	if t.file != nil {
		_ = t.file.Close()
	}
}

// polled gives a descriptor to the runtime's poller. It belongs to the file from now on.
func polled(fd int, name string) (*os.File, syscall.RawConn, error) {
	_ = unix.SetNonblock(fd, true) // os.File only gives such descriptors to the poller
	file := os.NewFile(uintptr(fd), name)
	raw, err := file.SyscallConn()
	if err != nil {
		_ = file.Close()
		return nil, nil, err
	}
	return file, raw, nil
}
