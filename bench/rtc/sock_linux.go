package rtc

import (
	"encoding/binary"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// recvBatch is how many messages one recvmmsg takes; a message can be a whole run of packets.
	recvBatch = 32
	// recvSlot holds one run (64 KiB at most), and a little more so that slots do not share cache sets.
	recvSlot = 65536 + 192
	// ctlSize holds the control messages of SO_TIMESTAMPNS (32 bytes), UDP_GRO and SO_RXQ_OVFL (24 each).
	ctlSize = 96
	// sockBuffer of a socket, bytes: what a server sends within a stall of the generator's shard must fit.
	sockBuffer = 2 << 20
	// readyMax is how many sockets one epoll_wait tells of.
	readyMax = 512
)

// mmsghdr is struct mmsghdr of recvmmsg(2); Go pads it to the kernel's size.
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// sock is a UDP socket that the runtime does not know of: shards poll it.
type sock struct {
	fd        int
	v6        bool
	connected bool
}

// openSock binds a socket to a kernel-chosen port of ip.
func openSock(ip netip.Addr) (*sock, netip.AddrPort, error) {
	family, v6 := unix.AF_INET, false
	if ip.Is6() {
		family, v6 = unix.AF_INET6, true
	}
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, netip.AddrPort{}, os.NewSyscallError("socket", err)
	}
	s := &sock{fd: fd, v6: v6}
	if err := unix.Bind(fd, sockaddr(netip.AddrPortFrom(ip, 0))); err != nil {
		s.close()
		return nil, netip.AddrPort{}, os.NewSyscallError("bind", err)
	}
	for _, o := range [][3]int{{unix.IPPROTO_UDP, unix.UDP_GRO, 1}, {unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1}, {unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1}} {
		if err := unix.SetsockoptInt(fd, o[0], o[1], o[2]); err != nil {
			s.close()
			return nil, netip.AddrPort{}, os.NewSyscallError("setsockopt", err)
		}
	}
	for _, o := range [][2]int{{unix.SO_RCVBUFFORCE, unix.SO_RCVBUF}, {unix.SO_SNDBUFFORCE, unix.SO_SNDBUF}} {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[0], sockBuffer) != nil { // needs CAP_NET_ADMIN; without it up to net.core.rmem_max
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, o[1], sockBuffer)
		}
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		s.close()
		return nil, netip.AddrPort{}, os.NewSyscallError("getsockname", err)
	}
	switch n := name.(type) {
	case *unix.SockaddrInet4:
		return s, netip.AddrPortFrom(ip, uint16(n.Port)), nil
	case *unix.SockaddrInet6:
		return s, netip.AddrPortFrom(ip, uint16(n.Port)), nil
	}
	s.close()
	return nil, netip.AddrPort{}, os.NewSyscallError("getsockname", unix.EAFNOSUPPORT)
}

func sockaddr(a netip.AddrPort) unix.Sockaddr {
	if a.Addr().Is4() {
		return &unix.SockaddrInet4{Port: int(a.Port()), Addr: a.Addr().As4()}
	}
	return &unix.SockaddrInet6{Port: int(a.Port()), Addr: a.Addr().As16()}
}

// connect fixes the other side: the kernel drops what others send, and sends need no route lookup.
func (s *sock) connect(to netip.AddrPort) error {
	if err := unix.Connect(s.fd, sockaddr(to)); err != nil {
		return os.NewSyscallError("connect", err)
	}
	s.connected = true
	return nil
}

// sendTo sends one datagram. Errors are of no use to anybody: UDP loses packets.
func (s *sock) sendTo(b []byte, to netip.AddrPort) error {
	if s.connected {
		return unix.Send(s.fd, b, unix.MSG_DONTWAIT)
	}
	if to.Addr().Is4() == s.v6 {
		return unix.EAFNOSUPPORT
	}
	return unix.Sendto(s.fd, b, unix.MSG_DONTWAIT, sockaddr(to))
}

// sendRun sends the datagrams that stand behind each other in b, all of size seg but perhaps the last one, in one call.
func (s *sock) sendRun(b []byte, seg int) error {
	if len(b) <= seg {
		_, e := sendto(s.fd, b)
		return e
	}
	var ctl [24]byte
	h := (*unix.Cmsghdr)(unsafe.Pointer(&ctl[0]))
	h.Level, h.Type = unix.IPPROTO_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(ctl[unix.SizeofCmsghdr:], uint16(seg))
	iov := unix.Iovec{Base: &b[0]}
	iov.SetLen(len(b))
	m := unix.Msghdr{Iov: &iov, Control: &ctl[0]}
	m.SetIovlen(1)
	m.SetControllen(unix.CmsgSpace(2))
	if _, _, e := unix.Syscall(unix.SYS_SENDMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&m)), unix.MSG_DONTWAIT); e != 0 {
		if e != unix.EINVAL && e != unix.EIO {
			return e
		}
		for len(b) > 0 { // this route cannot cut
			n := min(seg, len(b))
			if _, err := sendto(s.fd, b[:n]); err != nil {
				return err
			}
			b = b[n:]
		}
	}
	return nil
}

func sendto(fd int, b []byte) (int, error) {
	n, _, e := unix.Syscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_DONTWAIT, 0, 0)
	if e != 0 {
		return 0, e
	}
	return int(n), nil
}

func (s *sock) close() { _ = unix.Close(s.fd) }

// poller is an epoll instance and the buffers of one shard.
type poller struct {
	fd     int
	events [readyMax]unix.EpollEvent
	hdrs   [recvBatch]mmsghdr
	iovs   [recvBatch]unix.Iovec
	names  [recvBatch]unix.RawSockaddrInet6
	ctl    [recvBatch][ctlSize]byte
	slab   []byte
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	p := &poller{fd: fd}
	p.slab, err = unix.Mmap(-1, 0, recvBatch*recvSlot, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		_ = unix.Close(fd)
		return nil, os.NewSyscallError("mmap", err)
	}
	for i := range p.hdrs {
		h := &p.hdrs[i].hdr
		p.iovs[i].Base = &p.slab[i*recvSlot]
		p.iovs[i].SetLen(65536)
		h.Iov = &p.iovs[i]
		h.SetIovlen(1)
		h.Control = &p.ctl[i][0]
	}
	return p, nil
}

func (p *poller) close() {
	_ = unix.Close(p.fd)
	_ = unix.Munmap(p.slab)
}

// add watches a socket; id comes back from wait.
func (p *poller) add(s *sock, id int32) error {
	ev := unix.EpollEvent{Events: unix.EPOLLIN | 1<<31, Fd: id} // EPOLLET: told again when more comes after a read that drained it
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, s.fd, &ev))
}

// wait returns how many sockets have something to read; their ids are in events.
func (p *poller) wait() int {
	n, _, e := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])), readyMax, 0, 0, 0)
	if e != 0 {
		return 0
	}
	return int(n)
}

func (p *poller) ready(i int) int32 { return p.events[i].Fd }

// read takes a batch of messages from a socket. more says that there may be others.
func (p *poller) read(s *sock) (n int, more bool) {
	for i := range p.hdrs {
		h := &p.hdrs[i].hdr
		h.SetControllen(ctlSize)
		h.Flags = 0
		if s.connected {
			h.Name, h.Namelen = nil, 0
		} else {
			h.Name, h.Namelen = (*byte)(unsafe.Pointer(&p.names[i])), unix.SizeofSockaddrInet6
		}
	}
	for {
		r, _, e := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&p.hdrs[0])), recvBatch, unix.MSG_DONTWAIT, 0, 0)
		switch e {
		case 0:
			return int(r), int(r) == recvBatch
		case unix.EINTR, unix.ECONNREFUSED: // the latter: an answer to an earlier send
			continue
		}
		return 0, false
	}
}

// message returns message i of the last read: its bytes, the size of the packets that it is made of, when the kernel got it (ns since 1970,
// 0 when unknown), how many the socket has dropped so far (0 when not told).
func (p *poller) message(i int) (b []byte, seg int, at int64, dropped uint32) {
	m := &p.hdrs[i]
	b = p.slab[i*recvSlot : i*recvSlot+int(m.n)]
	seg = len(b)
	c := p.ctl[i][:min(int(m.hdr.Controllen), ctlSize)]
	for len(c) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&c[0]))
		l := int(h.Len)
		if l < unix.SizeofCmsghdr || l > len(c) {
			break
		}
		d := c[unix.SizeofCmsghdr:l]
		switch {
		case h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(d) >= 4:
			if s := int(binary.NativeEndian.Uint32(d)); s > 0 {
				seg = s
			}
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_TIMESTAMPNS && len(d) >= 16:
			at = int64(binary.NativeEndian.Uint64(d))*1e9 + int64(binary.NativeEndian.Uint64(d[8:]))
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_RXQ_OVFL && len(d) >= 4:
			dropped = binary.NativeEndian.Uint32(d)
		}
		c = c[min((l+7)&^7, len(c)):]
	}
	return b, seg, at, dropped
}

// from is the sender of message i, when the socket is not connected.
func (p *poller) from(i int) netip.AddrPort {
	sa := &p.names[i]
	port := (*[2]byte)(unsafe.Pointer(&sa.Port))
	n := uint16(port[0])<<8 | uint16(port[1])
	if sa.Family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(sa)).Addr), n)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), n)
}

// sleep blocks the calling thread for ns. It keeps the runtime's processor meanwhile (New has made one more for that): giving it up and
// taking it back at each tick costs several thread switches. A garbage collection then waits for the sleeper, a few milliseconds.
func sleep(ns int64) {
	ts := unix.NsecToTimespec(ns)
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
}

// threadTime is the CPU time of the calling thread, ns.
func threadTime() int64 {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_THREAD_CPUTIME_ID, &ts) != nil {
		return 0
	}
	return ts.Nano()
}

// sharpTimers lets the calling thread's sleeps end on time: the kernel would round them up by 50 µs.
func sharpTimers() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, 1000, 0, 0, 0) }
