//go:build !linux

package udpio

import (
	"net"
	"sync"
	"sync/atomic"
)

// streamBuffer is what a connection is read with, bytes.
const streamBuffer = 4 << 10

// Stream is a TCP connection that may be given to a Loop, see NewStream. There it has a goroutine that reads it, and one while something is sent.
type Stream struct {
	net.Conn
	adopted atomic.Bool
	loop    *Loop // not changed once adopted; nor is owner
	owner   any

	mu      sync.Mutex // guards the fields below
	room    sync.Cond  // in is read, or the connection closed
	in      []byte     // read by the goroutine and not taken yet
	err     error      // of reading or writing
	out     []byte     // nil: nothing waits
	gone    int        // bytes of out that are sent
	sent    int        // since the last Flush
	writing bool
}

// Adopt gives a connection to the loop, which tells of it at once and whenever it can be read, or written again, from now on (Streams).
func (l *Loop) Adopt(s *Stream, owner any) error {
	l.mu.Lock()
	closed := l.closed
	l.mu.Unlock()
	if closed {
		return net.ErrClosed
	}
	s.loop, s.owner, s.room.L = l, owner, &s.mu
	s.adopted.Store(true)
	l.Again(s)
	go s.fill()
	return nil
}

// Streams are the connections that can be read, or written again, since the last Read.
func (l *Loop) Streams() []*Stream { return l.turn }

// Again has the next Read tell of a connection once more: not all of it was read.
func (l *Loop) Again(s *Stream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.woken = append(l.woken, s)
	select {
	case l.woke <- struct{}{}:
	default:
	}
}

// fill reads the connection until it ends.
func (s *Stream) fill() {
	p := make([]byte, streamBuffer)
	for {
		n, err := s.Conn.Read(p)
		s.mu.Lock()
		s.in, s.err = p[:n], err
		s.loop.Again(s)
		for len(s.in) > 0 && s.err == nil {
			s.room.Wait()
		}
		ended := s.err != nil
		s.mu.Unlock()
		if ended {
			return
		}
	}
}

func (s *Stream) read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.in) > 0 {
		n := copy(p, s.in)
		s.in = s.in[n:]
		s.room.Signal()
		return n, nil
	}
	if s.err != nil {
		return 0, s.err
	}
	return 0, ErrAgain
}

// Flush sends what waits, in bytes. The Loop tells when it is sent.
func (s *Stream) Flush() (sent, left int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	sent, s.sent = s.sent, 0
	left = len(s.out) - s.gone
	if left > 0 && !s.writing && s.err == nil {
		s.writing = true
		go s.drain(append([]byte(nil), s.out[s.gone:]...))
	}
	return sent, left, s.err
}

func (s *Stream) drain(p []byte) {
	_, err := s.Conn.Write(p)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing, s.sent = false, s.sent+len(p)
	s.taken(len(p))
	if err != nil {
		s.err = err
	}
	s.loop.Again(s)
}

// Close closes the connection. What waits is lost.
func (s *Stream) Close() error {
	if s.adopted.Load() {
		s.mu.Lock()
		s.err = net.ErrClosed
		s.room.Signal()
		s.mu.Unlock()
	}
	return s.Conn.Close()
}
