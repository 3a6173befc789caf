package proctest

import (
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
