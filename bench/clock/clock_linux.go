package clock

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Clock wakes threads at their times: a process that looks at the time all the time, of the policy SCHED_IDLE, so that it takes nothing from anybody.
// A sleep sets the CPU's timer. On a virtual machine that is a call of the hypervisor, 10 µs and more each time, twice for each sleep, charged to
// the sleeper: more than all else that an engine does when it wakes up to send one picture. The zero value is a clock that was not started:
// engines sleep by themselves.
type Clock struct {
	mem     []byte // shared with the process: placesMost of placeSize bytes
	command *exec.Cmd
	in      io.Closer
	places  atomic.Int32
}

const (
	placesMost = 64
	// placeSize is a cache line: when to wake up (ns since 1970, 0: not), and a word that changes then.
	placeSize = 64
	// lost is how long after its time a sleeper wakes up by itself: the clock's CPU is busy, or the process has ended.
	lost = int64(20 * time.Millisecond)
	// memFD is where the process finds the shared memory.
	memFD = 3
	// Operations of futex(2), between processes.
	futexWait, futexWake = 0, 1
)

// Run starts the process on the CPU that the sleepers have, with the command of that name, a program that runs Main. It is a measure.Plan's Clock.
func (c *Clock) Run(command func(name string) []string, cpu int) (pid int, stop func() error, err error) {
	pid, err = c.start(command("clock"), cpu)
	return pid, c.stop, err
}

func (c *Clock) start(command []string, cpu int) (pid int, err error) {
	fd, err := unix.MemfdCreate("clock", unix.MFD_CLOEXEC)
	if err != nil {
		return 0, os.NewSyscallError("memfd_create", err)
	}
	f := os.NewFile(uintptr(fd), "clock")
	defer f.Close()
	if err := f.Truncate(placesMost * placeSize); err != nil {
		return 0, fmt.Errorf("clock: %w", err)
	}
	mem, err := unix.Mmap(fd, 0, placesMost*placeSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return 0, os.NewSyscallError("mmap", err)
	}
	cmd := exec.Command(command[0], append(command[1:len(command):len(command)], strconv.Itoa(cpu))...)
	cmd.Stderr, cmd.ExtraFiles = os.Stderr, []*os.File{f}
	cmd.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1", "GOGC=off", "GOMAXPROCS=2") // nothing of the runtime's interrupts the loop
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return 0, errors.Join(fmt.Errorf("clock: %w", err), unix.Munmap(mem))
	}
	c.mem, c.command, c.in = mem, cmd, in
	return cmd.Process.Pid, nil
}

// stop ends the process, after all engines.
func (c *Clock) stop() error {
	if c.command == nil {
		return nil
	}
	_ = c.in.Close()
	err := c.command.Wait()
	_ = unix.Munmap(c.mem)
	c.mem = nil
	return err
}

// newPlace gives a sleeper its place, -1 when there is none.
func (c *Clock) newPlace() int {
	if c == nil || c.mem == nil {
		return -1
	}
	return int(c.places.Add(1)-1) % placesMost // those of earlier engines are free again
}

func words(mem []byte, place int) (at *int64, word *uint32) {
	b := mem[place*placeSize:]
	return (*int64)(unsafe.Pointer(&b[0])), (*uint32)(unsafe.Pointer(&b[8]))
}

// sleep blocks the thread until a time, ns since 1970, or less when a signal comes.
func (c *Clock) sleep(place int, until int64) {
	at, word := words(c.mem, place)
	was := atomic.LoadUint32(word)
	atomic.StoreInt64(at, until)
	limit := unix.NsecToTimespec(max(until-time.Now().UnixNano(), 0) + lost)
	_, _, _ = unix.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWait, uintptr(was), uintptr(unsafe.Pointer(&limit)), 0, 0)
}

// ring wakes who sleeps on a place when it is time.
func ring(mem []byte, place int, now int64) {
	at, word := words(mem, place)
	if t := atomic.LoadInt64(at); t != 0 && now >= t && atomic.CompareAndSwapInt64(at, t, 0) {
		atomic.AddUint32(word, 1)
		_, _, _ = unix.RawSyscall6(unix.SYS_FUTEX, uintptr(unsafe.Pointer(word)), futexWake, 1, 0, 0, 0)
	}
}

// turns is how often a clock looks at the time between looking whether it shall end.
const turns = 1 << 12

// Main is the process, until in ends. The one argument is its CPU.
func Main(args []string, in io.Reader) error {
	if len(args) != 1 {
		return errors.New("clock: wants a CPU")
	}
	cpu, err := strconv.Atoi(args[0])
	if err != nil {
		return fmt.Errorf("clock: %w", err)
	}
	mem, err := unix.Mmap(memFD, 0, placesMost*placeSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return os.NewSyscallError("mmap", err)
	}
	var ended atomic.Bool
	go func() {
		_, _ = io.Copy(io.Discard, in)
		ended.Store(true)
	}()
	if err := idlePolicy(cpu); err != nil {
		return err
	}
	for !ended.Load() {
		for range turns {
			now := time.Now().UnixNano()
			for i := range placesMost {
				ring(mem, i, now)
			}
		}
	}
	return nil
}

// idlePolicy makes all threads of the process run on one CPU, and only when nobody else wants it.
func idlePolicy(cpu int) error {
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return fmt.Errorf("clock: %w", err)
	}
	var set unix.CPUSet
	set.Set(cpu)
	for _, t := range threads {
		id, err := strconv.Atoi(t.Name())
		if err != nil {
			return fmt.Errorf("clock: %w", err)
		}
		if err := errors.Join(unix.SchedSetaffinity(id, &set), unix.SchedSetAttr(id, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0)); err != nil {
			return fmt.Errorf("clock: %w", err)
		}
	}
	return nil
}
