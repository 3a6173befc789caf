package udpio

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// loopSlots is how many datagrams, or coalesced runs, a Loop takes in before it hands them over.
	loopSlots = 128
	// loopEvents is how many ready sockets one epoll_wait tells of.
	loopEvents = 128
	// loopStride keeps the slots from falling into the same lines of the cache: a slot of a power of two bytes would.
	loopStride = coalescedSize + 17*64
)

// epollET: a socket is told of once, when something comes; whether all of it was taken is for receive to say. The kernel would else look at each
// socket twice. unix.EPOLLET is a negative number.
const epollET = 1 << 31

// Loop reads many sockets from one goroutine, with an epoll of its own: a socket costs no goroutine, no buffer and no wake-up of the Go
// runtime's poller.
type Loop struct {
	ep, wake int
	file     *os.File // of ep
	raw      syscall.RawConn
	poll     func(uintptr) bool // asks ep, and fills events and got
	got      int

	mu     sync.RWMutex // guards the fields below
	socks  map[int32]*Sock
	closed bool

	// Of the reading goroutine.
	events [loopEvents]unix.EpollEvent
	ready  []*Sock // to read
	at     int     // of ready: the next one
	again  []*Sock // that may have more
	hdrs   [loopSlots]mmsghdr
	iovs   [loopSlots]unix.Iovec
	name   [loopSlots]unix.RawSockaddrInet6
	ctl    [loopSlots][cmsgSpace]byte
	slab   []byte
	out    []Datagram
}

// NewLoop makes a loop without sockets.
func NewLoop() (*Loop, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	_ = unix.SetNonblock(ep, true) // os.File only gives such descriptors to the poller
	file := os.NewFile(uintptr(ep), "epoll")
	raw, err := file.SyscallConn()
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		_ = file.Close()
		return nil, os.NewSyscallError("eventfd", err)
	}
	l := &Loop{ep: ep, wake: wake, file: file, raw: raw, socks: map[int32]*Sock{}, slab: make([]byte, loopSlots*loopStride), out: make([]Datagram, 0, loopSlots*MaxSegments)}
	l.poll = func(uintptr) bool {
		n, _, e := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(ep), uintptr(unsafe.Pointer(&l.events[0])), loopEvents, 0, 0, 0)
		l.got = 0
		if e == 0 {
			l.got = int(n)
		}
		return l.got > 0
	}
	for i := range l.hdrs {
		h := &l.hdrs[i].hdr
		l.iovs[i].Base = &l.slab[i*loopStride]
		l.iovs[i].SetLen(coalescedSize)
		h.Iov = &l.iovs[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&l.name[i]))
		h.Control = &l.ctl[i][0]
	}
	if err := unix.EpollCtl(ep, unix.EPOLL_CTL_ADD, wake, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(wake)}); err != nil {
		_ = file.Close()
		unix.Close(wake)
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	return l, nil
}

// Open binds a UDP socket that the loop reads from now on. The error names the address.
func (l *Loop) Open(addr netip.AddrPort, opt SockOptions) (*Sock, error) {
	s, err := openSock(addr, opt)
	if err != nil {
		return nil, fmt.Errorf("udpio: listen %s: %w", addr, err)
	}
	s.loop = l
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		unix.Close(s.fd)
		return nil, net.ErrClosed
	}
	if err := unix.EpollCtl(l.ep, unix.EPOLL_CTL_ADD, s.fd, &unix.EpollEvent{Events: unix.EPOLLIN | epollET, Fd: int32(s.fd)}); err != nil {
		unix.Close(s.fd)
		return nil, os.NewSyscallError("epoll_ctl", err)
	}
	l.socks[int32(s.fd)] = s
	return s, nil
}

// Close ends Read and closes all sockets. The descriptors of the loop itself are closed by the last Read.
func (l *Loop) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return net.ErrClosed
	}
	l.closed = true
	all := make([]*Sock, 0, len(l.socks))
	for _, s := range l.socks {
		all = append(all, s)
	}
	l.mu.Unlock()
	for _, s := range all {
		s.Close()
	}
	_, err := unix.Write(l.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	return os.NewSyscallError("eventfd", err)
}

// Read waits for datagrams of any socket; they are valid until the next Read. After Close it returns net.ErrClosed, once.
func (l *Loop) Read() ([]Datagram, error) {
	for {
		if l.at == len(l.ready) {
			if err := l.wait(); err != nil {
				return nil, err
			}
		}
		l.out = l.out[:0]
		for slot := 0; l.at < len(l.ready) && slot < loopSlots; l.at++ {
			s := l.ready[l.at]
			l.ready[l.at] = nil
			s.queued = false
			want := min(s.batch, loopSlots-slot)
			got := l.receive(s, slot, want)
			slot += got
			if got == want {
				s.queued = true
				l.again = append(l.again, s)
			}
		}
		if len(l.out) > 0 {
			return l.out, nil
		}
	}
}

// wait fills ready. When nothing is there the goroutine waits in the runtime's poller for the epoll itself to become readable: a thread that waited
// in the system call would have its processor taken away by the runtime's monitor, and be woken with it, again and again.
func (l *Loop) wait() error {
	l.ready, l.again, l.at = l.again, l.ready[:0], 0
	if !l.poll(0) && len(l.ready) == 0 {
		if err := l.raw.Read(l.poll); err != nil {
			l.got = 0 // closed
		}
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		_ = l.file.Close()
		unix.Close(l.wake)
		return net.ErrClosed
	}
	for i := range l.got {
		if s := l.socks[l.events[i].Fd]; s != nil && !s.queued {
			s.queued = true
			l.ready = append(l.ready, s)
		}
	}
	return nil
}

// receive reads a socket into want slots from first on and returns how many it took: less than want is all that was there.
func (l *Loop) receive(s *Sock, first, want int) int {
	if !s.enter() {
		return 0
	}
	for i := first; i < first+want; i++ {
		h := &l.hdrs[i].hdr
		h.Namelen = unix.SizeofSockaddrInet6
		h.SetControllen(cmsgSpace)
		h.Flags = 0
	}
	n, _, e := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&l.hdrs[first])), uintptr(want), unix.MSG_DONTWAIT, 0, 0)
	s.leave()
	if e == unix.EAGAIN {
		return 0
	}
	if e != 0 { // it concerns an earlier send, and something may be there
		return want
	}
	for i := first; i < first+int(n); i++ {
		l.split(s, i)
	}
	return int(n)
}

// split appends the datagrams of slot i.
func (l *Loop) split(s *Sock, i int) {
	m := &l.hdrs[i]
	if m.hdr.Flags&unix.MSG_TRUNC != 0 {
		return // above 64 KiB: no UDP datagram is
	}
	from := addrPort(&l.name[i])
	data := l.slab[i*loopStride : i*loopStride+int(m.n)]
	seg := len(data)
	if m.hdr.Controllen > 0 {
		if n := groSize(l.ctl[i][:m.hdr.Controllen]); n > 0 {
			seg = n
		}
	}
	for {
		n := min(seg, len(data))
		l.out = append(l.out, Datagram{Data: data[:n:n], From: from, Sock: s})
		if data = data[n:]; len(data) == 0 {
			return
		}
	}
}

func (l *Loop) forget(s *Sock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.socks[int32(s.fd)] == s {
		delete(l.socks, int32(s.fd))
	}
}
