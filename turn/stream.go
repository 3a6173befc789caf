package turn

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"konzil/internal/udpio"
)

const (
	// busyTimeout is the longest silence of a connection with an allocation: it has to be refreshed within an hour, which is
	// pion/turn's longest lifetime.
	busyTimeout = time.Hour + time.Minute
	// acceptPause is how long accepting waits when the process has no file descriptor left.
	acceptPause = 50 * time.Millisecond

	// firstBuffer and maxBuffer bound what a connection is read with, bytes: a silent one needs little, a busy one is read many frames at
	// a time. maxBuffer is also the longest frame.
	firstBuffer, maxBuffer = 2 << 10, 32 << 10
	// outboxSize is how much waits for a client that is slower than its peers, bytes: 100 ms of 20 Mbit/s. When it is full what comes
	// is dropped, as a full socket buffer would do; counted as queue_full.
	outboxSize = 256 << 10
	// keepOutbox is the largest buffer that an idle connection keeps.
	keepOutbox = 8 << 10
)

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
	pump, err := s.streamLoop()
	if err != nil {
		if !errors.Is(err, net.ErrClosed) {
			s.log.Warn("connection not accepted", "err", err)
		}
		s.reg.removeStream(from.Addr())
		c.Close()
		return
	}
	l := &streamLink{s: s, conn: c, pump: pump, from: from, wake: make(chan struct{}, 1), gone: make(chan struct{})}
	g := s.newGate(l, false, nil, nil)
	l.gate = g
	if !s.track(l) || !s.enter() {
		l.Close()
		return
	}
	go l.writeLoop()
	if err := s.serve(g); err != nil {
		l.Close()
	}
}

// streamLoop is the loop of all streams' relay sockets, made with the first stream.
func (s *Server) streamLoop() (*udpio.Loop, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.pump != nil {
		return s.pump, nil
	}
	if s.closed {
		return nil, net.ErrClosed
	}
	loop, err := udpio.NewLoop()
	if err != nil {
		return nil, err
	}
	s.pump = loop
	s.open[loop] = struct{}{}
	s.running.Add(1)
	go s.pumpLoop(loop)
	return loop, nil
}

// pumpLoop takes what peers send to the relays of streams.
func (s *Server) pumpLoop(loop *udpio.Loop) {
	defer s.leave()
	out := outlet{count: &s.count}
	for {
		batch, err := loop.Read()
		if err != nil {
			return
		}
		out.now = s.clock()
		s.count.socketIn.Add(uint64(len(batch)))
		for i := range batch {
			if r, ok := batch[i].Sock.Owner().(*relay); ok {
				r.fromPeer(&out, batch[i].From, batch[i].Data)
			}
		}
		out.flush()
	}
}

// streamLink cuts a TCP or TLS connection into frames (RFC 8489 §6.2.2, RFC 8656 §12.5), and writes frames to it many at a time.
type streamLink struct {
	s    *Server
	conn net.Conn
	from netip.AddrPort
	gate *gate
	pump *udpio.Loop
	done atomic.Bool
	gone chan struct{} // closed by Close
	wake chan struct{} // of writeLoop

	// Of the gate's goroutine: buf[start:end] is read but not handed out; skip bytes of a frame that is too long are still to come.
	buf        []byte
	start, end int
	skip       int
	frames     []udpio.Datagram

	mu     sync.Mutex // guards outbox
	outbox []byte     // frames that wait for writeLoop
}

// read gives the whole frames that are there. A frame longer than maxBuffer is skipped. The time for a frame is that of the whole frame, not of each byte.
func (l *streamLink) read() ([]udpio.Datagram, error) {
	l.relax()
	timeout := l.s.cfg.IdleTimeout
	if l.gate.client(l.from) != nil {
		timeout = busyTimeout
	}
	if err := l.conn.SetReadDeadline(time.Now().Add(timeout)); err != nil {
		return nil, err
	}
	for {
		l.frames = l.frames[:0]
		err := l.cut()
		if err != nil && len(l.frames) == 0 {
			l.s.count.malformed.Add(1)
			return nil, err
		}
		if len(l.frames) > 0 { // rubbish behind them is met again
			if l.gate.up == nil {
				l.gate.up = l.s.fans.Get().(*udpio.Fan)
			}
			return l.frames, nil
		}
		l.makeRoom()
		n, err := l.conn.Read(l.buf[l.end:])
		l.end += n
		if err != nil && n == 0 {
			return nil, err
		}
	}
}

// relax gives the fan back: of many connections few are busy at the same time.
func (l *streamLink) relax() {
	if l.gate.up != nil {
		l.s.fans.Put(l.gate.up)
		l.gate.up = nil
	}
}

// makeRoom moves the part of a frame that is there to the front. A buffer that was filled grows.
func (l *streamLink) makeRoom() {
	full := l.end == len(l.buf)
	l.end = copy(l.buf, l.buf[l.start:l.end])
	l.start = 0
	if full && len(l.buf) < maxBuffer {
		next := make([]byte, max(firstBuffer, 2*len(l.buf)))
		copy(next, l.buf[:l.end])
		l.buf = next
	}
}

// cut takes the whole frames out of the buffer.
func (l *streamLink) cut() error {
	for {
		if l.skip > 0 {
			n := min(l.skip, l.end-l.start)
			l.start += n
			l.skip -= n
		}
		rest := l.buf[l.start:l.end]
		n, err := frameSize(rest)
		switch {
		case err != nil:
			return err
		case n == 0:
			return nil
		case n > maxBuffer:
			l.s.count.oversized.Add(1)
			l.skip = n
		case n > len(rest):
			return nil
		default:
			l.frames = append(l.frames, udpio.Datagram{Data: rest[:n:n], From: l.from})
			l.start += n
		}
	}
}

// frameSize gives the size of the STUN message or channel data with its padding that p begins with, 0 when too little is there to tell.
func frameSize(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if p[0]>>6 > 1 {
		return 0, errFrame
	}
	if len(p) < 4 {
		return 0, nil
	}
	length := int(binary.BigEndian.Uint16(p[2:]))
	if p[0]>>6 == 1 {
		return 4 + (length+3)&^3, nil // padded over streams
	}
	if length%4 != 0 { // RFC 8489 §5
		return 0, errFrame
	}
	return stunHeader + length, nil
}

// write queues a message for writeLoop.
func (l *streamLink) write(p []byte, _ netip.AddrPort) error {
	l.queue(nil, p, 0)
	return nil
}

func (l *streamLink) frame(_ *outlet, _ netip.AddrPort, head [4]byte, data []byte) {
	l.queue(head[:], data, -len(data)&3)
}

func (l *streamLink) message(_ *outlet, _ netip.AddrPort, p []byte) { l.queue(nil, p, 0) }

func (l *streamLink) queue(head, data []byte, padding int) {
	l.mu.Lock()
	full := len(l.outbox)+len(head)+len(data)+padding > outboxSize
	if !full {
		l.outbox = append(append(append(l.outbox, head...), data...), "\x00\x00\x00"[:padding]...)
	}
	l.mu.Unlock()
	if full {
		l.s.count.queueFull.Add(1)
		return
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

// writeLoop writes what waits, all at once, until the connection ends. A client that takes nothing for WriteTimeout is cut off: a frame
// written in part cannot be taken back.
func (l *streamLink) writeLoop() {
	defer l.s.leave()
	var spare []byte
	for {
		select {
		case <-l.wake:
		case <-l.gone:
			return
		}
		l.mu.Lock()
		out := l.outbox
		l.outbox = spare[:0]
		l.mu.Unlock()
		if err := l.conn.SetWriteDeadline(time.Now().Add(l.s.cfg.WriteTimeout)); err != nil {
			l.Close()
			return
		}
		if err := l.writeFrames(out); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				l.s.count.streamsSlow.Add(1)
			}
			l.Close()
			return
		}
		if spare = out; cap(spare) > keepOutbox {
			spare = nil
		}
	}
}

// writeFrames writes whole frames: over TLS each in a record of its own, because some clients take what one SSL_read gives them for one
// message (coturn's turnutils_uclient), over TCP all at once.
func (l *streamLink) writeFrames(p []byte) error {
	_, plain := l.conn.(*net.TCPConn)
	for len(p) > 0 {
		n := len(p)
		if size, err := frameSize(p); !plain && err == nil && size > 0 {
			n = min(size, n)
		}
		if _, err := l.conn.Write(p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	return nil
}

func (l *streamLink) loop() *udpio.Loop { return l.pump }

func (l *streamLink) local() net.Addr { return l.conn.LocalAddr() }

func (l *streamLink) netAddr(netip.AddrPort) net.Addr { return l.conn.RemoteAddr() }

// Close closes the connection; further calls do nothing.
func (l *streamLink) Close() error {
	if !l.done.CompareAndSwap(false, true) {
		return nil
	}
	close(l.gone)
	l.s.forget(l)
	l.s.reg.removeStream(l.from.Addr())
	return l.conn.Close()
}
