package dnstest

import (
	"net"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAnswers(t *testing.T) {
	s := Start(t)
	s.Host("a.test", "192.0.2.1", "2001:db8::1")
	s.SRV("_x._tcp.a.test", "a.test", 99)
	r := s.Resolver()
	if addrs, err := r.LookupHost(t.Context(), "A.test"); err != nil || len(addrs) != 2 {
		t.Errorf("%v, %v", addrs, err)
	}
	if _, list, err := r.LookupSRV(t.Context(), "x", "tcp", "a.test"); err != nil || len(list) != 1 || list[0].Port != 99 {
		t.Errorf("%v, %v", list, err)
	}
	s.SRV("_x._tcp.a.test", "", 0)
	if _, _, err := r.LookupSRV(t.Context(), "x", "tcp", "a.test"); err == nil {
		t.Error("a service that is gone")
	}
	conn, err := net.Dial("tcp", s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close() // without a question
}
