package bench

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// clockTick is the unit of CPU times in /proc: USER_HZ is 100 on all Linux architectures that Go runs on (proc(5)).
const clockTick = time.Second / 100

// Usage is the CPU time and memory of a process.
type Usage struct {
	User, System time.Duration
	RSS          int64 // bytes
}

// CPU is user and system time together.
func (u Usage) CPU() time.Duration { return u.User + u.System }

// processUsage reads /proc/PID/stat (proc(5)).
func processUsage(pid int) (Usage, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return Usage{}, fmt.Errorf("bench: server process: %w", err)
	}
	return parseStat(string(b))
}

// parseStat reads the line of /proc/PID/stat. The name in parentheses may itself hold blanks and parentheses.
func parseStat(s string) (Usage, error) {
	i := strings.LastIndexByte(s, ')')
	if i < 0 {
		return Usage{}, errors.New("bench: /proc/PID/stat: no name")
	}
	f := strings.Fields(s[i+1:]) // f[0] is field 3
	if len(f) < 22 {
		return Usage{}, fmt.Errorf("bench: /proc/PID/stat: %d fields", len(f))
	}
	var n [3]int64
	for k, at := range []int{11, 12, 21} { // utime, stime, rss: fields 14, 15, 24
		v, err := strconv.ParseInt(f[at], 10, 64)
		if err != nil {
			return Usage{}, fmt.Errorf("bench: /proc/PID/stat: %w", err)
		}
		n[k] = v
	}
	return Usage{User: time.Duration(n[0]) * clockTick, System: time.Duration(n[1]) * clockTick, RSS: n[2] * int64(os.Getpagesize())}, nil
}

// ownUsage is the CPU time of this process.
func ownUsage() Usage {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return Usage{}
	}
	return Usage{User: time.Duration(r.Utime.Nano()), System: time.Duration(r.Stime.Nano())}
}

// machine describes where the run happened.
func machine() map[string]string {
	m := map[string]string{"go": runtime.Version(), "os": runtime.GOOS + "/" + runtime.GOARCH, "cpus": strconv.Itoa(runtime.NumCPU())}
	if b, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m["kernel"] = strings.TrimSpace(string(b))
	}
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
				m["cpu"] = strings.TrimSpace(v)
				break
			}
		}
	}
	return m
}
