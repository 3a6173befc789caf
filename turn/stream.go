package turn

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"konzil/internal/udpio"
)

const (
	// busyTimeout is the longest silence of a connection with an allocation: it has to be refreshed within an hour, which is
	// pion/turn's longest lifetime.
	busyTimeout = time.Hour + time.Minute
	// minSweep and maxSweep bound the time between two looks at all connections, which are four in the shortest timeout.
	minSweep, maxSweep = 5 * time.Millisecond, 4 * time.Second

	// streamArena is what is read of all connections at a time, bytes: frames for as many messages as leave at a time.
	streamArena = 512 << 10
	// streamMessages and streamRun bound what that leads to before it is sent.
	streamMessages, streamRun = 256, 16

	// outboxSize is how much waits for a client that is slower than its peers, bytes: 100 ms of 20 Mbit/s. When it is full what comes
	// is dropped, as a full socket buffer would do; counted as queue_full.
	outboxSize = 256 << 10
)

// streamLink is the TCP and TLS connections of a gate and the relay sockets of their clients, in one loop: as over UDP both directions of an
// allocation are served by one goroutine, and a silent connection holds no buffer.
type streamLink struct {
	s    *Server
	in   *udpio.Loop
	gate *gate

	// Of the gate's goroutine.
	arena []byte // of the frames in batch
	free  func() // arena
	batch []udpio.Datagram
	ended []*stream // whose last frames are in batch

	mu      sync.RWMutex // guards the fields below
	streams map[netip.AddrPort]*stream
	closed  bool
}

// add takes a connection in; false: there is one from that address.
func (l *streamLink) add(c *stream) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.streams[c.from] != nil || l.closed {
		return false
	}
	c.link.Store(l)
	c.heard.Store(l.s.clock())
	l.streams[c.from] = c
	return true
}

func (l *streamLink) remove(c *stream) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.streams[c.from] == c {
		delete(l.streams, c.from)
	}
}

// stream gives the connection of a client.
func (l *streamLink) stream(a netip.AddrPort) *stream {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.streams[a]
}

// read gives what has come to relay sockets, and the whole frames that connections have brought.
func (l *streamLink) read() ([]udpio.Datagram, error) {
	for {
		for _, c := range l.ended {
			c.Close()
		}
		l.ended = l.ended[:0]
		batch, err := l.in.Read()
		if err != nil {
			l.free()
			return nil, err
		}
		l.batch = append(l.batch[:0], batch...)
		room := l.arena
		for _, tcp := range l.in.Streams() {
			c, _ := tcp.Owner().(*stream)
			if len(room) < maxFrame {
				l.in.Again(tcp)
				continue
			}
			n, err := l.take(c, room[:maxFrame])
			room = room[n:]
			if err != nil {
				l.ended = append(l.ended, c)
			}
			c.flush() // what TLS answers by itself, and what the connection did not take before
		}
		if len(l.batch)+len(l.in.Refused()) > 0 {
			return l.batch, nil
		}
	}
}

// take reads a connection into buf, as much as fits, and cuts it into frames. It returns how much of buf they take.
func (l *streamLink) take(c *stream, buf []byte) (int, error) {
	n := copy(buf, c.in.rest)
	c.in.rest = c.in.rest[:0]
	var err error
	for err == nil && n < len(buf) {
		var got int
		got, err = c.conn.Read(buf[n:])
		n += got
	}
	if err == nil {
		l.in.Again(c.tcp)
	}
	if errors.Is(err, udpio.ErrAgain) {
		err = nil
	}
	before := len(l.batch)
	frames, oversized, bad := c.in.cut(buf[:n], c.from, l.batch)
	l.batch = frames
	if oversized > 0 {
		l.s.count.oversized.Add(oversized)
	}
	if len(frames) > before || oversized > 0 { // the time for a frame is that of the whole frame, not of each byte
		c.heard.Store(l.s.clock())
	}
	if bad != nil {
		l.s.count.malformed.Add(1)
		err = bad
	}
	return n, err
}

// sweep closes what is silent or slow for too long; now is of Server.clock.
func (l *streamLink) sweep(now int64) {
	var all []*stream
	l.mu.RLock()
	for _, c := range l.streams {
		if c.slow(now) || c.silent(now) {
			all = append(all, c)
		}
	}
	l.mu.RUnlock()
	for _, c := range all {
		if c.slow(now) {
			l.s.count.streamsSlow.Add(1)
		}
		c.Close()
	}
}

func (l *streamLink) refused() []udpio.Refusal { return l.in.Refused() }

// write sends a message at once, with what waits.
func (l *streamLink) write(p []byte, to netip.AddrPort) error {
	c := l.stream(to)
	if c == nil {
		return net.ErrClosed
	}
	c.queue(nil, p, 0)
	c.flush()
	return nil
}

func (l *streamLink) frame(o *outlet, to netip.AddrPort, head [4]byte, data []byte) {
	if c := o.streamTo(l, to); c != nil {
		c.queue(head[:], data, -len(data)&3)
	}
}

func (l *streamLink) message(o *outlet, to netip.AddrPort, p []byte) {
	if c := o.streamTo(l, to); c != nil {
		c.queue(nil, p, 0)
	}
}

func (l *streamLink) loop() *udpio.Loop { return l.in }

// local is the same for all connections: pion/turn tells allocations apart by the client's address.
func (l *streamLink) local() net.Addr { return &net.TCPAddr{} }

func (l *streamLink) netAddr(a netip.AddrPort) net.Addr { return net.TCPAddrFromAddrPort(a) }

// Close closes all connections; read then returns an error.
func (l *streamLink) Close() error {
	l.mu.Lock()
	l.closed = true
	all := make([]*stream, 0, len(l.streams))
	for _, c := range l.streams {
		all = append(all, c)
	}
	l.mu.Unlock()
	err := l.in.Close()
	for _, c := range all {
		c.Close()
	}
	return err
}

// stream is one TCP or TLS connection.
type stream struct {
	s      *Server
	conn   net.Conn // tcp, or TLS above it
	tcp    *udpio.Stream
	secure bool
	from   netip.AddrPort
	done   atomic.Bool

	// Of the link's goroutine.
	in framer

	link  atomic.Pointer[streamLink] // nil: in its handshake
	heard atomic.Int64               // when the last whole frame came, of Server.clock

	mu     sync.Mutex // guards the fields below, and the order of what is written
	frames []byte     // for TLS, until flush; nil: none
	owed   int        // bytes that are to be gone
	due    int64      // at this time, of Server.clock; 0: nothing waits
}

// queue keeps head, data and padding for flush. A client that is slower than its peers loses what does not fit.
func (c *stream) queue(head, data []byte, padding int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tcp.Waiting()+len(c.frames)+len(head)+len(data)+padding > outboxSize {
		c.s.count.queueFull.Add(1)
		return
	}
	if !c.secure {
		c.tcp.Append(head, data, zeros[:padding])
		return
	}
	if c.frames == nil {
		c.frames = c.s.writes.Get().([]byte)
	}
	c.frames = append(append(append(c.frames, head...), data...), zeros[:padding]...)
}

var zeros [3]byte

// flush sends what was queued, as much as the connection takes.
func (c *stream) flush() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.frames) > 0 {
		c.encrypt()
	}
	sent, left, _ := c.tcp.Flush() // who is gone is found out by reading
	c.owed -= sent
	switch {
	case left == 0:
		c.owed, c.due = 0, 0
	case c.owed <= 0:
		c.owed, c.due = left, c.s.clock()+int64(c.s.cfg.WriteTimeout)
	}
}

// encrypt puts each frame into a TLS record of its own, because some clients take what one SSL_read gives them for one message (coturn's
// turnutils_uclient). All leave with one system call. The caller holds mu.
func (c *stream) encrypt() {
	for p := c.frames; len(p) > 0; {
		n := len(p)
		if size, err := frameSize(p); err == nil && size > 0 {
			n = min(size, n)
		}
		_, _ = c.conn.Write(p[:n]) // what TLS refuses is for a connection that is over
		p = p[n:]
	}
	if cap(c.frames) <= keepOutbox {
		//lint:ignore SA6002 the slice's head is allocated once for many frames
		c.s.writes.Put(c.frames[:0])
	}
	c.frames = nil
}

// keepOutbox is the largest buffer that is kept for the next one who has something to write, bytes.
const keepOutbox = 64 << 10

// slow tells whether what waited WriteTimeout ago is still there: a frame written in part cannot be taken back, and the client is to be cut off.
func (c *stream) slow(now int64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.due != 0 && now > c.due
}

// silent tells whether a client has said nothing for too long.
func (c *stream) silent(now int64) bool {
	timeout := c.s.cfg.IdleTimeout
	if c.link.Load().gate.client(c.from) != nil {
		timeout = busyTimeout
	}
	return now-c.heard.Load() > int64(timeout)
}

// Close closes the connection and ends its allocation; further calls do nothing.
func (c *stream) Close() error {
	if !c.done.CompareAndSwap(false, true) {
		return nil
	}
	l := c.link.Load()
	if l == nil {
		c.s.forget(c)
	} else if t, ok := c.conn.(interface{ CloseWrite() error }); ok && c.secure {
		_ = t.CloseWrite() // its last word (RFC 8446 §6.1), if there is room for it
		c.flush()
	}
	err := c.tcp.Close()
	if l != nil {
		l.remove(c)
		if r := l.gate.client(c.from); r != nil {
			r.Close()
		}
	}
	c.s.reg.removeStream(c.from.Addr())
	return err
}
