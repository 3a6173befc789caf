package clients

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"konzil/internal/proctest"
)

// domain is what the tests serve: Debian's clients then find and verify it without DNS.
const domain = "localhost"

// People of the tests; password gives their passwords. Tests that change a roster have people of their own.
var people = []string{"alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy"}

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

// buildServer compiles the program under test into dir.
func buildServer(dir string) (string, error) {
	bin := filepath.Join(dir, "konzil")
	out, err := exec.Command("go", "build", "-o", bin, "konzil").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return bin, nil
}

// startServer runs bin with a fresh data folder under dir until stop is called; stop reports an unclean end.
func startServer(bin, dir string) (s *server, stop func() error, err error) {
	s = &server{ca: filepath.Join(dir, "ca.pem"), process: &proctest.Process{Name: "konzil"}}
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := writeCertificates(s.ca, cert, key); err != nil {
		return nil, nil, err
	}
	tcp, err := freePorts("tcp", 4)
	if err != nil {
		return nil, nil, err
	}
	udp, err := freePorts("udp", 1)
	if err != nil {
		return nil, nil, err
	}
	s.port, s.tlsPort = tcp[0], tcp[1]
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
`, domain, filepath.Join(dir, "data"), cert, key, tcp[2], s.port, s.tlsPort, udp[0], tcp[3])
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

// freePorts gives n loopback ports that the kernel chose and that nobody holds now.
func freePorts(network string, n int) ([]int, error) {
	var ports []int
	for range n {
		switch network {
		case "tcp":
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				return nil, err
			}
			defer l.Close() // held until all are chosen, so that they differ
			ports = append(ports, l.Addr().(*net.TCPAddr).Port)
		default:
			c, err := net.ListenPacket("udp", "127.0.0.1:0")
			if err != nil {
				return nil, err
			}
			defer c.Close()
			ports = append(ports, c.LocalAddr().(*net.UDPAddr).Port)
		}
	}
	return ports, nil
}

// writeCertificates makes an authority and a certificate of domain that it signed, as PEM files.
func writeCertificates(caFile, certFile, keyFile string) error {
	now := time.Now()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Konzil test authority"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: domain},
		DNSNames:  []string{domain, "guest." + domain, "conference." + domain},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	for _, f := range []struct {
		name, kind string
		der        []byte
	}{{caFile, "CERTIFICATE", caDER}, {certFile, "CERTIFICATE", leafDER}, {keyFile, "PRIVATE KEY", keyDER}} {
		if err := os.WriteFile(f.name, pem.EncodeToMemory(&pem.Block{Type: f.kind, Bytes: f.der}), 0o600); err != nil {
			return err
		}
	}
	return nil
}
