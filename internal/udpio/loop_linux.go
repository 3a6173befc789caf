package udpio

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// loopSlots is how many datagrams, or coalesced runs, a Loop takes in before it hands them over: the more it has in hand under load, the more of them
	// leave together.
	loopSlots = 1024
	// loopEvents is how many ready sockets one epoll_wait tells of.
	loopEvents = 512
	// loopRuns is how many of a Loop's slots can hold a run.
	loopRuns = 128
	// loopSmall is what a slot holds by itself, bytes: a datagram, or the head of a run.
	loopSmall = maxDatagram
)

// epollET: a socket is told of once, when something comes; whether all of it was taken is for receive to say. The kernel would else look at each
// socket twice. unix.EPOLLET is a negative number.
const epollET = 1 << 31

const (
	// napAfter is how many messages one Read has to have taken to be followed by a nap: at 70,000 messages a second and more. A coalesced run is one
	// message.
	napAfter = 8
	// nap is how long a Read waits then for more to come, as the network cards do at such rates (interrupt moderation): what is handled together costs
	// half as much, and what is under way to one place leaves in one run.
	nap = 100 * time.Microsecond
)

// Loop reads many sockets from one goroutine, with an epoll of its own: a socket costs no goroutine, no buffer and no wake-up of the Go
// runtime's poller.
type Loop struct {
	ep, wake int
	bell     doorbell // of ep
	vigil    vigil    // how Read waits
	timer    napTimer
	poll     func(uintptr) bool // asks ep, and fills events and got
	got      int

	bufs sync.Pool // of []byte, for Streams that have something to send

	mu      sync.RWMutex // guards the fields below
	socks   map[int32]*Sock
	streams map[int32]*Stream
	closing bool // no more sockets
	closed  bool // the reader has to end

	// Of the reading goroutine.
	events [loopEvents]unix.EpollEvent
	ready  []*Sock   // to read
	at     int       // of ready: the next one
	again  []*Sock   // that may have more
	slots  int       // that the last Read filled
	woken  []*Stream // for the next Read to tell of
	turn   []*Stream // that the last one told of
	said   []Refusal // with the last one
	hdrs   [loopSlots]mmsghdr
	iovs   [loopSlots][2]unix.Iovec // the slot's own bytes, and where a run goes on
	name   [loopSlots]unix.RawSockaddrInet6
	ctl    [loopSlots][cmsgSpace]byte
	memory []byte                          // of all buffers, from the system: as much on the heap would be a reason to collect later
	small  []byte                          // loopSmall bytes for each slot
	runs   [][]byte                        // each begins with room for the head
	laid   struct{ first, free, want int } // the last that lay did
	free   int                             // of runs: those before it hold no run now
	out    []Datagram
}

// NewLoop makes a loop without sockets. With procs Read may wait in the kernel, at rates at which that is cheaper.
func NewLoop(procs *Processors) (*Loop, error) {
	ep, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	l := &Loop{ep: ep, socks: map[int32]*Sock{}, streams: map[int32]*Stream{}, out: make([]Datagram, 0, loopSlots+loopRuns*MaxSegments)}
	if l.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		unix.Close(ep)
		return nil, os.NewSyscallError("eventfd", err)
	}
	if err := l.init(procs); err != nil {
		l.release()
		return nil, err
	}
	return l, nil
}

func (l *Loop) init(procs *Processors) (err error) {
	l.poll = func(uintptr) bool {
		n, _, e := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.ep), uintptr(unsafe.Pointer(&l.events[0])), loopEvents, 0, 0, 0)
		l.got = 0
		if e == 0 {
			l.got = int(n)
		}
		return l.got > 0
	}
	if err := unix.EpollCtl(l.ep, unix.EPOLL_CTL_ADD, l.wake, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(l.wake)}); err != nil {
		return os.NewSyscallError("epoll_ctl", err)
	}
	if err := l.bell.open(l.ep); err != nil {
		return err
	}
	if err := l.timer.open(); err != nil {
		return err
	}
	if err := l.vigil.open(l.ep, procs); err != nil {
		return err
	}
	const smallSize = loopSlots * loopSmall
	if l.memory, err = unix.Mmap(-1, 0, smallSize+loopRuns*coalescedSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON); err != nil {
		return os.NewSyscallError("mmap", err)
	}
	l.small = l.memory[:smallSize:smallSize]
	for i := range loopRuns {
		l.runs = append(l.runs, l.memory[smallSize+i*coalescedSize:][:coalescedSize:coalescedSize])
	}
	for i := range l.hdrs {
		h := &l.hdrs[i].hdr
		l.iovs[i][0].Base = &l.small[i*loopSmall]
		l.iovs[i][0].SetLen(loopSmall)
		l.iovs[i][1].SetLen(coalescedSize - loopSmall)
		h.Iov = &l.iovs[i][0]
		h.SetIovlen(2)
		h.Name = (*byte)(unsafe.Pointer(&l.name[i]))
		h.Control = &l.ctl[i][0]
		l.hdrs[i].reset()
	}
	return nil
}

// release closes the loop's own descriptors.
func (l *Loop) release() {
	l.bell.close()
	l.timer.close()
	l.vigil.close()
	unix.Close(l.ep)
	unix.Close(l.wake)
	if l.memory != nil {
		_ = unix.Munmap(l.memory)
		l.memory, l.small, l.runs, l.out = nil, nil, nil, nil
		clear(l.iovs[:])
	}
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
	if l.closing {
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
	if l.closing {
		l.mu.Unlock()
		return net.ErrClosed
	}
	l.closing = true
	all := make([]io.Closer, 0, len(l.socks)+len(l.streams))
	for _, s := range l.socks {
		all = append(all, s)
	}
	for _, s := range l.streams {
		all = append(all, s)
	}
	l.mu.Unlock()
	for _, s := range all {
		_ = s.Close() // who closes it too is no matter
	}
	l.mu.Lock() // until it is written the reader must not close the descriptor
	defer l.mu.Unlock()
	l.closed = true
	_, err := unix.Write(l.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	return os.NewSyscallError("eventfd", err)
}

// Read waits for datagrams of any socket, which are valid until the next Read, or for a connection to tell of (Streams). After Close it returns
// net.ErrClosed, once.
func (l *Loop) Read() ([]Datagram, error) {
	if l.slots+len(l.turn) >= napAfter && l.at == len(l.ready) && len(l.again) == 0 && len(l.woken) == 0 {
		l.bell.mute()
		l.timer.sleep(nap)
	}
	for {
		if l.at == len(l.ready) {
			if err := l.wait(); err != nil {
				return nil, err
			}
		}
		l.out, l.said, l.slots, l.free = l.out[:0], l.said[:0], 0, loopRuns
		for ; l.at < len(l.ready) && l.slots < loopSlots && l.free > 0; l.at++ {
			s := l.ready[l.at]
			l.ready[l.at] = nil
			if s.queued = l.drain(s); s.queued {
				l.again = append(l.again, s)
			}
		}
		clear(l.turn)
		l.turn, l.woken = l.woken, l.turn[:0]
		for _, s := range l.turn {
			s.queued = false
		}
		if len(l.out)+len(l.turn)+len(l.said) > 0 {
			return l.out, nil
		}
	}
}

// wait fills ready.
func (l *Loop) wait() error {
	l.ready, l.again, l.at = l.again, l.ready[:0], 0
	l.got = 0
	busy := len(l.ready)+len(l.woken) > 0
	if busy || !l.bell.on && !l.vigil.on { // else nothing is there, as a rule
		l.poll(0)
	}
	if l.got == 0 && !busy {
		l.sleep()
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		l.release()
		return net.ErrClosed
	}
	for i := range l.got {
		fd := l.events[i].Fd
		if l.vigil.rang(fd) {
			continue
		}
		if s := l.socks[fd]; s != nil {
			s.refused = s.refused || s.tells && l.events[i].Events&unix.EPOLLERR != 0
			if !s.queued {
				s.queued = true
				l.ready = append(l.ready, s)
			}
		} else if s := l.streams[fd]; s != nil {
			l.tell(s, l.events[i].Events)
		}
	}
	return nil
}

// sleep waits until the epoll has events; who is closed finds none.
func (l *Loop) sleep() {
	if l.vigil.inKernel() {
		l.bell.mute()
		if l.got = l.vigil.wait(l.ep, l.events[:]); l.got > 0 {
			return
		}
	}
	_ = l.bell.wait(l.poll)
}

// drain takes what a socket has, up to its batch, and tells whether there may be more.
func (l *Loop) drain(s *Sock) bool {
	if s.refused {
		s.refused = false
		l.refusals(s)
	}
	for left := s.batch; ; {
		want := min(left, loopSlots-l.slots, l.free)
		if want == 0 {
			return true
		}
		got := l.receive(s, l.slots, want)
		l.slots += got
		if left -= got; got < want {
			return false
		}
	}
}

// receive reads a socket into want slots from first on and returns how many it took: less than want is all that was there.
func (l *Loop) receive(s *Sock, first, want int) int {
	if !s.enter() {
		return 0
	}
	l.lay(first, want)
	n, _, e := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&l.hdrs[first])), uintptr(want), unix.MSG_DONTWAIT, 0, 0)
	s.leave()
	if e == unix.EAGAIN {
		return 0
	}
	if e != 0 { // it concerns an earlier send, and something may be there
		return want
	}
	was := l.free
	for i := range int(n) {
		l.split(s, first+i, was-1-i)
	}
	return int(n)
}

// lay puts free runs behind the slots from first on, unless they are there: that is so for each packet that comes alone.
func (l *Loop) lay(first, want int) {
	if first == l.laid.first && l.free == l.laid.free && want <= l.laid.want {
		return
	}
	for i := range want {
		l.iovs[first+i][1].Base = &l.runs[l.free-1-i][loopSmall]
	}
	l.laid.first, l.laid.free, l.laid.want = first, l.free, want
}

// split appends the datagrams of a slot, which may go on in the run at the given place.
func (l *Loop) split(s *Sock, slot, run int) {
	m := &l.hdrs[slot]
	defer m.reset()
	if m.hdr.Flags&unix.MSG_TRUNC != 0 {
		return // above 64 KiB: no UDP datagram is
	}
	from, size := addrPort(&l.name[slot]), int(m.n)
	data := l.small[slot*loopSmall : slot*loopSmall+min(size, loopSmall)]
	if size > loopSmall {
		l.free--
		l.runs[run], l.runs[l.free] = l.runs[l.free], l.runs[run]
		l.laid.want = 0
		copy(l.runs[l.free], data)
		data = l.runs[l.free][:size]
	}
	seg := size
	if m.hdr.Controllen > 0 {
		if n := groSize(l.ctl[slot][:m.hdr.Controllen]); n > 0 {
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
