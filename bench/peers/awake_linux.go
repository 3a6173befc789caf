package peers

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Awake is a process that keeps CPUs from halting: a loop on each, of the policy SCHED_IDLE (sched(7)), which runs only while nobody else
// wants the CPU. A virtual CPU that halts goes back to its host, and comes back late, with cold caches and at another clock rate: at loads
// that leave it idle between packets this made the same work cost 1.3 to 1.7 times as much, and differently from one second to the next.
type Awake struct {
	PID  int
	in   io.Closer
	wait func() error
}

// KeepAwake starts command with the list of CPUs; it is a program that runs AwakeMain.
func KeepAwake(command []string, cpus []int) (*Awake, error) {
	args := command[1:len(command):len(command)]
	for _, c := range cpus {
		args = append(args, strconv.Itoa(c))
	}
	cmd := exec.Command(command[0], args...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("peers: keeping CPUs awake: %w", err)
	}
	return &Awake{PID: cmd.Process.Pid, in: in, wait: cmd.Wait}, nil
}

// Stop lets the CPUs halt again.
func (a *Awake) Stop() error {
	_ = a.in.Close()
	return a.wait()
}

// awakeSpin is how many turns a loop makes between looking whether it shall end.
const awakeSpin = 1 << 16

// AwakeMain keeps the CPUs awake until in ends.
func AwakeMain(args []string, in io.Reader) error {
	debug.SetGCPercent(-1)
	runtime.GOMAXPROCS(len(args) + 1)
	var ended atomic.Bool
	done := make(chan error, len(args))
	for _, a := range args {
		cpu, err := strconv.Atoi(a)
		if err != nil {
			return fmt.Errorf("peers: CPU %q: %w", a, err)
		}
		go func() { done <- awake(cpu, &ended) }()
	}
	go func() {
		_, _ = io.Copy(io.Discard, in)
		ended.Store(true)
	}()
	var err error
	for range args {
		if e := <-done; e != nil {
			err = e
			ended.Store(true)
		}
	}
	return err
}

// awake is the loop on one CPU, in a thread that ends with it.
func awake(cpu int, ended *atomic.Bool) error {
	runtime.LockOSThread()
	set := cpuSet([]int{cpu})
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("peers: CPU %d: %w", cpu, err)
	}
	if err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_IDLE}, 0); err != nil {
		return fmt.Errorf("peers: SCHED_IDLE: %w", err)
	}
	for !ended.Load() {
		for range awakeSpin {
		}
	}
	return nil
}
