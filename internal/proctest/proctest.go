// Package proctest runs the programs that tests talk to: it builds ours, finds ports for them (ports.go), cuts connections to them (proxy.go), keeps what they
// say and ends them. It is for tests alone.
package proctest

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

const (
	patience = 20 * time.Second // for a program to listen, or to end, on a busy machine
	look     = 10 * time.Millisecond
	maxLog   = 4 << 20 // bytes of what a program says that are kept
)

// Process is a program that a test runs. The zero value with a name is ready for Start, which may be called again when it has ended. Its methods are for one
// goroutine.
type Process struct {
	Name string // for errors
	Log  Log    // its standard output and error

	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how it has; valid after done
}

// Build compiles the program under test into the file bin.
func Build(bin string) error {
	if out, err := exec.Command("go", "build", "-o", bin, "konzil").CombinedOutput(); err != nil {
		return fmt.Errorf("go build: %w\n%s", err, out)
	}
	return nil
}

// Start runs c, which dies with the test.
func (p *Process) Start(c *exec.Cmd) error {
	c.Stdout, c.Stderr = &p.Log, &p.Log
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	p.cmd, p.done = c, make(chan struct{})
	go func(done chan struct{}) {
		p.err = c.Wait()
		close(done)
	}(p.done)
	return nil
}

// Wait waits for the end, and gives the exit code.
func (p *Process) Wait() int {
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

// Kill gives it no time for anything.
func (p *Process) Kill() { _ = p.End(syscall.SIGKILL) }

// End sends a signal and waits for the end. It is an error if the program had ended before, did not end in time or with success.
func (p *Process) End(sig syscall.Signal) error {
	if err := p.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("%s had ended: %w\n%s", p.Name, err, &p.Log)
	}
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case <-p.done:
		if p.err != nil {
			return fmt.Errorf("%s ended with: %w\n%s", p.Name, p.err, &p.Log)
		}
		return nil
	case <-t.C:
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("%s did not end within %v of %v\n%s", p.Name, patience, sig, &p.Log)
	}
}

// Listening waits until the program takes connections at each address.
func (p *Process) Listening(addrs ...string) error {
	end := time.NewTimer(patience)
	defer end.Stop()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for _, a := range addrs {
		for {
			c, err := net.Dial("tcp", a)
			if err == nil {
				_ = c.Close()
				break
			}
			select {
			case <-tick.C:
			case <-p.done:
				return fmt.Errorf("%s has ended:\n%s", p.Name, &p.Log)
			case <-end.C:
				return fmt.Errorf("%s does not listen on %s: %w\n%s", p.Name, a, err, &p.Log)
			}
		}
	}
	return nil
}

// Log keeps the end of what a program says. The zero value is empty.
type Log struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

// Write implements io.Writer.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.b.Len() > maxLog {
		l.b.Next(maxLog / 2)
	}
	return l.b.Write(p)
}

// String is what was said.
func (l *Log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
