package lab

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"konzil/internal/await"
	"konzil/internal/proctest"
)

// insideEnv is set in the process that has the namespaces.
const insideEnv = "KONZIL_LAB"

// missing says why the lab cannot be built here, "" when it can.
func missing() string {
	if os.Getuid() != 0 {
		return "network namespaces need root"
	}
	for _, p := range []string{"ip", "mount", "dnsmasq"} {
		if _, err := exec.LookPath(p); err != nil {
			return p + " is not installed"
		}
	}
	return ""
}

func TestMain(m *testing.M) {
	if os.Getenv(insideEnv) != "" {
		os.Exit(inside(m))
	}
	if missing() != "" {
		os.Exit(m.Run()) // the tests skip themselves
	}
	c := exec.Command("/proc/self/exe", os.Args[1:]...)
	c.Env = append(os.Environ(), insideEnv+"=1")
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWNS, Pdeathsig: syscall.SIGKILL}
	if err := c.Run(); err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		os.Exit(1)
	}
}

// zone is a domain of the lab with the address of its server.
type zone struct {
	domain, addr string
	s2s, s2sTLS  int // ports in SRV records; 0: none
}

// The zones. Top-level names that resolvers know as special (test, local) would not be asked for.
var (
	zoneA = zone{"a.zone", "10.77.0.2", 15269, 0} // behind the test's own relay, which cuts
	zoneB = zone{"b.zone", "10.77.0.3", 15269, 0}
	zoneK = zone{"k.zone", "10.77.0.4", 5269, 5270}
	zoneP = zone{"p.zone", "10.77.0.5", 5269, 0}
	zoneE = zone{"e.zone", "10.77.0.6", 5269, 0}
	zoneQ = zone{"q.zone", "10.77.0.7", 0, 5270} // direct TLS alone
	zoneD = zone{"d.zone", "10.77.0.8", 0, 5270}
	zoneV = zone{"v.zone", "fd00:77::9", 5269, 0}
	zoneW = zone{"w.zone", "fd00:77::a", 5269, 5270}
	zones = []zone{zoneA, zoneB, zoneK, zoneP, zoneE, zoneQ, zoneD, zoneV, zoneW}
)

// v6 tells that the server has an IPv6 address alone.
func (z zone) v6() bool { return strings.Contains(z.addr, ":") }

// at is the address of a port of the server.
func (z zone) at(port int) string { return net.JoinHostPort(z.addr, strconv.Itoa(port)) }

var lab struct{ dir, bin, ca string }

func inside(m *testing.M) int {
	dir, err := os.MkdirTemp("", "konzil-lab")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // other servers have users of their own
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	stop, err := build(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "lab:", err)
		return 1
	}
	code := m.Run()
	stop()
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	return code
}

// build makes network, names, certificates and the program.
func build(dir string) (stop func(), err error) {
	lab.dir, lab.bin, lab.ca = dir, filepath.Join(dir, "konzil"), filepath.Join(dir, "ca.pem")
	resolv := filepath.Join(dir, "resolv.conf")
	if err := os.WriteFile(resolv, []byte("nameserver 127.0.0.1\n"), 0o644); err != nil {
		return nil, err
	}
	real, err := filepath.EvalSymlinks("/etc/resolv.conf")
	if err != nil {
		return nil, err
	}
	steps := [][]string{
		{"mount", "--make-rprivate", "/"}, {"mount", "--bind", resolv, real}, {"ip", "link", "set", "lo", "up"},
	}
	for _, z := range zones {
		bits := "/24"
		if z.v6() {
			bits = "/128"
		}
		steps = append(steps, []string{"ip", "addr", "add", z.addr + bits, "dev", "lo"})
	}
	for _, s := range steps {
		if out, err := exec.Command(s[0], s[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("%s: %w\n%s", strings.Join(s, " "), err, out)
		}
	}
	if err := errors.Join(proctest.Build(lab.bin), makeCertificates()); err != nil {
		return nil, err
	}
	args := []string{"--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--local=/zone/", "--listen-address=127.0.0.1", "--bind-interfaces",
		"--pid-file=", "--user=root"}
	for _, z := range zones {
		args = append(args, "--address=/"+z.domain+"/"+z.addr)
		for _, name := range []string{z.domain, "conference." + z.domain, "pubsub." + z.domain, "upload." + z.domain, "proxy." + z.domain} {
			if z.s2s != 0 {
				args = append(args, fmt.Sprintf("--srv-host=_xmpp-server._tcp.%s,%s,%d", name, z.domain, z.s2s))
			}
			if z.s2sTLS != 0 {
				args = append(args, fmt.Sprintf("--srv-host=_xmpps-server._tcp.%s,%s,%d", name, z.domain, z.s2sTLS))
			}
		}
	}
	dns := &proctest.Process{Name: "dnsmasq"}
	if err := dns.Start(exec.Command("dnsmasq", args...)); err != nil {
		return nil, err
	}
	for end := time.Now().Add(patience); ; {
		if names, err := net.LookupHost(zoneA.domain); err == nil && len(names) > 0 {
			return dns.Kill, nil
		} else if time.Now().After(end) {
			dns.Kill()
			return nil, fmt.Errorf("dnsmasq does not answer: %w\n%s", err, dns.Log.String())
		}
		pause(20 * time.Millisecond)
	}
}

// needLab skips a test where the lab cannot be built.
func needLab(t *testing.T) {
	t.Helper()
	if why := missing(); why != "" {
		t.Skip(why)
	}
}

// patience is how long something may take that takes a moment.
const patience = 20 * time.Second

// pause waits between two looks at something that tells nobody when it changes.
func pause(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	<-timer.C
}

// eventually waits until f is true.
func eventually(t testing.TB, d time.Duration, what string, f func() bool) bool {
	t.Helper()
	ok := await.Within(d, 50*time.Millisecond, f)
	if !ok {
		t.Errorf("not within %v: %s", d, what)
	}
	return ok
}
