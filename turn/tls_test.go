package turn

import (
	"crypto/tls"
	"net"
	"testing"

	"konzil/internal/certs/certtest"
	"konzil/internal/udpio"

	pion "github.com/pion/turn/v3"
)

// certified gives a server settings with a certificate for 127.0.0.1, and a client such that trust it.
func certified() (server, client *tls.Config) {
	ca := certtest.New()
	return &tls.Config{Certificates: []tls.Certificate{ca.Issue("127.0.0.1")}}, &tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1"}
}

// TestTLS relays over a TLS listener that was given to ServeTLS, and over one connection given to ServeConn.
func TestTLS(t *testing.T) {
	sfu := newEcho("127.0.0.1:10000")
	s := start(t, testConfig(), sfu)
	server, trust := certified()
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
