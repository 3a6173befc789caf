package turn

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"math/big"
	"net"
	"testing"
	"time"

	"konzil/internal/udpio"

	pion "github.com/pion/turn/v3"
)

// selfSigned gives a certificate for 127.0.0.1, and the client settings that trust it.
func selfSigned(t *testing.T) (server, client *tls.Config) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}
}

// TestTLS relays over a TLS listener that was given to ServeTLS, and over one connection given to ServeConn.
func TestTLS(t *testing.T) {
	sfu := newEcho("127.0.0.1:10000")
	s := start(t, testConfig(), sfu)
	server, trust := selfSigned(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ServeTLS(l, server); err != nil {
		t.Fatal(err)
	}
	single, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer single.Close()
	accepted := make(chan struct{})
	go func() {
		defer close(accepted)
		if c, err := single.Accept(); err == nil {
			s.ServeConn(tls.Server(udpio.NewStream(c), server))
		}
	}()
	for name, to := range map[string]net.Addr{"listener": l.Addr(), "connection": single.Addr()} {
		conn, err := tls.Dial("tcp", to.String(), trust)
		if err != nil {
			t.Fatal(name, err)
		}
		defer conn.Close()
		c, err := pion.NewClient(&pion.ClientConfig{TURNServerAddr: to.String(), Conn: pion.NewSTUNConn(conn),
			Username: "user", Password: "secret", Realm: "test.example", LoggerFactory: loggers{s.log}})
		if err != nil {
			t.Fatal(name, err)
		}
		defer c.Close()
		if err := c.Listen(); err != nil {
			t.Fatal(name, err)
		}
		roundTrips(t, allocate(t, c), net.UDPAddrFromAddrPort(sfu.addrs[0]))
	}
	<-accepted
}
