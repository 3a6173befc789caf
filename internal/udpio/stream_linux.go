package udpio

import (
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Stream is a TCP connection that may be given to a Loop, see NewStream. There it is a bare descriptor: it takes no goroutine, and no buffer
// while it is silent.
type Stream struct {
	net.Conn
	handle
	adopted atomic.Bool
	loop    *Loop // not changed once adopted; nor is owner
	owner   any

	// Of the Loop's reader.
	queued bool // it is on its list
	dry    bool // all was read that the last event told of
	ended  bool // the other side has said that it sends no more, which it says once: read to the end

	mu   sync.Mutex // guards the fields below
	out  []byte     // nil: nothing waits
	gone int        // bytes of out that are sent
}

// Adopt gives a connection to the loop, which tells of it at once and whenever it can be read, or written again, from now on (Streams). What it was made
// of is closed, its descriptor is the Stream's own. After an error the connection is as it was.
func (l *Loop) Adopt(s *Stream, owner any) error {
	fd, err := duplicate(s.Conn)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closing {
		unix.Close(fd)
		return net.ErrClosed
	}
	s.handle.fd, s.loop, s.owner = fd, l, owner
	s.adopted.Store(true)
	if err := unix.EpollCtl(l.ep, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLOUT | unix.EPOLLRDHUP | epollET, Fd: int32(fd)}); err != nil {
		s.adopted.Store(false)
		unix.Close(fd)
		return os.NewSyscallError("epoll_ctl", err)
	}
	l.streams[int32(fd)] = s
	_ = s.Conn.Close() // and the runtime's poller has nothing to do with it any more
	return nil
}

// duplicate gives a descriptor of its own for a connection.
func duplicate(c net.Conn) (fd int, err error) {
	for {
		above, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		c = above.NetConn()
	}
	sc, ok := c.(syscall.Conn)
	if !ok {
		return 0, os.ErrInvalid
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return 0, err
	}
	err1 := raw.Control(func(old uintptr) { fd, err = unix.FcntlInt(old, unix.F_DUPFD_CLOEXEC, 0) })
	if err1 != nil {
		return 0, err1
	}
	return fd, os.NewSyscallError("fcntl", err)
}

// Streams are the connections that can be read, or written again, since the last Read.
func (l *Loop) Streams() []*Stream { return l.turn }

// Again has the next Read tell of a connection once more: not all of it was read.
func (l *Loop) Again(s *Stream) {
	if !s.queued {
		s.queued = true
		l.woken = append(l.woken, s)
	}
}

// tell puts a connection that the epoll tells of onto the list for Streams.
func (l *Loop) tell(s *Stream, events uint32) {
	s.dry = false
	if events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		s.ended = true
	}
	l.Again(s)
}

func (s *Stream) read(p []byte) (int, error) {
	if s.dry || len(p) == 0 {
		return 0, ErrAgain
	}
	if !s.enter() {
		return 0, net.ErrClosed
	}
	defer s.leave()
	n, _, e := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(s.handle.fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_DONTWAIT, 0, 0)
	switch {
	case e == unix.EAGAIN:
		s.dry = true
		return 0, ErrAgain
	case e == unix.EINTR:
		return 0, ErrAgain
	case e != 0:
		return 0, os.NewSyscallError("recvfrom", e)
	case n == 0:
		return 0, io.EOF
	}
	s.dry = int(n) < len(p) && !s.ended
	return int(n), nil
}

// Flush sends what waits, as much as the connection takes, in bytes. The Loop tells when it takes more.
func (s *Stream) Flush() (sent, left int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.gone < len(s.out) {
		p := s.out[s.gone:]
		if !s.enter() {
			return sent, 0, net.ErrClosed
		}
		n, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s.handle.fd), uintptr(unsafe.Pointer(&p[0])), uintptr(len(p)), unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, 0, 0)
		s.leave()
		switch {
		case e == unix.EAGAIN:
			return sent, len(p), nil
		case e == unix.EINTR:
		case e != 0:
			return sent, len(p), os.NewSyscallError("sendto", e)
		default:
			sent += int(n)
			left = s.taken(int(n))
		}
	}
	return sent, left, nil
}

// Close closes the connection; again it gives net.ErrClosed. What waits is lost.
func (s *Stream) Close() error {
	if !s.adopted.Load() {
		return s.Conn.Close()
	}
	if !s.shut() {
		return net.ErrClosed
	}
	s.loop.mu.Lock()
	if s.loop.streams[int32(s.handle.fd)] == s {
		delete(s.loop.streams, int32(s.handle.fd))
	}
	s.loop.mu.Unlock()
	s.release()
	s.mu.Lock()
	s.taken(len(s.out) - s.gone)
	s.mu.Unlock()
	return nil
}
