package peers

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	stopWait   = 10 * time.Second       // between asking a program to end and killing it
	readyPause = 20 * time.Millisecond  // between looks whether it answers
	readyDial  = 500 * time.Millisecond // for one look
	logTail    = 2000                   // bytes of a dead program's output that go into the error
)

// program finds an executable by its names, in PATH and in the folders where packages and `go install` put it.
func program(names ...string) (string, error) {
	for _, n := range names {
		if p, err := exec.LookPath(n); err == nil {
			return p, nil
		}
		home, _ := os.UserHomeDir()
		for _, dir := range []string{"/usr/local/bin", "/usr/local/sbin", "/usr/sbin", "/usr/bin", home + "/go/bin"} {
			if st, err := os.Stat(dir + "/" + n); err == nil && st.Mode()&0o111 != 0 && !st.IsDir() {
				return dir + "/" + n, nil
			}
		}
	}
	return "", fmt.Errorf("%s %w", names[0], ErrMissing)
}

// process is a running server.
type process struct {
	cmd  *exec.Cmd
	log  string        // file with its output
	done chan struct{} // closed when it has ended
	err  error         // why; valid after done

	once sync.Once
}

// run starts cmd on the CPUs of o, in a process group of its own, with its output in a file of its folder.
func (o *Options) run(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, log: o.path("output.log"), done: make(chan struct{})}
	f, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644) // no secret in it
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if o.pair != nil {
		if cmd, err = o.pair.apart(cmd); err != nil {
			return nil, err
		}
		p.cmd = cmd
	}
	cmd.Stdout, cmd.Stderr = f, f
	if cmd.Dir == "" {
		cmd.Dir = o.Dir
	}
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	if err := StartPinned(cmd, o.CPUs); err != nil {
		return nil, err
	}
	o.Log.Debug("started", "command", strings.Join(cmd.Args, " "), "pid", cmd.Process.Pid)
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop asks the program to end, and kills its whole group when it does not.
func (p *process) stop() error {
	p.once.Do(func() {
		_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
		t := time.NewTimer(stopWait)
		defer t.Stop()
		select {
		case <-p.done:
		case <-t.C:
		}
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // what is left of the group
		<-p.done
	})
	return nil
}

// start is run, and waits until the program answers: until each of looks succeeds.
func (o *Options) start(ctx context.Context, cmd *exec.Cmd, looks ...func() error) (*process, error) {
	p, err := o.run(cmd)
	if err != nil {
		return nil, err
	}
	for _, look := range looks {
		if err := p.ready(ctx, look); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// ready waits until look succeeds. A program that ends before is an error with the end of its output; it is stopped on any error.
func (p *process) ready(ctx context.Context, look func() error) error {
	tick := time.NewTicker(readyPause)
	defer tick.Stop()
	for {
		err := look()
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			_ = p.stop()
			return fmt.Errorf("ended: %w\n%s", errors.Join(p.err, err), p.tail())
		case <-ctx.Done():
			_ = p.stop()
			return fmt.Errorf("does not answer: %w: %w\n%s", context.Cause(ctx), err, p.tail())
		case <-tick.C:
		}
	}
}

func (p *process) tail() string {
	b, _ := os.ReadFile(p.log)
	if len(b) > logTail {
		b = b[len(b)-logTail:]
	}
	return strings.TrimSpace(string(b))
}

// listening looks whether somebody accepts TCP connections at addr.
func listening(addr string) func() error {
	return func() error {
		c, err := net.DialTimeout("tcp", addr, readyDial)
		if err != nil {
			return err
		}
		return c.Close()
	}
}

// listeningTLS is listening, with a TLS handshake.
func listeningTLS(addr string) func() error {
	return func() error {
		d := &net.Dialer{Timeout: readyDial}
		c, err := tls.DialWithDialer(d, "tcp", addr, &tls.Config{InsecureSkipVerify: true}) // our own server's self-signed certificate
		if err != nil {
			return err
		}
		return c.Close()
	}
}

// freePorts gives n ports of the loopback that are free for TCP and UDP now. Another program could take one before the server does; then
// the server says so and the run fails.
func freePorts(n int) ([]int, error) {
	var ports []int
	var open []interface{ Close() error }
	defer func() {
		for _, c := range open {
			_ = c.Close()
		}
	}()
	for tries := 0; len(ports) < n; tries++ {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		open = append(open, ln)
		port := ln.Addr().(*net.TCPAddr).Port
		pc, err := net.ListenPacket("udp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			if tries > n+100 {
				return nil, err
			}
			continue
		}
		open = append(open, pc)
		ports = append(ports, port)
	}
	return ports, nil
}

// output runs a command to its end and gives what it printed.
func output(ctx context.Context, name string, args ...string) (string, error) {
	b, err := exec.CommandContext(ctx, name, args...).CombinedOutput()
	s := strings.TrimSpace(string(b))
	if err != nil {
		return s, fmt.Errorf("%s: %w: %s", name, err, s)
	}
	return s, nil
}

// firstLine is the first line of s.
func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return strings.TrimSpace(s)
}
