package peers

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// StartPinned starts cmd so that it, and all that it starts, runs on the given CPUs only; none is all. The thread that starts it takes the
// CPUs for that moment, because a child inherits them (sched_setaffinity(2)).
func StartPinned(cmd *exec.Cmd, cpus []int) error {
	if len(cpus) == 0 {
		return cmd.Start()
	}
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("peers: affinity: %w", err)
	}
	set := cpuSet(cpus)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("peers: CPUs %v: %w", cpus, err)
	}
	err := cmd.Start()
	if rerr := unix.SchedSetaffinity(0, &before); rerr != nil && err == nil {
		return fmt.Errorf("peers: affinity: %w", rerr)
	}
	return err
}

// PinSelf keeps all threads of this process, and those to come, on the given CPUs.
func PinSelf(cpus []int) error {
	if len(cpus) == 0 {
		return nil
	}
	set := cpuSet(cpus)
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, t := range tasks {
		tid, _ := strconv.Atoi(t.Name())
		if err := unix.SchedSetaffinity(tid, &set); err != nil && err != unix.ESRCH { // a thread may have ended
			return fmt.Errorf("peers: CPUs %v: %w", cpus, err)
		}
	}
	return nil
}

func cpuSet(cpus []int) (s unix.CPUSet) {
	for _, c := range cpus {
		s.Set(c)
	}
	return s
}

// Allowed is the CPUs that this process may use now.
func Allowed() []int {
	var s unix.CPUSet
	if unix.SchedGetaffinity(0, &s) != nil {
		return nil
	}
	var out []int
	for c := range len(s) * 64 {
		if s.IsSet(c) {
			out = append(out, c)
		}
	}
	return out
}
