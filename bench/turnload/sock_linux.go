package turnload

import (
	"encoding/binary"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"konzil/bench/mmsg"
)

const (
	slots     = 32           // of one receive: messages, which can be runs of packets
	slotSize  = 65536 + 5*64 // the largest run, and a little more so that slots do not share cache sets
	eventsMax = 256          // ready sockets of one epoll_wait
	sendMax   = 32           // messages of one sendmmsg
	rcvBuffer = 8 << 20      // of the peer, which all allocations send to
	cliBuffer = 1 << 20      // of a client's socket
	timeSlack = 1000         // ns by which the kernel may delay the end of a wait
	ctlSize   = 32           // of a control message UDP_GRO or UDP_SEGMENT
	ipUDP     = unix.IPPROTO_UDP
)

// sock is a UDP socket that the Go runtime does not poll.
type sock struct {
	fd    int
	v6    bool
	local netip.AddrPort
}

// openSock opens a socket on a port that the kernel chooses, connected to a server when to is valid.
func openSock(ip netip.Addr, to netip.AddrPort, buffer int) (_ *sock, err error) {
	s := &sock{v6: ip.Is6()}
	family := unix.AF_INET
	if s.v6 {
		family = unix.AF_INET6
	}
	if s.fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(s.fd)
		}
	}()
	mmsg.Buffers(s.fd, buffer)
	_ = unix.SetsockoptInt(s.fd, ipUDP, unix.UDP_GRO, 1)
	if !s.v6 {
		if err = mmsg.NeverCut(s.fd); err != nil {
			return nil, err
		}
	}
	if s.local, err = mmsg.Bind(s.fd, ip); err != nil || !to.IsValid() {
		return s, err
	}
	if err = unix.Connect(s.fd, mmsg.Sockaddr(to)); err != nil {
		return nil, os.NewSyscallError("connect", err)
	}
	s.local, err = mmsg.Local(s.fd) // has an address now
	return s, err
}

func (s *sock) close() { _ = unix.Close(s.fd) }

// exchange sends a request on a connected socket and waits for a datagram.
func (s *sock) exchange(p, buf []byte, wait time.Duration) (int, error) {
	if err := unix.Send(s.fd, p, 0); err != nil {
		return 0, os.NewSyscallError("send", err)
	}
	return s.receive(buf, wait)
}

func (s *sock) receive(buf []byte, wait time.Duration) (int, error) {
	fds := []unix.PollFd{{Fd: int32(s.fd), Events: unix.POLLIN}}
	if n, err := unix.Poll(fds, int(wait/time.Millisecond)); n == 0 || err != nil {
		return 0, os.ErrDeadlineExceeded
	}
	n, err := unix.Read(s.fd, buf)
	return n, os.NewSyscallError("read", err)
}

// sender collects runs of packets, each of one destination, and sends those of one socket in one call.
type sender struct {
	hdrs [sendMax]mmsg.Message
	iovs [sendMax]unix.Iovec
	name [sendMax]unix.RawSockaddrInet6
	ctl  [sendMax][ctlSize]byte
	cnt  [sendMax]int
	n    int
	sock *sock
	// plain sends no runs but packet by packet.
	plain bool
	lost  uint64 // packets that our own kernel refused
}

// add sends the packets that stand behind each other in run, of size bytes each, with the next flush. to is not valid on connected sockets.
func (s *sender) add(via *sock, to netip.AddrPort, run []byte, size int) {
	if s.n > 0 && s.sock != via || s.n == sendMax {
		s.flush()
	}
	if s.plain {
		for ; len(run) > size; run = run[size:] {
			s.add1(via, to, run[:size], size)
		}
	}
	s.add1(via, to, run, size)
}

func (s *sender) add1(via *sock, to netip.AddrPort, run []byte, size int) {
	if s.n == sendMax {
		s.flush()
	}
	i := s.n
	s.n++
	s.sock = via
	h := &s.hdrs[i].Hdr
	s.iovs[i].Base = &run[0]
	s.iovs[i].SetLen(len(run))
	h.Iov = &s.iovs[i]
	h.SetIovlen(1)
	h.Name, h.Namelen = nil, 0
	if to.IsValid() {
		h.Name = (*byte)(unsafe.Pointer(&s.name[i]))
		h.Namelen = mmsg.PutName(&s.name[i], to, via.v6)
	}
	h.Control = nil
	h.SetControllen(0)
	s.cnt[i] = len(run) / size
	if len(run) > size {
		c := (*unix.Cmsghdr)(unsafe.Pointer(&s.ctl[i][0]))
		c.Level, c.Type = ipUDP, unix.UDP_SEGMENT
		c.SetLen(unix.CmsgLen(2))
		binary.NativeEndian.PutUint16(s.ctl[i][unix.SizeofCmsghdr:], uint16(size))
		h.Control = &s.ctl[i][0]
		h.SetControllen(unix.CmsgSpace(2))
	}
}

func (s *sender) flush() {
	for i := 0; i < s.n; {
		n, _, e := unix.Syscall6(unix.SYS_SENDMMSG, uintptr(s.sock.fd), uintptr(unsafe.Pointer(&s.hdrs[i])), uintptr(s.n-i), unix.MSG_DONTWAIT, 0, 0)
		switch {
		case e == unix.EINTR:
		case e != 0 || n == 0:
			s.lost += uint64(s.cnt[i])
			i++
		default:
			i += int(n)
		}
	}
	s.n = 0
}

// poller waits for many sockets and reads them.
type poller struct {
	fd     int
	events [eventsMax]unix.EpollEvent
	hdrs   [slots]mmsg.Message
	iovs   [slots]unix.Iovec
	ctl    [slots][ctlSize]byte
	slab   []byte
	socks  []*sock
}

func newPoller() (*poller, error) {
	fd, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	p := &poller{fd: fd, slab: make([]byte, slots*slotSize)}
	for i := range p.hdrs {
		h := &p.hdrs[i].Hdr
		p.iovs[i].Base = &p.slab[i*slotSize]
		p.iovs[i].SetLen(65536)
		h.Iov = &p.iovs[i]
		h.SetIovlen(1)
		h.Control = &p.ctl[i][0]
	}
	return p, nil
}

func (p *poller) close() { _ = unix.Close(p.fd) }

// add watches a socket under the next number.
func (p *poller) add(s *sock) error {
	id := int32(len(p.socks))
	p.socks = append(p.socks, s)
	return os.NewSyscallError("epoll_ctl", unix.EpollCtl(p.fd, unix.EPOLL_CTL_ADD, s.fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: id}))
}

// wait blocks for at most d until a socket has something, and tells how many have.
func (p *poller) wait(d time.Duration) int {
	ts := unix.NsecToTimespec(int64(d))
	var n uintptr
	var e unix.Errno
	if d <= 0 {
		n, _, e = unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])), eventsMax, 0, 0, 0)
	} else {
		n, _, e = unix.Syscall6(unix.SYS_EPOLL_PWAIT2, uintptr(p.fd), uintptr(unsafe.Pointer(&p.events[0])), eventsMax, uintptr(unsafe.Pointer(&ts)), 0, 0)
	}
	if e != 0 {
		return 0
	}
	return int(n)
}

// take reads the first n sockets that wait told of, and calls got with each packet and the number of its socket.
func (p *poller) take(n int, got func(id int, b []byte)) {
	for i := range n {
		id := int(p.events[i].Fd)
		p.read(p.socks[id], func(b []byte) { got(id, b) })
	}
}

func (p *poller) read(s *sock, got func(b []byte)) {
	for i := range p.hdrs {
		p.hdrs[i].Hdr.SetControllen(ctlSize)
	}
	n, _, e := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&p.hdrs[0])), slots, unix.MSG_DONTWAIT, 0, 0)
	if e != 0 {
		return
	}
	for i := range int(n) {
		b := p.slab[i*slotSize : i*slotSize+int(p.hdrs[i].N)]
		seg := len(b)
		if p.hdrs[i].Hdr.Controllen >= unix.SizeofCmsghdr+4 {
			if c := (*unix.Cmsghdr)(unsafe.Pointer(&p.ctl[i][0])); c.Level == ipUDP && c.Type == unix.UDP_GRO {
				seg = int(binary.NativeEndian.Uint32(p.ctl[i][unix.SizeofCmsghdr:]))
			}
		}
		for len(b) > 0 {
			k := min(seg, len(b))
			got(b[:k])
			b = b[k:]
		}
	}
}

// sharpTimers lets the thread's waits end on time.
func sharpTimers() { _ = unix.Prctl(unix.PR_SET_TIMERSLACK, timeSlack, 0, 0, 0) }

// sleep keeps the runtime's processor: it is short.
func sleep(d time.Duration) {
	ts := unix.NsecToTimespec(int64(d))
	_, _, _ = unix.RawSyscall(unix.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&ts)), 0, 0)
}

// outgoing is the address that the system sends to another from.
func outgoing(to netip.AddrPort) (netip.Addr, error) {
	s, err := openSock(unspecified(to.Addr()), to, 0)
	if err != nil {
		return netip.Addr{}, err
	}
	defer s.close()
	return s.local.Addr(), nil
}

func unspecified(like netip.Addr) netip.Addr {
	if like.Is4() {
		return netip.IPv4Unspecified()
	}
	return netip.IPv6Unspecified()
}
