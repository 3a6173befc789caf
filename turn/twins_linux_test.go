package turn

import (
	"net"
	"net/netip"
	"syscall"
	"testing"

	"github.com/pion/stun/v4"
	"golang.org/x/sys/unix"
)

// TestOneAddressManyPorts: connections from one address and port, as a NAT may make them, are told apart, each with its allocation.
func TestOneAddressManyPorts(t *testing.T) {
	c := testConfig()
	c.TCP = []netip.AddrPort{loopback, loopback, loopback, loopback}
	s := start(t, c, nil)
	var local net.Addr = &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} // bound before it is connected: else others may have the port, too, for other addresses
	for i, to := range s.TCPAddrs() {
		d := net.Dialer{LocalAddr: local, Control: sharePort}
		conn, err := d.Dial("tcp", to.String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		local = conn.LocalAddr()
		r := newRawStream(t, conn, "user", "secret")
		if code := r.code(stun.MethodAllocate, requestUDP); code != 0 {
			t.Errorf("connection %d: %d", i, code)
		}
	}
	if n := s.Counters(); n["allocations_now"] != 4 || n["streams_now"] != 4 {
		t.Error(n)
	}
}

// sharePort lets sockets have the same local port.
func sharePort(_, _ string, c syscall.RawConn) (err error) {
	if e := c.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1) }); e != nil {
		return e
	}
	return err
}
