package clients

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"konzil/internal/certs/certtest"
	"konzil/internal/proctest"
)

// domain is what the tests serve: Debian's clients then find and verify it without DNS.
const domain = "localhost"

// People of the tests; password gives their passwords. Tests that change a roster have people of their own.
var people = []string{"alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy", "kim", "lee"}

func password(user string) string { return user + "-secret" }

// server is one running konzil.
type server struct {
	ca      string // PEM file of the authority that signed the server's certificate
	port    int    // STARTTLS
	tlsPort int    // direct TLS
	process *proctest.Process
}

func (s *server) addr() string    { return fmt.Sprintf("127.0.0.1:%d", s.port) }
func (s *server) tlsAddr() string { return fmt.Sprintf("127.0.0.1:%d", s.tlsPort) }

// roots trusts the test's authority alone.
func (s *server) roots(t *testing.T) *tls.Config {
	t.Helper()
	b, err := os.ReadFile(s.ca)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(b)
	return &tls.Config{RootCAs: pool, ServerName: domain}
}

// startServer runs bin with a fresh data folder under dir until stop is called; stop reports an unclean end.
func startServer(bin, dir string) (s *server, stop func() error, err error) {
	s = &server{ca: filepath.Join(dir, "ca.pem"), process: &proctest.Process{Name: "konzil"}}
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	ca := certtest.New()
	if err := errors.Join(ca.WriteCertificate(s.ca), certtest.Write(ca.Issue(domain, "guest."+domain, "conference."+domain), cert, key)); err != nil {
		return nil, nil, err
	}
	ports, err := proctest.FreePorts("127.0.0.1", 5)
	if err != nil {
		return nil, nil, err
	}
	s.port, s.tlsPort = ports[0], ports[1]
	config := filepath.Join(dir, "konzil.yaml")
	yaml := fmt.Sprintf(`domain: %s
data: %s
listen: ["127.0.0.1"]
tls: {cert: %s, key: %s}
http: {port: %d}
xmpp: {port: %d, tls_port: %d}
media: {port: %d, tcp: false}
turn: {port: 0}
proxy: {port: %d}
`, domain, filepath.Join(dir, "data"), cert, key, ports[2], s.port, s.tlsPort, ports[3], ports[4])
	if err := os.WriteFile(config, []byte(yaml), 0o600); err != nil {
		return nil, nil, err
	}
	for _, user := range people {
		add := exec.Command(bin, "user", "-config", config, "add", user)
		add.Stdin = strings.NewReader(password(user) + "\n")
		if out, err := add.CombinedOutput(); err != nil {
			return nil, nil, fmt.Errorf("konzil user add %s: %w\n%s", user, err, out)
		}
	}
	if err := s.process.Start(exec.Command(bin, "-config", config)); err != nil {
		return nil, nil, err
	}
	if err := s.process.Listening(s.addr(), s.tlsAddr()); err != nil {
		s.process.Kill()
		return nil, nil, err
	}
	return s, func() error { return s.process.End(syscall.SIGTERM) }, nil
}
