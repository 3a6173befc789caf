package e2e

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"konzil/internal/await"
	"konzil/internal/proctest"
)

// server is a konzil process with ports and a data folder of its own; it can be stopped and started again.
type server struct {
	t    *testing.T
	url  string // https://localhost:port
	file string // configuration
	log  *proctest.Log

	httpsPort, xmppPort int

	process *proctest.Process
}

// startServer runs konzil with ports that were free a moment ago and an empty data folder, until the test ends. turnSettings are lines of
// the settings of TURN.
func startServer(t *testing.T, turnSettings ...string) *server {
	t.Helper()
	browser(t) // skips where there is none
	dir := t.TempDir()
	ports := proctest.Ports(t, 6)
	https, xmpp, xmpps, media, turn, turns := ports[0], ports[1], ports[2], ports[3], ports[4], ports[5]
	file := filepath.Join(dir, "konzil.yaml")
	config := fmt.Sprintf("domain: localhost\ndata: %q\nlisten: [127.0.0.1]\nhttp:\n  port: %d\nxmpp:\n  port: %d\n  tls_port: %d\nmedia:\n  port: %d\nturn:\n  port: %d\n  tls_port: %d\n  host: 127.0.0.1\n%s"+
		"log:\n  level: debug\n", filepath.Join(dir, "data"), https, xmpp, xmpps, media, turn, turns, strings.Join(turnSettings, ""))
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	process := &proctest.Process{Name: "konzil"}
	s := &server{t: t, url: fmt.Sprintf("https://localhost:%d", https), file: file, log: &process.Log, httpsPort: https, xmppPort: xmpp, process: process}
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
	if err := s.process.Start(exec.Command(binary(s.t), "-config", s.file)); err != nil {
		s.t.Fatal(err)
	}
	if err := s.process.Listening(fmt.Sprintf("127.0.0.1:%d", s.httpsPort)); err != nil {
		s.t.Fatal(err)
	}
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	eventually(s.t, 10*time.Second, "konzil answers", func() (bool, error) {
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
	if err := s.process.End(syscall.SIGTERM); err != nil {
		s.t.Error(err)
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

// eventually repeats f until it is true or the time is up; it fails with the last error.
func eventually(t *testing.T, limit time.Duration, what string, f func() (bool, error)) {
	t.Helper()
	var err error
	if !await.Within(limit, 100*time.Millisecond, func() (ok bool) { ok, err = f(); return ok }) {
		t.Fatalf("not within %v: %s (%v)", limit, what, err)
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
