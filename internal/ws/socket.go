package ws

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
)

// Socket is an accepted TCP connection that can be waited on without a buffer. Until patient is called it is just the connection.
// Read, Wait and patient are for one goroutine.
type Socket struct {
	net.Conn
	raw      syscall.RawConn // nil: not a socket of the system
	waiting  bool            // Read does not block
	in       []byte          // read and not taken yet; of *held
	held     *[]byte
	err      error
	readable func(fd uintptr) bool
}

// NewSocket wraps c.
func NewSocket(c net.Conn) *Socket {
	s := &Socket{Conn: c}
	if sc, ok := c.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			s.raw = raw
		}
	}
	return s
}

// NetConn is the connection below.
func (s *Socket) NetConn() net.Conn { return s.Conn }

// socketInput is what one read of a socket may give: a TLS record is hardly ever longer.
const socketInput = 16 << 10

// inputs are buffers for what was read of sockets and out of TLS; they are in use only between a read and the end of what it gave.
var inputs = sync.Pool{New: func() any { b := make([]byte, socketInput); return &b }}

// ErrAgain says that no whole message has come yet. It calls itself temporary, because crypto/tls stays usable after such an error.
var ErrAgain error = again{}

type again struct{}

func (again) Error() string   { return "ws: nothing to read yet" }
func (again) Timeout() bool   { return false }
func (again) Temporary() bool { return true }

// patient makes Read say ErrAgain instead of waiting; false: this connection cannot.
func (s *Socket) patient() bool {
	s.waiting = s.raw != nil
	s.readable = s.readNow
	return s.waiting
}

// Read reads, as net.Conn says, or gives what Wait has read.
func (s *Socket) Read(b []byte) (int, error) {
	if !s.waiting {
		return s.Conn.Read(b)
	}
	if len(s.in) == 0 {
		if s.err != nil {
			return 0, s.err
		}
		return 0, ErrAgain
	}
	n := copy(b, s.in)
	if s.in = s.in[n:]; len(s.in) == 0 {
		inputs.Put(s.held)
		s.in, s.held = nil, nil
	}
	return n, nil
}

// wait blocks until something has come, the read deadline has passed or the connection is closed. An error that is not a deadline's is
// for good, and the next Read gives it, too.
func (s *Socket) wait() error {
	if len(s.in) > 0 {
		return nil
	}
	if err := s.raw.Read(s.readable); err != nil {
		return err
	}
	return s.err
}

// readNow takes what the socket has; false: nothing is there, call again.
func (s *Socket) readNow(fd uintptr) bool {
	p := inputs.Get().(*[]byte)
	n, err := syscall.Read(int(fd), *p)
	for err == syscall.EINTR {
		n, err = syscall.Read(int(fd), *p)
	}
	if n > 0 {
		s.in, s.held = (*p)[:n], p
		return true
	}
	inputs.Put(p)
	if err == syscall.EAGAIN {
		return false
	}
	if s.err = io.EOF; err != nil {
		s.err = os.NewSyscallError("read", err)
	}
	return true
}

// socket finds the Socket below c.
func socket(c net.Conn) patientConn {
	for c != nil {
		if s, ok := c.(patientConn); ok {
			return s
		}
		t, ok := c.(interface{ NetConn() net.Conn }) // crypto/tls
		if !ok {
			return nil
		}
		c = t.NetConn()
	}
	return nil
}

// patientConn is what a Socket, or what embeds one, can do.
type patientConn interface {
	patient() bool
	wait() error
}
