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
	"sync"
	"syscall"
	"testing"
	"time"
)

// server is one running konzil process.
type server struct {
	url string // https://localhost:port
	log *syncBuffer
}

// startServer runs konzil with ports that were free a moment ago and an empty data folder, until the test ends.
func startServer(t *testing.T) *server {
	t.Helper()
	bin := binary(t)
	dir := t.TempDir()
	https, xmpp, xmpps := freePort(t, "tcp"), freePort(t, "tcp"), freePort(t, "tcp")
	media, turn := freePort(t, "udp"), freePort(t, "both")
	file := filepath.Join(dir, "konzil.yaml")
	config := fmt.Sprintf("domain: localhost\ndata: %q\nlisten: [127.0.0.1]\nhttp:\n  port: %d\nxmpp:\n  port: %d\n  tls_port: %d\nmedia:\n  port: %d\nturn:\n  port: %d\n  host: 127.0.0.1\n"+
		"log:\n  level: debug\n", filepath.Join(dir, "data"), https, xmpp, xmpps, media, turn)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	s := &server{url: fmt.Sprintf("https://localhost:%d", https), log: &syncBuffer{}}
	cmd := exec.Command(bin, "-config", file)
	cmd.Dir = dir
	cmd.Stdout, cmd.Stderr = s.log, s.log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("konzil ended with %v", err)
			}
		case <-time.After(10 * time.Second):
			cmd.Process.Kill()
			t.Error("konzil did not end within 10 s of SIGTERM")
		}
		keepLog(t, s.log.String())
	})
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	eventually(t, 10*time.Second, "konzil answers", func() (bool, error) {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("konzil ended at once: %v\n%s", err, s.log)
		default:
		}
		r, err := client.Get(fmt.Sprintf("https://127.0.0.1:%d/config.js", https))
		if err != nil {
			return false, err
		}
		io.Copy(io.Discard, r.Body)
		r.Body.Close()
		return r.StatusCode == http.StatusOK, fmt.Errorf("status %d", r.StatusCode)
	})
	return s
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
