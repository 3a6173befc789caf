package proctest

import (
	"bufio"
	"os"
	"os/exec"
	"testing"
	"time"
)

// childLife is how long a child may take to print what it is killed for, on a busy machine.
const childLife = 60 * time.Second

// KillChild runs the test binary as a child with env ("NAME=value", by which its TestMain knows what to do), gives each line that it prints to line, and kills
// it with SIGKILL as soon as line says that it is enough. What the child had printed by then is given to line, too. The test ends if the child has ended before.
func KillChild(t testing.TB, env string, line func(text string) (enough bool)) {
	t.Helper()
	c := exec.Command(os.Args[0], "-test.run=^$")
	c.Env = append(os.Environ(), env)
	c.Stderr = os.Stderr
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	watchdog := time.AfterFunc(childLife, func() { _ = c.Process.Kill() })
	defer watchdog.Stop()
	enough := false
	for r := bufio.NewReader(out); ; {
		text, err := r.ReadString('\n')
		if err != nil { // the last line may be cut by the kill
			break
		}
		if line(text[:len(text)-1]) && !enough {
			enough = true
			if err := c.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = c.Wait() // killed
	if !enough {
		t.Fatal("the child ended before it was killed")
	}
}
