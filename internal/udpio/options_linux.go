package udpio

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

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
