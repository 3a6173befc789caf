package sfu

import (
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// tcpFrame is the longest datagram that is taken over TCP; nobody who speaks ICE, DTLS or RTP sends longer ones.
	tcpFrame = 2048
	// tcpReadSize is the buffer of a connection: some frames at once.
	tcpReadSize = 8 << 10
	// tcpBatch is how many datagrams are handled together.
	tcpBatch = 32
	// tcpQueue bounds the bytes that wait for a connection, one second at 2 Mbit/s. What comes while it is full is dropped and counted
	// (drop_tcp_queue), as a router would do with UDP: old media is worth nothing.
	tcpQueue = 256 << 10
	// tcpStall ends a connection that has taken nothing for so long.
	tcpStall = 10 * time.Second
	// tcpUnsent is how much the kernel may hold unsent: what waits there can no longer be dropped.
	tcpUnsent = 32 << 10
)

// tcpConn is one connection. Its reading goroutine does what a UDP socket's does (inject); another one writes what the rest of the SFU has sent.
type tcpConn struct {
	s     *SFU
	end   tcpEnd
	conn  *net.TCPConn
	owner atomic.Pointer[transport] // who has proved a password over it, written with tcpServer.mu held
	wake  chan struct{}             // there is something to write, or it has ended

	mu    sync.Mutex // guards all below
	queue []byte     // frames
	ended bool
}

func newTCPConn(s *SFU, end tcpEnd, conn *net.TCPConn) *tcpConn {
	limitUnsent(conn)
	return &tcpConn{s: s, end: end, conn: conn, wake: make(chan struct{}, 1)}
}

// claim makes t the owner.
func (c *tcpConn) claim(t *transport) {
	old := c.owner.Load()
	if old == t || c.conn == nil {
		return
	}
	x := &c.s.tcp
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.conns[c.end] != c {
		return // it has just ended
	}
	if t.streams >= tcpOfOne {
		c.s.count.inc(cTCPRefused)
		_ = c.conn.Close()
		return
	}
	if old == nil {
		x.known(c)
	} else {
		old.streams--
	}
	t.streams++
	c.owner.Store(t)
}

// read is the goroutine that takes what comes.
func (c *tcpConn) read() {
	defer c.close()
	buf := make([]byte, tcpReadSize)
	pkts := make([][]byte, 0, tcpBatch)
	began := time.Now()
	if c.conn.SetReadDeadline(began.Add(tcpProof)) != nil {
		return
	}
	extended := began
	have := 0
	for {
		n, err := c.conn.Read(buf[have:])
		if err != nil {
			return
		}
		have += n
		used := 0
		for used < have {
			var size int
			var ok bool
			if pkts, size, ok = deframe(buf[used:have], pkts[:0]); !ok {
				c.s.count.inc(cTCPMalformed)
				return
			}
			if size == 0 {
				break
			}
			used += size
			c.s.count.add(cTCPIn, uint64(len(pkts)))
			c.s.inject(c.owner.Load(), c.end.local, c.end.remote, pkts)
		}
		have = copy(buf, buf[used:have])
		// Only whole datagrams of who has proved a password buy time.
		if now := time.Now(); used > 0 && c.owner.Load() != nil && now.Sub(extended) > time.Second {
			extended = now
			if c.conn.SetReadDeadline(now.Add(c.s.cfg.ConsentTimeout)) != nil {
				return
			}
		}
	}
}

// deframe cuts datagrams out of b (RFC 4571 §2), at most as many as pkts has room for, and says how many bytes they took. Empty frames are left
// out. It is not ok when there is a frame that is too long.
func deframe(b []byte, pkts [][]byte) (out [][]byte, used int, ok bool) {
	for len(b)-used >= 2 && len(pkts) < cap(pkts) {
		n := int(binary.BigEndian.Uint16(b[used:]))
		if n > tcpFrame {
			return pkts, used, false
		}
		if len(b)-used-2 < n {
			break
		}
		if n > 0 {
			pkts = append(pkts, b[used+2:used+2+n:used+2+n])
		}
		used += 2 + n
	}
	return pkts, used, true
}

// send implements carrier.
func (c *tcpConn) send(_ int, pkts ...[]byte) {
	dropped := 0
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		c.s.count.add(cDropTCPGone, uint64(len(pkts)))
		return
	}
	for _, p := range pkts {
		if len(c.queue)+2+len(p) > tcpQueue {
			dropped++
			continue
		}
		c.queue = binary.BigEndian.AppendUint16(c.queue, uint16(len(p)))
		c.queue = append(c.queue, p...)
	}
	c.mu.Unlock()
	c.s.count.add(cTCPOut, uint64(len(pkts)-dropped))
	c.s.count.add(cDropTCPQueue, uint64(dropped))
	c.hurry()
}

func (c *tcpConn) hurry() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// write is the goroutine that writes the queue.
func (c *tcpConn) write() {
	var batch []byte
	for range c.wake {
		c.mu.Lock()
		ended := c.ended
		c.queue, batch = batch[:0], c.queue
		if cap(c.queue) > tcpQueue/4 {
			c.queue = nil // a burst is over
		}
		c.mu.Unlock()
		if ended {
			return
		}
		if len(batch) == 0 {
			continue
		}
		err := c.conn.SetWriteDeadline(time.Now().Add(tcpStall))
		if err == nil {
			_, err = c.conn.Write(batch)
		}
		if err != nil {
			c.s.count.inc(cTCPStalled)
			_ = c.conn.Close() // read sees it
		}
	}
}

// close ends the connection, and tells the owner's ICE.
func (c *tcpConn) close() {
	_ = c.conn.Close()
	c.mu.Lock()
	c.ended, c.queue = true, nil
	c.mu.Unlock()
	c.hurry()
	if t := c.s.tcp.leave(c); t != nil {
		t.lostTCP(c.end)
	}
}
