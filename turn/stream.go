package turn

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"time"
)

// busyTimeout is the longest silence of a connection with an allocation: it has to be refreshed within an hour, which is
// pion/turn's longest lifetime.
const busyTimeout = time.Hour + time.Minute

// acceptPause is how long accepting waits when the process has no file descriptor left.
const acceptPause = 50 * time.Millisecond

var errFrame = errors.New("turn: neither STUN nor channel data")

// acceptLoop takes connections of a TCP or TLS listener until it is closed.
func (s *Server) acceptLoop(l net.Listener) {
	defer s.leave()
	for {
		c, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) || !s.pause(acceptPause) {
				return
			}
			s.log.Warn("connection not accepted", "err", err)
			continue
		}
		s.accept(c)
	}
}

func (s *Server) accept(c net.Conn) {
	from, err := netip.ParseAddrPort(c.RemoteAddr().String())
	if err != nil {
		c.Close()
		return
	}
	from = unmap(from)
	if !s.reg.addStream(from.Addr()) {
		s.count.streamsRefused.Add(1)
		c.Close()
		return
	}
	s.count.streams.Add(1)
	l := &streamLink{s: s, conn: c, from: from, in: bufio.NewReaderSize(c, packetSize)}
	if !s.track(l) {
		l.Close()
		return
	}
	g, err := s.serve(l, false)
	if err != nil {
		l.Close()
		return
	}
	l.gate.Store(g)
}

// streamLink cuts a TCP or TLS connection into frames (RFC 8489 §6.2.2, RFC 8656 §12.5).
type streamLink struct {
	s    *Server
	conn net.Conn
	from netip.AddrPort
	in   *bufio.Reader // of the reading goroutine
	gate gatePointer
	done closeOnce
}

// read gives one whole frame. A frame longer than p is skipped. The time for a frame is that of the whole frame, not of each byte.
func (l *streamLink) read(p []byte) (int, netip.AddrPort, error) {
	for {
		timeout := l.s.cfg.IdleTimeout
		if g := l.gate.Load(); g != nil && g.client(l.from) != nil {
			timeout = busyTimeout
		}
		if err := l.conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
			return 0, l.from, err
		}
		n, fits, err := readFrame(l.in, p)
		if errors.Is(err, errFrame) {
			l.s.count.malformed.Add(1)
		}
		if err != nil {
			return 0, l.from, err
		}
		if fits {
			return n, l.from, nil
		}
		l.s.count.oversized.Add(1)
	}
}

// readFrame reads one STUN message or channel data with its padding. fits is false for a frame not shorter than p, which is skipped.
func readFrame(in *bufio.Reader, p []byte) (n int, fits bool, err error) {
	head, err := in.Peek(4)
	if err != nil {
		return 0, false, err
	}
	length := int(binary.BigEndian.Uint16(head[2:]))
	switch head[0] >> 6 {
	case 0:
		n = stunHeader + length
		if length%4 != 0 { // RFC 8489 §5
			return 0, false, errFrame
		}
	case 1:
		n = 4 + (length+3)&^3 // padded over streams
	default:
		return 0, false, errFrame
	}
	if n >= len(p) {
		_, err = io.CopyN(io.Discard, in, int64(n))
		return n, false, err
	}
	_, err = io.ReadFull(in, p[:n])
	return n, true, err
}

// write sends a frame. A client that takes nothing for WriteTimeout is cut off: a frame written in part cannot be taken back.
func (l *streamLink) write(p []byte, _ netip.AddrPort) error {
	err := l.conn.SetWriteDeadline(time.Now().Add(l.s.cfg.WriteTimeout))
	if err == nil {
		_, err = l.conn.Write(p)
	}
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			l.s.count.streamsSlow.Add(1)
		}
		l.Close()
	}
	return err
}

func (l *streamLink) local() net.Addr { return l.conn.LocalAddr() }

func (l *streamLink) netAddr(netip.AddrPort) net.Addr { return l.conn.RemoteAddr() }

// Close closes the connection; further calls do nothing.
func (l *streamLink) Close() error {
	if !l.done.first() {
		return nil
	}
	l.s.forget(l)
	l.s.reg.removeStream(l.from.Addr())
	return l.conn.Close()
}
