package clients

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"konzil/internal/proctest"

	"go.uber.org/goleak"
)

// shared is the server of all tests of the package; their users and rooms differ, so that they do not disturb each other.
var shared *server

func TestMain(m *testing.M) {
	code, err := runTests(m)
	if err == nil && code == 0 {
		err = goleak.Find()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func runTests(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "konzil-clients")
	if err != nil {
		return 1, err
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "konzil")
	if err := proctest.Build(bin); err != nil {
		return 1, err
	}
	srv, stop, err := startServer(bin, dir)
	if err != nil {
		return 1, err
	}
	shared = srv
	code = m.Run()
	err = stop()
	if code != 0 {
		err = errors.Join(err, fmt.Errorf("log of the server:\n%s", &srv.process.Log))
	}
	return code, err
}
