package peers

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// Awake keeps CPUs from halting. A virtual CPU that halts goes back to its host, and comes back late, with cold caches and at another clock
// rate; a real one sleeps deeper the longer it is let. At loads that leave a CPU idle between packets this made the same work cost 1.3 to 1.7
// times as much, and differently from one second to the next.
type Awake struct {
	How  string // for the report
	PID  int    // of the process with the loops, 0: there is none
	stop func() error
}

// latencyFile takes the longest time that a CPU may need to wake up, in µs as 32 bits, for as long as it is open (the kernel's
// Documentation/power/pm_qos_interface.rst). With 0 an idle CPU polls.
const (
	latencyFile = "/dev/cpu_dma_latency"
	driverFile  = "/sys/devices/system/cpu/cpuidle/current_driver"
)

// KeepAwake asks the kernel to let idle CPUs poll. Where it cannot be asked (not root, or no driver for idling) command is started with the
// list of CPUs, a program that runs AwakeMain.
func KeepAwake(command []string, cpus []int) (*Awake, error) {
	if driver, err := os.ReadFile(driverFile); err == nil && strings.TrimSpace(string(driver)) != "none" {
		if f, err := os.OpenFile(latencyFile, os.O_WRONLY, 0); err == nil {
			if _, err := f.Write(make([]byte, 4)); err == nil {
				return &Awake{How: "idle CPUs poll (PM QoS, 0 µs)", stop: f.Close}, nil
			}
			_ = f.Close()
		}
	}
	if len(command) == 0 {
		return &Awake{How: "no", stop: func() error { return nil }}, nil
	}
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
	return &Awake{How: "loops of the policy SCHED_IDLE", PID: cmd.Process.Pid, stop: func() error {
		_ = in.Close()
		return cmd.Wait()
	}}, nil
}

// Stop lets the CPUs halt again.
func (a *Awake) Stop() error { return a.stop() }

// awakeSpin is how many turns a loop makes between looking whether it shall end.
const awakeSpin = 1 << 16

// AwakeMain keeps the CPUs awake until in ends: by a loop on each, of the policy SCHED_IDLE (sched(7)), which runs only while nobody else
// wants the CPU.
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
