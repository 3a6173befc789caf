package measure

import (
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// machine describes where a run happened: what a reader must know before comparing its figures with others.
func machine() map[string]string {
	m := map[string]string{"go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH, "cpus": strconv.Itoa(runtime.NumCPU())}
	put := func(key, path string) {
		if b, err := os.ReadFile(path); err == nil {
			if s := strings.TrimSpace(string(b)); s != "" {
				m[key] = s
			}
		}
	}
	put("kernel", "/proc/sys/kernel/osrelease")
	put("kernel build", "/proc/sys/kernel/version")
	put("clocksource", "/sys/devices/system/clocksource/clocksource0/current_clocksource")
	put("governor", "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
	put("smt", "/sys/devices/system/cpu/smt/control")
	put("rmem_max", "/proc/sys/net/core/rmem_max")
	put("wmem_max", "/proc/sys/net/core/wmem_max")
	put("load average", "/proc/loadavg")
	if m["governor"] == "" {
		m["governor"] = "none (no cpufreq: a guest, or fixed by the firmware)"
	}
	cpuInfo(m)
	for line := range lines("/etc/os-release") {
		if v, ok := strings.CutPrefix(line, "PRETTY_NAME="); ok {
			m["system"] = strings.Trim(v, `"`)
		}
	}
	for line := range lines("/proc/meminfo") {
		if v, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			m["memory"] = strings.TrimSpace(v)
		}
	}
	m["mitigations"] = mitigations("/sys/devices/system/cpu/vulnerabilities")
	if lo, err := net.InterfaceByName("lo"); err == nil {
		m["loopback mtu"] = strconv.Itoa(lo.MTU)
	}
	return m
}

func cpuInfo(m map[string]string) {
	for line := range lines("/proc/cpuinfo") {
		k, v, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		switch k, v = strings.TrimSpace(k), strings.TrimSpace(v); k {
		case "model name":
			m["cpu"] = v
		case "cpu MHz":
			m["cpu MHz"] = v
		case "flags":
			m["guest"] = strconv.FormatBool(strings.Contains(" "+v+" ", " hypervisor "))
			return // the other cores are alike
		}
	}
}

// mitigations lists what the kernel does against the weaknesses that this CPU has.
func mitigations(dir string) string {
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	var out []string
	for _, f := range files {
		b, err := os.ReadFile(f)
		if s := strings.TrimSpace(string(b)); err == nil && s != "Not affected" {
			out = append(out, filepath.Base(f)+": "+strings.TrimPrefix(s, "Mitigation: "))
		}
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, "; ")
}

// lines yields the lines of a file, none when it cannot be read.
func lines(path string) func(func(string) bool) {
	b, _ := os.ReadFile(path)
	return strings.SplitSeq(string(b), "\n")
}
