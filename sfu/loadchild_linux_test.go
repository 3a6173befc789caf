package sfu

import (
	"encoding/gob"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/pion/srtp/v3"
	"golang.org/x/sys/unix"

	"konzil/sfu/bwe"
)

// The server of BenchmarkServer is this test binary once more, as a process of its own: its CPU time and memory are its alone.
// It takes orders on its standard input and answers on its standard output.

// loadChildEnv makes the test binary be that server. Its value is the number of shards.
const loadChildEnv = "KONZIL_SFU_LOAD_SERVER"

// loadProfileEnv is a file for a CPU profile of the server while it is measured.
const loadProfileEnv = "KONZIL_SFU_LOAD_PROFILE"

type loadReq struct {
	Op       string
	ID       string
	T        Transport
	Sources  []Source
	Receives bool
	GC       bool

	To      []netip.AddrPort // of limit
	Run     int
	Profile srtp.ProtectionProfile
}

type loadRes struct {
	Err      string
	T        Transport
	CPU      int64 // ns
	RSS      int64 // bytes
	Counters map[string]uint64
	Packets  int // of limit
}

type loadChild struct {
	t   testing.TB
	cmd *exec.Cmd
	enc *gob.Encoder
	dec *gob.Decoder
	in  interface{ Close() error }
}

// startLoadChild starts the server, pinned to the first core when taskset is there.
func startLoadChild(t testing.TB) *loadChild {
	t.Helper()
	args := []string{os.Args[0]}
	if path, err := exec.LookPath("taskset"); err == nil && runtime.NumCPU() > 1 {
		args = []string{path, "-c", "0", os.Args[0]}
		pinSelf(1)
	}
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), loadChildEnv+"=1", "GOMAXPROCS=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	return &loadChild{t: t, cmd: cmd, enc: gob.NewEncoder(in), dec: gob.NewDecoder(out), in: in}
}

func (c *loadChild) call(r loadReq) loadRes {
	c.t.Helper()
	must(c.t, c.enc.Encode(r))
	var res loadRes
	must(c.t, c.dec.Decode(&res))
	if res.Err != "" {
		c.t.Fatalf("%s %s: %s", r.Op, r.ID, res.Err)
	}
	return res
}

func (c *loadChild) close() {
	_ = c.in.Close()
	_ = c.cmd.Wait()
}

// pinSelf keeps all threads of this process on one core.
func pinSelf(cpu int) {
	var set unix.CPUSet
	set.Set(cpu)
	tasks, _ := os.ReadDir("/proc/self/task")
	for _, d := range tasks {
		if tid, err := strconv.Atoi(d.Name()); err == nil {
			_ = unix.SchedSetaffinity(tid, &set)
		}
	}
}

func addrOf(b []byte) unsafe.Pointer { return unsafe.Pointer(&b[0]) }

func processCPU() int64 {
	var ru unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &ru)
	return ru.Utime.Nano() + ru.Stime.Nano()
}

// residentBytes is the memory of this process that is not shared.
func residentBytes() int64 {
	text, _ := os.ReadFile("/proc/self/smaps_rollup")
	var kb int64
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "Pss:" {
			kb, _ = strconv.ParseInt(f[1], 10, 64)
		}
	}
	return kb * 1024
}

// runAsLoadServer is called by TestMain.
func runAsLoadServer() bool {
	if os.Getenv(loadChildEnv) == "" {
		return false
	}
	if err := runLoadChild(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	return true
}

// runLoadChild is the server process.
func runLoadChild() error {
	cfg := DefaultConfig()
	cfg.Listen = []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:0")}
	cfg.Shards, _ = strconv.Atoi(os.Getenv(loadChildEnv))
	s, err := New(cfg, nil)
	if err != nil {
		return err
	}
	defer s.Close()
	c, err := s.NewConference("load", newEvents())
	if err != nil {
		return err
	}
	if file := os.Getenv(loadProfileEnv); file != "" {
		defer pprof.StopCPUProfile()
	}
	dec, enc := gob.NewDecoder(os.Stdin), gob.NewEncoder(os.Stdout)
	eps := map[string]*Endpoint{}
	for {
		var r loadReq
		if dec.Decode(&r) != nil {
			return nil
		}
		res, err := loadOrder(s, c, eps, r)
		if err != nil {
			res.Err = err.Error()
		}
		if err := enc.Encode(res); err != nil {
			return err
		}
	}
}

func loadOrder(s *SFU, c *Conference, eps map[string]*Endpoint, r loadReq) (res loadRes, err error) {
	switch r.Op {
	case "add":
		cfg := endpointConfig(r.ID)
		cfg.DataChannel = false
		e, err := c.AddEndpoint(cfg)
		if err != nil {
			return res, err
		}
		eps[r.ID] = e
		e.sh.mu.Lock()
		e.m.est = bwe.New(bwe.Config{Start: 100e6, Max: 100e6}) // clients that give no feedback are not held back
		e.sh.mu.Unlock()
		res.T, err = e.LocalTransport(e.t.ctx)
		return res, err
	case "remote":
		e := eps[r.ID]
		if err := e.SetSources(r.Sources); err != nil {
			return res, err
		}
		if r.Receives {
			e.SetConstraints(VideoConstraints{LastN: -1, Default: Constraint{MaxHeight: 2160}})
		} else {
			e.SetAudioSubscription(AudioSubscription{None: true})
		}
		return res, e.SetRemote(r.T)
	case "profile":
		if file := os.Getenv(loadProfileEnv); file != "" {
			f, err := os.Create(file)
			if err != nil {
				return res, err
			}
			return res, pprof.StartCPUProfile(f)
		}
	case "limit":
		res.Packets, res.CPU, err = bareLoop(r.To, r.Run, r.Profile)
		return res, err
	case "stat":
		if r.GC {
			debug.FreeOSMemory()
		}
		res.CPU, res.RSS, res.Counters = processCPU(), residentBytes(), s.Counters()
		if file := os.Getenv("KONZIL_SFU_LOAD_HEAP"); file != "" && r.GC {
			if f, err := os.Create(file); err == nil {
				_ = pprof.WriteHeapProfile(f)
				_ = f.Close()
			}
			var ms runtime.MemStats
			runtime.ReadMemStats(&ms)
			fmt.Fprintf(os.Stderr, "endpoints %d pss %d KB heap %d stack %d sys %d goroutines %d\n", len(eps), res.RSS/1024, ms.HeapAlloc/1024, ms.StackInuse/1024, ms.Sys/1024, runtime.NumGoroutine())
		}
	default:
		return res, fmt.Errorf("no order %q", r.Op)
	}
	return res, nil
}
