package proctest

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestProcess(t *testing.T) {
	p := &Process{Name: "sh"}
	for _, c := range []struct {
		script string
		code   int
	}{{"echo one", 0}, {"echo two; exit 3", 3}} { // the second time it is started again
		if err := p.Start(exec.Command("sh", "-c", c.script)); err != nil {
			t.Fatal(err)
		}
		if got := p.Wait(); got != c.code {
			t.Errorf("%q ended with %d", c.script, got)
		}
	}
	if got := p.Log.String(); got != "one\ntwo\n" {
		t.Errorf("it said %q", got)
	}
	if err := p.End(syscall.SIGTERM); err == nil {
		t.Error("a program that had ended was ended")
	}
	if err := p.Listening("127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "has ended") {
		t.Errorf("a program that has ended listens: %v", err)
	}
	if err := p.Start(exec.Command("sleep", "60")); err != nil {
		t.Fatal(err)
	}
	p.Kill()
	if p.Wait() != -1 {
		t.Error("a killed program has an exit code")
	}
}

// TestFreePorts: they differ, and a program can open them.
func TestFreePorts(t *testing.T) {
	ports, err := FreePorts("127.0.0.1", 20)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, p := range ports {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", p))
		if err != nil {
			t.Error(err)
			continue
		}
		defer l.Close()
		seen[p] = true
	}
	if len(seen) != len(ports) {
		t.Errorf("the same port twice: %v", ports)
	}
	if _, err := FreePorts("192.0.2.1", 1); err == nil {
		t.Error("ports of an address that is not this machine's")
	}
}
