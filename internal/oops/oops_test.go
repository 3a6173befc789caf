package oops

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestListenTaken(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	addr := l.Addr().String()
	_, err = net.Listen("tcp", addr)
	got := Listen("httpd", addr, "http.listen", err)
	want := "httpd: " + addr + " is in use by another program: stop it or set http.listen"
	if got == nil || got.Error() != want {
		t.Fatalf("got %v, want %s", got, want)
	}
	if _, ok := Is(fmt.Errorf("starting: %w", got)); !ok {
		t.Error("a wrapped operator error is not recognised")
	}
}

func TestListenForeignAddress(t *testing.T) {
	_, err := net.Listen("tcp", "192.0.2.1:0") // RFC 5737: never ours
	got := Listen("xmpp", "192.0.2.1:5222", "xmpp.listen", err)
	if got == nil || !strings.Contains(got.Error(), "is not an address of this machine") {
		t.Fatalf("got %v", got)
	}
}

func TestNil(t *testing.T) {
	if Listen("a", "b", "c", nil) != nil || File("a", "b", "c", nil) != nil {
		t.Fatal("nil became an error")
	}
}

func TestFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "no.pem")
	_, err := os.ReadFile(name)
	got := File("certs", name, "set tls.cert", err).Error()
	if want := "certs: " + name + " does not exist: set tls.cert"; got != want {
		t.Fatalf("got %s, want %s", got, want)
	}
}
