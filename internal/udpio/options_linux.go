package udpio

import (
	"syscall"

	"golang.org/x/sys/unix"
)

func setOptions(fd uintptr, opt Options) error {
	if opt.ReusePort {
		return unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}
	return nil
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
