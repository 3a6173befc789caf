package proctest

import (
	"errors"
	"fmt"
	"io"
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

// TestProxy: what is said passes, is held back, and is lost with the connection.
func TestProxy(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	p := StartProxy(t, ln.Addr().String())
	for range 2 { // the second connection is as good as the first
		a, err := net.Dial("tcp", fmt.Sprint("127.0.0.1:", p.Port()))
		if err != nil {
			t.Fatal(err)
		}
		defer a.Close()
		b, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer b.Close()
		for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
			if _, err := way[0].Write([]byte("1")); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(way[1], make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
		}
		p.Stall()
		if _, err := a.Write([]byte("2")); err != nil {
			t.Fatal(err)
		}
		p.Cut()
		for _, c := range []net.Conn{a, b} {
			if n, err := c.Read(make([]byte, 1)); n > 0 || !errors.Is(err, syscall.ECONNRESET) {
				t.Error(n, err)
			}
		}
	}
}
