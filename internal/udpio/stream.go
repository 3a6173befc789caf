package udpio

import "net"

// maxKept is the largest buffer that is kept for the next Stream that has something to send, bytes.
const maxKept = 64 << 10

// ErrAgain says that nothing has come, for now. It is a net.Error that passes, so that crypto/tls goes on after it.
var ErrAgain net.Error = again{}

type again struct{}

func (again) Error() string   { return "udpio: nothing yet" }
func (again) Timeout() bool   { return true }
func (again) Temporary() bool { return true }

// NewStream wraps a TCP connection that may be given to a Loop. Until Loop.Adopt it is what c is; afterwards Read gives ErrAgain instead of waiting,
// and Write and Append only collect what Flush sends, so that crypto/tls can be above it in both times.
func NewStream(c net.Conn) *Stream { return &Stream{Conn: c} }

// StreamOf gives the Stream that a connection is, or is above of as a *tls.Conn is; nil for none.
func StreamOf(c net.Conn) *Stream {
	for c != nil {
		if s, ok := c.(*Stream); ok {
			return s
		}
		above, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return nil
		}
		c = above.NetConn()
	}
	return nil
}

// NetConn is the connection that the Stream was made of.
func (s *Stream) NetConn() net.Conn { return s.Conn }

// Owner is what Adopt was told; nil before.
func (s *Stream) Owner() any { return s.owner }

// Read reads as net.Conn says, or, of a Loop, what is there. Then only the Loop's goroutine may call it.
func (s *Stream) Read(p []byte) (int, error) {
	if !s.adopted.Load() {
		return s.Conn.Read(p)
	}
	return s.read(p)
}

// Write writes as net.Conn says, or, of a Loop, keeps a copy of p for Flush.
func (s *Stream) Write(p []byte) (int, error) {
	if !s.adopted.Load() {
		return s.Conn.Write(p)
	}
	s.Append(p)
	return len(p), nil
}

// Append keeps a copy of the parts for Flush. The caller bounds what is kept, see Waiting. Any goroutine may call it, as it may Flush.
func (s *Stream) Append(parts ...[]byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.out == nil {
		s.out, _ = s.loop.bufs.Get().([]byte)
	}
	for _, p := range parts {
		s.out = append(s.out, p...)
	}
}

// Waiting is how many bytes wait for the connection to take them.
func (s *Stream) Waiting() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.out) - s.gone
}

// taken notes that the first n bytes that wait are on their way. The caller holds mu.
func (s *Stream) taken(n int) (left int) {
	if s.gone += n; s.gone < len(s.out) {
		return len(s.out) - s.gone
	}
	if cap(s.out) > 0 && cap(s.out) <= maxKept {
		//lint:ignore SA6002 the slice's head is allocated once for many packets
		s.loop.bufs.Put(s.out[:0])
	}
	s.out, s.gone = nil, 0
	return 0
}
