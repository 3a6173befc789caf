package udpio

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"syscall"
)

// Sizes of the batches. Each has its reason; none is a protocol limit.
const (
	// ReadBatch is how many datagrams (or coalesced runs) one recvmmsg takes: enough that the call's cost vanishes.
	ReadBatch = 32
	// writeBatch is how many messages one sendmmsg carries.
	writeBatch = 64
	// MaxSegments bounds a run: kernels before 6.9 refuse more than 64.
	MaxSegments = 64
	// maxRun is the most bytes of a run: the largest UDP payload over IPv4.
	maxRun = 65507
	// maxDatagram is the largest datagram taken in when the kernel does not coalesce.
	maxDatagram = 2048
)

// Options of a socket. Buffers are bytes; 0 leaves the system's default.
type Options struct {
	ReusePort  bool // let several sockets share the port; the kernel spreads flows over them
	ReadBuffer int
	WriteBuf   int
	NoOffload  bool // neither UDP_GRO nor UDP_SEGMENT
}

// Packet is one datagram. Data is valid until the next Read.
type Packet struct {
	Data []byte
	From netip.AddrPort
}

// Conn is one UDP socket.
type Conn struct {
	udp   *net.UDPConn
	raw   syscall.RawConn
	local netip.AddrPort
	v6    bool
	gro   bool
	gso   atomic.Bool // cleared for good when the kernel refuses a run
	df    atomic.Bool // never fragmented; cleared for good when a path is too narrow for what is sent

	writeBuf int
	out      *handle // only sends (SendApart); nil: the socket itself does

	segmented atomic.Uint64 // runs sent with UDP_SEGMENT
}

// Listen opens a UDP socket. The error names the address.
func Listen(addr netip.AddrPort, opt Options) (*Conn, error) {
	network := "udp4"
	if addr.Addr().Is6() && !addr.Addr().Is4In6() {
		network = "udp6"
	}
	// A port that the kernel chooses is to be a free one: with the option it may choose one that another socket has, which has the option too.
	var lc net.ListenConfig
	if opt.ReusePort && addr.Port() != 0 {
		lc.Control = func(_, _ string, c syscall.RawConn) error { return sharePort(c) }
	}
	pc, err := lc.ListenPacket(context.Background(), network, addr.String())
	if err != nil {
		return nil, fmt.Errorf("udpio: listen %s: %w", addr, err)
	}
	udp, ok := pc.(*net.UDPConn)
	if !ok {
		_ = pc.Close()
		return nil, fmt.Errorf("udpio: listen %s: not a UDP socket", addr)
	}
	// Buffers that the system caps lower are no reason to fail.
	if opt.ReadBuffer > 0 {
		_ = udp.SetReadBuffer(opt.ReadBuffer)
	}
	if opt.WriteBuf > 0 {
		_ = udp.SetWriteBuffer(opt.WriteBuf)
	}
	raw, err := udp.SyscallConn()
	if err != nil {
		_ = udp.Close()
		return nil, fmt.Errorf("udpio: listen %s: %w", addr, err)
	}
	if opt.ReusePort && addr.Port() == 0 {
		if err := sharePort(raw); err != nil {
			_ = udp.Close()
			return nil, fmt.Errorf("udpio: listen %s: %w", addr, err)
		}
	}
	la, _ := udp.LocalAddr().(*net.UDPAddr)
	c := &Conn{udp: udp, raw: raw, local: unmap(la.AddrPort()), v6: network == "udp6", writeBuf: opt.WriteBuf}
	c.df.Store(!c.v6 && dontFragment(raw, true))
	if !opt.NoOffload {
		gro, gso := offload(raw)
		c.gro = gro
		c.gso.Store(gso)
	}
	return c, nil
}

// LocalAddr is the bound address.
func (c *Conn) LocalAddr() netip.AddrPort { return c.local }

// Segmented counts the runs that went out as one message with UDP_SEGMENT.
func (c *Conn) Segmented() uint64 { return c.segmented.Load() }

// Close closes the socket; a Read under way returns net.ErrClosed.
func (c *Conn) Close() error {
	err := c.udp.Close()
	c.closeSender()
	return err
}

func unmap(a netip.AddrPort) netip.AddrPort {
	if a.Addr().Is4In6() {
		return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
	}
	return a
}
