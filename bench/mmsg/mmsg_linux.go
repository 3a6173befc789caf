package mmsg

import (
	"encoding/binary"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Message is struct mmsghdr of recvmmsg(2); Go pads it to the kernel's size.
type Message struct {
	Hdr unix.Msghdr
	N   uint32 // bytes that came, or went
}

// Sockaddr is an address as bind(2) and connect(2) take it.
func Sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// PutName writes the address of a message to be sent and returns its size. An IPv6 socket wants IPv4 addresses mapped.
func PutName(to *unix.RawSockaddrInet6, a netip.AddrPort, v6 bool) uint32 {
	port := (*[2]byte)(unsafe.Pointer(&to.Port))
	binary.BigEndian.PutUint16(port[:], a.Port())
	if !v6 {
		sa := (*unix.RawSockaddrInet4)(unsafe.Pointer(to))
		sa.Family, sa.Addr = unix.AF_INET, a.Addr().As4()
		return unix.SizeofSockaddrInet4
	}
	*to = unix.RawSockaddrInet6{Family: unix.AF_INET6, Port: to.Port, Addr: a.Addr().As16()}
	return unix.SizeofSockaddrInet6
}

// Bind binds a socket to a port that the kernel chooses, and gives its address.
func Bind(fd int, ip netip.Addr) (netip.AddrPort, error) {
	if err := unix.Bind(fd, Sockaddr(netip.AddrPortFrom(ip, 0))); err != nil {
		return netip.AddrPort{}, os.NewSyscallError("bind", err)
	}
	return Local(fd)
}

// Local is the address of a socket.
func Local(fd int) (netip.AddrPort, error) {
	name, err := unix.Getsockname(fd)
	switch a := name.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port)), nil
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port)), nil
	}
	if err == nil {
		err = unix.EAFNOSUPPORT
	}
	return netip.AddrPort{}, os.NewSyscallError("getsockname", err)
}

// Buffers asks for buffers of that many bytes: with CAP_NET_ADMIN they are granted, without up to net.core.rmem_max and wmem_max.
func Buffers(fd, bytes int) {
	for _, o := range [][2]int{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[0], bytes) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[1], bytes)
		}
	}
}

// NeverCut has an IPv4 socket's packets never cut on the way: the kernel then needs no identification for each, a counter that all CPUs share.
func NeverCut(fd int) error {
	return os.NewSyscallError("setsockopt IP_MTU_DISCOVER", unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO))
}
