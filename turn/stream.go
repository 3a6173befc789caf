package turn

import (
	"crypto/tls"
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

	// firstBuffer and maxBuffer are what a connection is read with, bytes: a silent one needs little, a busy one is read many frames at
	// a time. maxBuffer is also the longest frame.
	firstBuffer, maxBuffer = 2 << 10, 32 << 10
	// outboxSize is how much waits for a client that is slower than its peers, bytes: 100 ms of 20 Mbit/s. When it is full what comes
	// is dropped, as a full socket buffer would do; counted as queue_full.
	outboxSize = 256 << 10
	// keepOutbox is the largest buffer that is kept for the next one who has something to write.
	keepOutbox = 64 << 10
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
	l := &streamLink{s: s, conn: c, from: from}
	if !s.track(l) {
		l.Close()
		return
	}
	if t, ok := c.(*tls.Conn); ok && !t.ConnectionState().HandshakeComplete {
		if s.enter() {
			go l.handshake(t)
		} else {
			l.Close()
		}
		return
	}
	l.begin()
}

// handshake has a goroutine of its own, which ends with it: it takes ten times the stack that the connection needs later.
func (l *streamLink) handshake(t *tls.Conn) {
	defer l.s.leave()
	if t.SetDeadline(time.Now().Add(l.s.cfg.IdleTimeout)) != nil || t.Handshake() != nil || t.SetDeadline(time.Time{}) != nil {
		l.s.count.malformed.Add(1)
		l.Close()
		return
	}
	l.begin()
}

// begin serves the connection.
func (l *streamLink) begin() {
	var err error
	if l.pump, err = l.s.streamLoop(); err == nil {
		l.gate = l.s.newGate(l, false, nil, nil)
		err = l.s.serve(l.gate)
	}
	if err != nil {
		if !errors.Is(err, net.ErrClosed) {
			l.s.log.Warn("connection not served", "err", err)
		}
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

	// Of the gate's goroutine: buf[start:end] is read but not handed out; skip bytes of a frame that is too long are still to come.
	buf        []byte
	small      []byte // buf of a connection that is not busy
	start, end int
	skip       int
	frames     []udpio.Datagram

	mu      sync.Mutex // guards the fields below
	outbox  []byte     // frames that wait for writeLoop
	writing bool       // writeLoop runs
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

// makeRoom moves the part of a frame that is there to the front. A buffer that was filled gives way to a large one, until what
// comes fits the small one.
func (l *streamLink) makeRoom() {
	rest, full, large := l.buf[l.start:l.end], l.end == len(l.buf), len(l.buf) == maxBuffer
	switch {
	case l.small == nil:
		l.small = make([]byte, firstBuffer)
		l.buf = l.small
	case full && !large:
		l.buf = l.s.reads.Get().([]byte)
	case large && l.end <= firstBuffer && len(rest) == 0:
		l.s.reads.Put(l.buf) //nolint:staticcheck // the slice's head is allocated once for many frames
		l.buf = l.small
	}
	l.start, l.end = 0, copy(l.buf, rest)
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
	start := false
	if !full {
		if l.outbox == nil {
			l.outbox = l.s.writes.Get().([]byte)
		}
		l.outbox = append(append(append(l.outbox, head...), data...), "\x00\x00\x00"[:padding]...)
		start = !l.writing && l.s.enter()
		l.writing = l.writing || start
	}
	l.mu.Unlock()
	if full {
		l.s.count.queueFull.Add(1)
	}
	if start {
		go l.writeLoop()
	}
}

// writeLoop writes what waits, all at once, until nothing waits any more. A client that takes nothing for WriteTimeout is cut off: a frame
// written in part cannot be taken back.
func (l *streamLink) writeLoop() {
	defer l.s.leave()
	for {
		l.mu.Lock()
		out := l.outbox
		l.outbox = nil
		l.writing = len(out) > 0
		l.mu.Unlock()
		if len(out) == 0 {
			return
		}
		err := l.conn.SetWriteDeadline(time.Now().Add(l.s.cfg.WriteTimeout))
		if err == nil {
			err = l.writeFrames(out)
		}
		if cap(out) <= keepOutbox {
			l.s.writes.Put(out[:0]) //nolint:staticcheck // the slice's head is allocated once for many frames
		}
		if err != nil { // writing stays true: nothing more goes to a connection that is closed
			if errors.Is(err, os.ErrDeadlineExceeded) {
				l.s.count.streamsSlow.Add(1)
			}
			l.Close()
			return
		}
	}
}

// writeFrames writes whole frames: over TLS each in a record of its own, because some clients take what one SSL_read gives them for one
// message (coturn's turnutils_uclient), over TCP all at once.
func (l *streamLink) writeFrames(p []byte) error {
	t, ok := l.conn.(*tls.Conn)
	if !ok {
		_, err := l.conn.Write(p)
		return err
	}
	cork, corked := t.NetConn().(*corkedConn)
	if corked {
		cork.hold(l.s.writes.Get().([]byte))
	}
	var err error
	for len(p) > 0 && err == nil {
		n := len(p)
		if size, e := frameSize(p); e == nil && size > 0 {
			n = min(size, n)
		}
		_, err = t.Write(p[:n])
		p = p[n:]
	}
	if corked {
		held, e := cork.release()
		if cap(held) <= keepOutbox {
			l.s.writes.Put(held[:0]) //nolint:staticcheck // see writeLoop
		}
		err = errors.Join(err, e)
	}
	return err
}

// corkedConn lets many TLS records leave with one system call.
type corkedConn struct {
	net.Conn

	mu   sync.Mutex // guards held; TLS writes from its reader too
	held []byte     // nil: not corked
}

// Write keeps p while the connection is corked.
func (c *corkedConn) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		return c.Conn.Write(p)
	}
	c.held = append(c.held, p...)
	return len(p), nil
}

// hold corks the connection; buf, which is empty but not nil, takes what is written.
func (c *corkedConn) hold(buf []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = buf
}

// release writes what was kept and gives the buffer back.
func (c *corkedConn) release() ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	held := c.held
	c.held = nil
	_, err := c.Conn.Write(held)
	return held, err
}

// tlsListener makes TLS connections that can be corked.
type tlsListener struct {
	net.Listener
	config *tls.Config
}

// Accept gives a *tls.Conn before its handshake.
func (l tlsListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return tls.Server(&corkedConn{Conn: c}, l.config), nil
}

func (l *streamLink) loop() *udpio.Loop { return l.pump }

func (l *streamLink) local() net.Addr { return l.conn.LocalAddr() }

func (l *streamLink) netAddr(netip.AddrPort) net.Addr { return l.conn.RemoteAddr() }

// Close closes the connection; further calls do nothing.
func (l *streamLink) Close() error {
	if !l.done.CompareAndSwap(false, true) {
		return nil
	}
	l.s.forget(l)
	l.s.reg.removeStream(l.from.Addr())
	return l.conn.Close()
}
