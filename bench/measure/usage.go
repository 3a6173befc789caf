package measure

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTick is the unit of CPU times in /proc: USER_HZ is 100 on all Linux architectures that Go runs on (proc(5)).
const clockTick = time.Second / 100

// Usage is what a server has used of the machine since it started.
type Usage struct {
	CPU     time.Duration // user and system, exact to the scheduler's nanoseconds where the kernel tells
	User    time.Duration // share of it; resolution is that of /proc: 10 ms
	System  time.Duration
	RSS     int64 // bytes
	PSS     int64 // bytes; 0 unless asked for
	Threads int
}

// ReadUsage reads what t has used. Pss reads smaps_rollup as well: that walks the page tables under the server's mmap lock, so it is done
// between measured intervals, never within.
func ReadUsage(t *Target, pss bool) (Usage, error) {
	return readUsage(t, processTree(t.PIDs), pss)
}

// readUsage is ReadUsage of a process tree that is known.
func readUsage(t *Target, tree []int, pss bool) (Usage, error) {
	if t.Cgroup != "" {
		return cgroupUsage(t.Cgroup)
	}
	var sum Usage
	for i, pid := range tree {
		u, err := processUsage(pid)
		if err != nil {
			if i < len(t.PIDs) { // the servers themselves must be there; children come and go
				return Usage{}, err
			}
			continue
		}
		if pss {
			u.PSS = readPSS(pid)
		}
		sum.CPU += u.CPU
		sum.User += u.User
		sum.System += u.System
		sum.RSS += u.RSS
		sum.PSS += u.PSS
		sum.Threads += u.Threads
	}
	return sum, nil
}

// processTree is pids, then all their descendants.
func processTree(pids []int) []int {
	all := append([]int(nil), pids...)
	seen := make(map[int]bool, len(all))
	for _, p := range all {
		seen[p] = true
	}
	for i := 0; i < len(all); i++ {
		// The file lists the children that the thread started (proc(5)); a Go server starts them from any thread.
		files, _ := filepath.Glob("/proc/" + strconv.Itoa(all[i]) + "/task/*/children")
		for _, f := range files {
			b, _ := os.ReadFile(f)
			for _, s := range strings.Fields(string(b)) {
				if n, err := strconv.Atoi(s); err == nil && !seen[n] {
					seen[n] = true
					all = append(all, n)
				}
			}
		}
	}
	return all
}

// processUsage reads /proc/PID/stat (proc(5)) and the process's CPU clock. Children that ended and were waited for count.
func processUsage(pid int) (Usage, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return Usage{}, fmt.Errorf("measure: server process: %w", err)
	}
	u, children, err := parseStat(string(b))
	if err != nil {
		return Usage{}, err
	}
	if exact, ok := cpuClock(pid); ok {
		u.CPU = exact + children
	}
	return u, nil
}

// parseStat reads the line of /proc/PID/stat: the process with its dead children, and what the dead children used alone. The name in
// parentheses may itself hold blanks and parentheses.
func parseStat(s string) (u Usage, children time.Duration, err error) {
	i := strings.LastIndexByte(s, ')')
	if i < 0 {
		return u, 0, errors.New("measure: /proc/PID/stat: no name")
	}
	f := strings.Fields(s[i+1:]) // f[0] is field 3
	if len(f) < 22 {
		return u, 0, fmt.Errorf("measure: /proc/PID/stat: %d fields", len(f))
	}
	var n [6]int64
	for k, at := range []int{11, 12, 13, 14, 17, 21} { // utime, stime, cutime, cstime, num_threads, rss: fields 14 to 17, 20, 24
		if n[k], err = strconv.ParseInt(f[at], 10, 64); err != nil {
			return u, 0, fmt.Errorf("measure: /proc/PID/stat: %w", err)
		}
	}
	children = time.Duration(n[2]+n[3]) * clockTick
	u = Usage{User: time.Duration(n[0]+n[2]) * clockTick, System: time.Duration(n[1]+n[3]) * clockTick, Threads: int(n[4]), RSS: n[5] * int64(os.Getpagesize())}
	u.CPU = u.User + u.System
	return u, children, nil
}

// readPSS is the proportional set size from /proc/PID/smaps_rollup: shared pages are split among those that share them. 0 when it cannot be read.
func readPSS(pid int) int64 {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/smaps_rollup")
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "Pss:"); ok {
			kb, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10
		}
	}
	return 0
}

// cgroupUsage reads cpu.stat and memory.current of a cgroup v2 directory.
func cgroupUsage(dir string) (Usage, error) {
	b, err := os.ReadFile(filepath.Join(dir, "cpu.stat"))
	if err != nil {
		return Usage{}, fmt.Errorf("measure: cgroup: %w", err)
	}
	var u Usage
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(strings.TrimSpace(line), " ")
		us, _ := strconv.ParseInt(v, 10, 64)
		switch d := time.Duration(us) * time.Microsecond; k {
		case "usage_usec":
			u.CPU = d
		case "user_usec":
			u.User = d
		case "system_usec":
			u.System = d
		}
	}
	if b, err = os.ReadFile(filepath.Join(dir, "memory.current")); err == nil { // the memory controller may be off
		u.RSS, _ = strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	}
	return u, nil
}

// ownUsage is the CPU time of this process, the generator.
func ownUsage() time.Duration {
	d, ok := cpuClock(os.Getpid())
	if ok {
		return d
	}
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// machineTimes are the CPU times of the whole machine since boot, and the softirq time of the generator's own CPUs (proc(5), /proc/stat).
type machineTimes struct{ busy, softirq, steal, own time.Duration }

func readMachineTimes(own []int) machineTimes {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return machineTimes{}
	}
	return parseMachineTimes(string(b), own)
}

func parseMachineTimes(stat string, own []int) (m machineTimes) {
	for line := range strings.Lines(stat) {
		name, rest, _ := strings.Cut(line, " ")
		if name == "cpu" {
			m = parseTimes(rest)
		} else if n, err := strconv.Atoi(strings.TrimPrefix(name, "cpu")); err == nil && slices.Contains(own, n) {
			m.own += parseTimes(rest).softirq
		}
	}
	return m
}

// parseTimes reads the numbers of one line.
func parseTimes(line string) machineTimes {
	f := strings.Fields(line)
	if len(f) < 8 {
		return machineTimes{}
	}
	var n [9]time.Duration
	for i := 1; i < 9; i++ { // user nice system idle iowait irq softirq steal
		v, _ := strconv.ParseInt(f[i-1], 10, 64)
		n[i] = time.Duration(v) * clockTick
	}
	return machineTimes{busy: n[1] + n[2] + n[3] + n[6] + n[7], softirq: n[7], steal: n[8]}
}
