package rtc

import (
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"konzil/bench/mmsg"
)

const (
	// sockBuffer of a transport's own socket, bytes: what a server sends within a tick, or a stall of the generator, must fit.
	sockBuffer = 2 << 20
	// sharedBuffer of a socket that all transports of a shard share: a quarter of a second of 500 000 small packets a second. The kernel
	// counts about 1 KiB for each, and grants twice what is asked for.
	sharedBuffer = 64 << 20
)

// sock is a UDP socket that the runtime does not know of: shards read it at their own times.
type sock struct {
	fd        int
	v6        bool
	connected bool
	port      uint16
	shared    bool   // by transports that are told apart by their own addresses
	dropped   uint32 // by the kernel, because the buffer was full
}

// openSock binds a socket to a kernel-chosen port of ip. tapped says that media will not come through it.
func openSock(ip netip.Addr, tapped bool) (*sock, error) {
	s, err := newSock(ip.Is6(), tapped)
	if err != nil {
		return nil, err
	}
	mmsg.Buffers(s.fd, sockBuffer)
	return s, s.bind(ip)
}

// openShared binds a socket to a kernel-chosen port of all loopback addresses (127.0.0.0/8): each transport then has an address of its own,
// as clients on a network have, and one call reads for all. It fails where a buffer that is large enough is not granted.
func openShared(tapped bool) (*sock, error) {
	s, err := newSock(false, tapped)
	if err != nil {
		return nil, err
	}
	s.shared = true
	if err := unix.SetsockoptString(s.fd, unix.SOL_SOCKET, unix.SO_BINDTODEVICE, "lo"); err != nil {
		s.close()
		return nil, os.NewSyscallError("setsockopt SO_BINDTODEVICE", err)
	}
	for _, o := range [][3]int{{unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, sharedBuffer}, {unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, sharedBuffer}, {unix.IPPROTO_IP, unix.IP_PKTINFO, 1}} {
		if err := unix.SetsockoptInt(s.fd, o[0], o[1], o[2]); err != nil {
			s.close()
			return nil, os.NewSyscallError("setsockopt", err)
		}
	}
	return s, s.bind(netip.IPv4Unspecified())
}

// newSock opens a socket that takes runs and, unless a tap does it, tells when packets came and how many did not fit.
func newSock(v6, tapped bool) (*sock, error) {
	family := unix.AF_INET
	if v6 {
		family = unix.AF_INET6
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	s := &sock{fd: fd, v6: v6}
	options := [][3]int{{unix.IPPROTO_UDP, unix.UDP_GRO, 1}}
	if !tapped {
		options = append(options, [3]int{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1}, [3]int{unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1})
	}
	for _, o := range options {
		if err := unix.SetsockoptInt(fd, o[0], o[1], o[2]); err != nil {
			s.close()
			return nil, os.NewSyscallError("setsockopt", err)
		}
	}
	if !v6 {
		if err := mmsg.NeverCut(fd); err != nil {
			s.close()
			return nil, err
		}
	}
	return s, nil
}

// bind closes the socket when it fails.
func (s *sock) bind(ip netip.Addr) error {
	local, err := mmsg.Bind(s.fd, ip)
	if err != nil {
		s.close()
		return err
	}
	s.port = local.Port()
	return nil
}

// connect fixes the other side of a transport's own socket: the kernel drops what others send, and sends need no route lookup.
func (s *sock) connect(to netip.AddrPort) error {
	if s.shared {
		return nil
	}
	if err := unix.Connect(s.fd, mmsg.Sockaddr(to)); err != nil {
		return os.NewSyscallError("connect", err)
	}
	s.connected = true
	return nil
}

// bed is where a shard sleeps until its time has come or somebody wakes it.
type bed struct{ fd int } // an eventfd

func newBed() (bed, error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	return bed{fd}, os.NewSyscallError("eventfd", err)
}

// sleep blocks the thread for about ns, or less when somebody wakes it or a signal comes. It keeps the runtime's processor, of which New has
// made one more for that: giving it up at each tick wakes the runtime's monitor thread and its poller, which costs a third of what the engine
// does. A garbage collection then waits for the sleeper, a few milliseconds.
func (b bed) sleep(ns int64) {
	ts := unix.NsecToTimespec(ns)
	p := unix.PollFd{Fd: int32(b.fd), Events: unix.POLLIN}
	if n, _, _ := unix.RawSyscall6(unix.SYS_PPOLL, uintptr(unsafe.Pointer(&p)), 1, uintptr(unsafe.Pointer(&ts)), 0, 0, 0); n == 1 {
		var count [8]byte
		_, _ = unix.Read(b.fd, count[:])
	}
}

// wake ends a sleep, or the next one.
func (b bed) wake() { _, _ = unix.Write(b.fd, []byte{1, 0, 0, 0, 0, 0, 0, 0}) }

func (b bed) close() { _ = unix.Close(b.fd) }

func (s *sock) close() { _ = unix.Close(s.fd) }
