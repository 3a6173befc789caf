//go:build !linux

package udpio

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
)

func sharePort(syscall.RawConn) error { return nil }

func offload(syscall.RawConn) (gro, gso bool) { return false, false }

func dontFragment(syscall.RawConn, bool) bool { return false }

// WriteTo sends one datagram; safe for concurrent use, for control traffic.
func (c *Conn) WriteTo(b []byte, to netip.AddrPort) error {
	_, err := c.udp.WriteToUDPAddrPort(b, to)
	return err
}

// Reader reads from one Conn, one datagram a call.
type Reader struct {
	c    *Conn
	buf  []byte
	pkts [1]Packet
}

// NewReader makes a reader with its own buffer.
func (c *Conn) NewReader() *Reader { return &Reader{c: c, buf: make([]byte, maxDatagram)} }

// Read waits for a datagram; it is valid until the next Read. net.ErrClosed ends it.
func (r *Reader) Read() ([]Packet, error) {
	for {
		n, from, err := r.c.udp.ReadFromUDPAddrPort(r.buf)
		if errors.Is(err, net.ErrClosed) {
			return nil, net.ErrClosed
		}
		if err != nil || n == 0 {
			continue
		}
		r.pkts[0] = Packet{Data: r.buf[:n], From: unmap(from)}
		return r.pkts[:], nil
	}
}

// Serve hands all that comes to handle until the socket is closed.
func (r *Reader) Serve(handle func([]Packet)) error {
	for {
		pkts, err := r.Read()
		if err != nil {
			return err
		}
		handle(pkts)
	}
}

// WriteStats counts what a Writer did.
type WriteStats struct {
	Packets, Messages, Calls, Dropped uint64
}

// Writer sends over one Conn, one datagram a call.
type Writer struct {
	c     *Conn
	Stats WriteStats
}

// NewWriter makes a writer.
func (c *Conn) NewWriter() *Writer { return &Writer{c: c} }

// Conn is the socket written to.
func (w *Writer) Conn() *Conn { return w.c }

// Add sends one datagram.
func (w *Writer) Add(to netip.AddrPort, b []byte) {
	w.Stats.Calls++
	if err := w.c.WriteTo(b, to); err != nil {
		w.Stats.Dropped++
		return
	}
	w.Stats.Packets++
	w.Stats.Messages++
}

// Flush has nothing left to do.
func (w *Writer) Flush() {}
