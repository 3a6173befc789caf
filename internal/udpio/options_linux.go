package udpio

import (
	"net/netip"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// datagramSocket opens a UDP socket whose calls do not wait. One for IPv6 has nothing of IPv4, which has a socket of its own.
func datagramSocket(v6 bool) (int, error) {
	family := unix.AF_INET
	if v6 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, os.NewSyscallError("socket", err)
	}
	if v6 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_V6ONLY, 1)
	}
	return fd, nil
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if ip := a.Addr().Unmap(); ip.Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: ip.As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// reusePort lets other sockets have the port, too.
func reusePort(fd int) error {
	return os.NewSyscallError("setsockopt", unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1))
}

// sharePort is reusePort of a connection.
func sharePort(raw syscall.RawConn) (err error) {
	if e := raw.Control(func(fd uintptr) { err = reusePort(int(fd)) }); e != nil {
		return e
	}
	return err
}

// offload switches UDP_GRO on and probes for UDP_SEGMENT (Linux 5.0, 4.18).
func offload(raw syscall.RawConn) (gro, gso bool) {
	_ = raw.Control(func(fd uintptr) {
		gro = unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_GRO, 1) == nil
		_, err := unix.GetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT)
		gso = err == nil
	})
	return gro, gso
}

// forbidFragments sets or clears "never fragment" (IP_PMTUDISC_DO) on an IPv4 socket. By default the kernel sets DF on what fits the path and
// fragments the rest itself, for which it draws an IP identification for each datagram or run from a table that all processors share: 5 % of
// the cost of sending small packets. What never is a fragment needs none (RFC 6864 §4.1).
func forbidFragments(fd int, on bool) bool {
	v := unix.IP_PMTUDISC_WANT
	if on {
		v = unix.IP_PMTUDISC_DO
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, v) == nil
}

// dontFragment is forbidFragments of a connection.
func dontFragment(raw syscall.RawConn, on bool) (ok bool) {
	_ = raw.Control(func(fd uintptr) { ok = forbidFragments(int(fd), on) })
	return ok
}
