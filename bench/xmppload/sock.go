package xmppload

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"syscall"
	"time"
)

// sock is the transport under a client. While a client logs in it is a blocking connection. Once it has been adopted by a loop it neither
// blocks nor reads: the loop puts in what it has read from the socket, and takes out what is to be written. crypto/tls goes along with that,
// where its records were not taken over, because an error of its connection that calls itself temporary leaves it as it was.
type sock struct {
	net.Conn        // nil once adopted
	fd       int    // -1 until adopted
	in       []byte // read and not taken
	out      []byte
	room     []byte // until adopted: where in lies
	framed   bool   // what comes is TLS records, and no Read gives bytes of two: what is behind the handshake is left for records
	left     int    // framed: of the record at hand
}

// firstRead is what a sock reads at once until it is adopted: what a server sends in a handshake fits.
const firstRead = 8 << 10

// again is the answer of an adopted sock that has nothing to read.
type again struct{}

func (again) Error() string   { return "xmppload: nothing to read yet" }
func (again) Timeout() bool   { return true }
func (again) Temporary() bool { return true }

func (s *sock) Read(p []byte) (int, error) {
	if len(s.in) == 0 {
		if err := s.more(); err != nil {
			return 0, err
		}
	}
	n := min(len(p), len(s.in))
	if s.framed {
		if s.left == 0 {
			for len(s.in) < recordHead {
				if err := s.more(); err != nil {
					return 0, err
				}
			}
			s.left = recordHead + int(binary.BigEndian.Uint16(s.in[3:]))
		}
		n = min(n, s.left)
		s.left -= n
	}
	copy(p, s.in[:n])
	s.in = s.in[n:]
	return n, nil
}

// take gives what was read and not taken.
func (s *sock) take() []byte {
	b := s.in
	s.in = nil
	return b
}

// more reads behind what was not taken.
func (s *sock) more() error {
	if s.fd >= 0 {
		return again{}
	}
	if s.room == nil {
		s.room = make([]byte, firstRead)
	}
	k := copy(s.room, s.in)
	n, err := s.Conn.Read(s.room[k:])
	if s.in = s.room[:k+n]; n > 0 {
		return nil
	}
	return err
}

func (s *sock) Write(p []byte) (int, error) {
	s.out = append(s.out, p...)
	return len(p), s.push()
}

// push sends what waits, unless that is the loop's to do.
func (s *sock) push() error {
	if s.fd >= 0 {
		return nil
	}
	_, err := s.Conn.Write(s.out)
	s.out = s.out[:0]
	return err
}

func (s *sock) Close() error {
	if s.fd >= 0 {
		fd := s.fd
		s.fd = -1
		s.Conn = closedConn{}
		return syscall.Close(fd)
	}
	return s.Conn.Close()
}

// SetDeadline and the like do nothing once adopted.
func (s *sock) SetDeadline(t time.Time) error {
	if s.fd >= 0 {
		return nil
	}
	return s.Conn.SetDeadline(t)
}

// SetWriteDeadline is called by crypto/tls when it closes.
func (s *sock) SetWriteDeadline(t time.Time) error { return s.SetDeadline(t) }

// adopt takes the descriptor away from Go's own poller: two of them would be woken for each packet.
func (s *sock) adopt() error {
	sc, ok := s.Conn.(syscall.Conn)
	if !ok {
		return syscall.EINVAL
	}
	raw, err := sc.SyscallConn()
	if err != nil {
		return err
	}
	fd := -1
	if cerr := raw.Control(func(old uintptr) {
		fd, err = syscall.Dup(int(old))
	}); cerr != nil {
		return cerr
	}
	if err != nil {
		return err
	}
	if err := syscall.SetNonblock(fd, true); err != nil {
		_ = syscall.Close(fd)
		return err
	}
	_ = s.Conn.Close()
	s.fd = fd
	s.ackLate()
	s.in, s.room = append([]byte(nil), s.in...), nil
	return nil
}

// ackLate has the kernel acknowledge with what is written, or late (tcp(7)), as it does for connections that also write, until it had to do so after a pause.
// Acknowledging each record at once costs a packet for each, both ways on loopback charged to who reads.
func (s *sock) ackLate() {
	_ = syscall.SetsockoptInt(s.fd, syscall.IPPROTO_TCP, syscall.TCP_QUICKACK, 0)
}

// closedConn is what is left of an adopted connection that was closed.
type closedConn struct{}

func (closedConn) Read([]byte) (int, error)         { return 0, net.ErrClosed }
func (closedConn) Write([]byte) (int, error)        { return 0, net.ErrClosed }
func (closedConn) Close() error                     { return nil }
func (closedConn) LocalAddr() net.Addr              { return nil }
func (closedConn) RemoteAddr() net.Addr             { return nil }
func (closedConn) SetDeadline(time.Time) error      { return nil }
func (closedConn) SetReadDeadline(time.Time) error  { return nil }
func (closedConn) SetWriteDeadline(time.Time) error { return nil }

// upper is what speaks above a sock: TLS or the sock itself.
type upper interface {
	io.ReadWriteCloser
}

// tlsConfig is the same for all servers: X25519 and ECDSA or RSA, as what all of them can do, no tickets, since a person's client seldom has one that
// still counts. Certificates are not checked against a root; the handshake's signature is.
func tlsConfig(domain string) *tls.Config {
	return &tls.Config{
		ServerName: domain, InsecureSkipVerify: true, // a test server's own certificate
		CurvePreferences: []tls.CurveID{tls.X25519}, DynamicRecordSizingDisabled: true, MinVersion: tls.VersionTLS12,
	}
}
