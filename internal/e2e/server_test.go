package e2e

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// server is a konzil process with ports and a data folder of its own; it can be stopped and started again.
type server struct {
	t    *testing.T
	url  string // https://localhost:port
	file string // configuration
	log  *syncBuffer

	xmppPort int

	cmd   *exec.Cmd
	ended chan error // of cmd
}

// startServer runs konzil with ports that were free a moment ago and an empty data folder, until the test ends. turnSettings are lines of
// the settings of TURN.
func startServer(t *testing.T, turnSettings ...string) *server {
	t.Helper()
	browser(t) // skips where there is none
	dir := t.TempDir()
	https, xmpp, xmpps := freePort(t, "tcp"), freePort(t, "tcp"), freePort(t, "tcp")
	media, turn, turns := freePort(t, "both"), freePort(t, "both"), freePort(t, "tcp")
	file := filepath.Join(dir, "konzil.yaml")
	config := fmt.Sprintf("domain: localhost\ndata: %q\nlisten: [127.0.0.1]\nhttp:\n  port: %d\nxmpp:\n  port: %d\n  tls_port: %d\nmedia:\n  port: %d\nturn:\n  port: %d\n  tls_port: %d\n  host: 127.0.0.1\n%s"+
		"log:\n  level: debug\n", filepath.Join(dir, "data"), https, xmpp, xmpps, media, turn, turns, strings.Join(turnSettings, ""))
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, url: fmt.Sprintf("https://localhost:%d", https), file: file, log: &syncBuffer{}, xmppPort: xmpp}
	s.start()
	t.Cleanup(func() {
		s.stop()
		keepLog(t, s.log.String())
	})
	return s
}

// start runs the process and waits until its page answers.
func (s *server) start() {
	s.t.Helper()
	s.cmd = exec.Command(binary(s.t), "-config", s.file)
	s.cmd.Stdout, s.cmd.Stderr = s.log, s.log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.ended = make(chan error, 1)
	go func() { s.ended <- s.cmd.Wait() }()
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	eventually(s.t, 10*time.Second, "konzil answers", func() (bool, error) {
		select {
		case err := <-s.ended:
			s.ended <- err
			s.t.Fatalf("konzil ended at once: %v\n%s", err, s.log)
		default:
		}
		r, err := client.Get(s.url + "/config.js")
		if err != nil {
			return false, err
		}
		io.Copy(io.Discard, r.Body)
		r.Body.Close()
		return r.StatusCode == http.StatusOK, fmt.Errorf("status %d", r.StatusCode)
	})
}

// stop asks the process to end, and expects that it does so cleanly.
func (s *server) stop() {
	s.t.Helper()
	s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-s.ended:
		if err != nil {
			s.t.Errorf("konzil ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		s.cmd.Process.Kill()
		<-s.ended
		s.t.Error("konzil did not end within 10 s of SIGTERM")
	}
}

// addUser makes an account.
func (s *server) addUser(name, password string) {
	s.t.Helper()
	cmd := exec.Command(binary(s.t), "user", "-config", s.file, "add", name)
	cmd.Stdin = strings.NewReader(password + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("konzil user add: %v\n%s", err, out)
	}
}

// freePort asks the kernel for a port of 127.0.0.1; "both" is free for TCP and UDP.
func freePort(t *testing.T, network string) int {
	t.Helper()
	for range 20 {
		tcp, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := tcp.Addr().(*net.TCPAddr).Port
		udp, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		tcp.Close()
		if err == nil {
			udp.Close()
			return port
		}
		if network == "tcp" {
			return port
		}
	}
	t.Fatal("no free port")
	return 0
}

// eventually repeats f until it is true or the time is up; it fails with the last error.
func eventually(t *testing.T, limit time.Duration, what string, f func() (bool, error)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := f()
		if ok {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("not within %v: %s (%v)", limit, what, err)
		case <-tick.C:
		}
	}
}

// artifact is where a file of this run is kept.
func artifact(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("KONZIL_ARTIFACTS")
	if dir == "" {
		dir = filepath.Join("..", "..", "artifacts")
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// keepLog keeps what the server wrote when the test failed.
func keepLog(t *testing.T, log string) {
	if !t.Failed() {
		return
	}
	path := artifact(t, filepath.Base(t.Name())+".log")
	if err := os.WriteFile(path, []byte(log), 0o644); err != nil {
		t.Log(err)
		return
	}
	t.Logf("log of the server: %s", path)
}

// syncBuffer is a buffer that a process writes while the test reads.
type syncBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
