package sfu

import (
	"net"

	"golang.org/x/sys/unix"
)

// limitUnsent keeps media out of the kernel's buffer until they can go. A kernel that does not know the option has longer queues.
func limitUnsent(c *net.TCPConn) {
	raw, err := c.SyscallConn()
	if err != nil {
		return // it is closed already
	}
	_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_NOTSENT_LOWAT, tcpUnsent) })
}
