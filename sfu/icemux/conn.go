package icemux

import (
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"

	"github.com/pion/stun/v4"
)

type message struct {
	b    []byte
	from netip.AddrPort
}

// Conn is what one candidate of an agent reads and writes: STUN only.
type Conn struct {
	m     *Mux
	owner Owner
	frag  string
	local int
	in    chan message
	once  sync.Once
	done  chan struct{}
}

// ReadFromAddrPort implements ice.AddrPortReaderWriter.
func (c *Conn) ReadFromAddrPort(b []byte) (int, netip.AddrPort, error) {
	select {
	case m := <-c.in:
		return copy(b, m.b), m.from, nil
	case <-c.done:
		return 0, netip.AddrPort{}, io.EOF
	}
}

// WriteToAddrPort implements ice.AddrPortReaderWriter. A request is remembered for its response; a success response
// validates the address it goes to.
func (c *Conn) WriteToAddrPort(b []byte, to netip.AddrPort) (int, error) {
	select {
	case <-c.done:
		return 0, io.ErrClosedPipe
	default:
	}
	if to.Addr().Is4() != c.m.locals[c.local].Addr().Is4() {
		return len(b), nil // another family: this socket cannot reach it
	}
	if len(b) >= 20 && stun.IsMessage(b) {
		switch b[0]&1<<1 | b[1]>>4&1 {
		case 0:
			var id txID
			copy(id[:], b[8:20])
			c.m.remember(id, c)
		case 2:
			c.owner.Validated(c.local, to)
			c.owner.Heard(to)
		}
	}
	c.m.send(c.local, b, to)
	return len(b), nil
}

// ReadFrom implements net.PacketConn.
func (c *Conn) ReadFrom(b []byte) (int, net.Addr, error) {
	n, from, err := c.ReadFromAddrPort(b)
	if err != nil {
		return n, nil, err
	}
	return n, net.UDPAddrFromAddrPort(from), nil
}

// WriteTo implements net.PacketConn.
func (c *Conn) WriteTo(b []byte, to net.Addr) (int, error) {
	u, ok := to.(*net.UDPAddr)
	if !ok {
		return 0, os.ErrInvalid
	}
	ap := u.AddrPort()
	return c.WriteToAddrPort(b, netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()))
}

// LocalAddr implements net.PacketConn.
func (c *Conn) LocalAddr() net.Addr { return net.UDPAddrFromAddrPort(c.m.locals[c.local]) }

// Close ends reads and writes.
func (c *Conn) Close() error {
	c.once.Do(func() {
		close(c.done)
		c.m.drop(c)
	})
	return nil
}

// SetDeadline does nothing: reads end by Close, writes do not wait.
func (c *Conn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (c *Conn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (c *Conn) SetWriteDeadline(time.Time) error { return nil }
