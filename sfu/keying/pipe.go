package keying

import (
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pion/transport/v5/deadline"
)

// pipeQueue bounds the DTLS datagrams waiting for a handshake or for SCTP; beyond it they are dropped, both repeat.
const pipeQueue = 64

// Pipe is the in-memory net.PacketConn that carries the DTLS records of one transport: the demux pushes, pion/dtls
// reads; what it writes goes to the transport's path.
type Pipe struct {
	in    chan []byte
	write func(b []byte)
	rd    *deadline.Deadline
	once  sync.Once
	mute  atomic.Bool // what is written does not go out any more
	done  chan struct{}
}

// pipeAddr stands for "the peer, wherever it is now": paths move below DTLS.
type pipeAddr struct{}

func (pipeAddr) Network() string { return "udp" }
func (pipeAddr) String() string  { return "peer" }

// NewPipe makes a pipe; write sends a record to where the peer is now, and must not block.
func NewPipe(write func(b []byte)) *Pipe {
	return &Pipe{in: make(chan []byte, pipeQueue), write: write, rd: deadline.New(), done: make(chan struct{})}
}

// Push queues a copy of b; false when the queue is full.
func (p *Pipe) Push(b []byte) bool {
	c := make([]byte, len(b))
	copy(c, b)
	select {
	case p.in <- c:
		return true
	default:
		return false
	}
}

// ReadFrom implements net.PacketConn.
func (p *Pipe) ReadFrom(b []byte) (int, net.Addr, error) {
	select {
	case <-p.done:
		return 0, nil, net.ErrClosed
	case <-p.rd.Done():
		return 0, nil, os.ErrDeadlineExceeded
	default:
	}
	select {
	case m := <-p.in:
		return copy(b, m), pipeAddr{}, nil
	case <-p.done:
		return 0, nil, net.ErrClosed
	case <-p.rd.Done():
		return 0, nil, os.ErrDeadlineExceeded
	}
}

// WriteTo implements net.PacketConn.
func (p *Pipe) WriteTo(b []byte, _ net.Addr) (int, error) {
	select {
	case <-p.done:
		return 0, net.ErrClosed
	default:
	}
	if !p.mute.Load() {
		p.write(b)
	}
	return len(b), nil
}

// Close implements net.PacketConn.
func (p *Pipe) Close() error {
	p.once.Do(func() { close(p.done) })
	return nil
}

// LocalAddr implements net.PacketConn.
func (p *Pipe) LocalAddr() net.Addr { return pipeAddr{} }

// SetDeadline implements net.PacketConn.
func (p *Pipe) SetDeadline(t time.Time) error { return p.SetReadDeadline(t) }

// SetReadDeadline implements net.PacketConn.
func (p *Pipe) SetReadDeadline(t time.Time) error { p.rd.Set(t); return nil }

// SetWriteDeadline implements net.PacketConn; writes do not wait.
func (p *Pipe) SetWriteDeadline(time.Time) error { return nil }
