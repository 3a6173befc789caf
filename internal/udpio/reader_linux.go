package udpio

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// mmsghdr is struct mmsghdr of recvmmsg(2); Go pads it to the kernel's size.
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// reset makes a header ready to be received into: the kernel has written what came.
func (m *mmsghdr) reset() {
	m.hdr.Namelen = unix.SizeofSockaddrInet6
	m.hdr.SetControllen(cmsgSpace)
	m.hdr.Flags = 0
}

// cmsgSpace holds one int control message (UDP_GRO or UDP_SEGMENT).
const cmsgSpace = 32

// coalescedSize is a slot when UDP_GRO is on: a run can hold a whole 64 KiB.
const coalescedSize = 65536

// Reader reads batches from one Conn.
type Reader struct {
	c    *Conn
	hdrs [ReadBatch]mmsghdr
	iovs [ReadBatch]unix.Iovec
	name [ReadBatch]unix.RawSockaddrInet6
	ctl  [ReadBatch][cmsgSpace]byte
	slab []byte
	free func() // of slab, nil when it is done
	slot int
	pkts []Packet

	got  int
	err  syscall.Errno
	recv func(fd uintptr) bool
}

// NewReader makes a reader with its own buffers.
func (c *Conn) NewReader() *Reader {
	r := &Reader{c: c, slot: maxDatagram}
	if c.gro {
		r.slot = coalescedSize
	}
	r.slab, r.free = Buffer(ReadBatch * r.slot)
	r.pkts = make([]Packet, 0, ReadBatch*MaxSegments)
	for i := range r.hdrs {
		h := &r.hdrs[i].hdr
		r.iovs[i].Base = &r.slab[i*r.slot]
		r.iovs[i].SetLen(r.slot)
		h.Iov = &r.iovs[i]
		h.SetIovlen(1)
		h.Name = (*byte)(unsafe.Pointer(&r.name[i]))
		h.Control = &r.ctl[i][0]
	}
	r.recv = func(fd uintptr) bool { return r.take(fd) != unix.EAGAIN }
	r.got = ReadBatch // none has been prepared
	return r
}

// take is one call, which does not wait. Told of it, the runtime would give the processor away after 20 µs, which costs two switches of threads.
func (r *Reader) take(fd uintptr) syscall.Errno {
	for i := range r.got { // the kernel has written into these
		r.hdrs[i].reset()
	}
	r.pkts = r.pkts[:0]
	n, _, e := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.hdrs[0])), ReadBatch, unix.MSG_DONTWAIT, 0, 0)
	if r.got, r.err = int(n), e; e != 0 {
		r.got = 0
		return e
	}
	for i := range r.got {
		r.split(i)
	}
	return 0
}

// end gives the buffers back.
func (r *Reader) end() error {
	r.free()
	r.free = nil
	return net.ErrClosed
}

// passing says that an error concerns a destination of earlier sends (ICMP), or a moment without memory.
func passing(e syscall.Errno) bool {
	switch e {
	case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EMSGSIZE, unix.ENOBUFS, unix.ENOMEM, unix.EINTR:
		return true
	}
	return false
}

// Read waits for datagrams and returns them; the slice and its data are valid until the next Read. net.ErrClosed ends it.
// Errors that concern a destination of earlier sends (ICMP) are swallowed.
func (r *Reader) Read() ([]Packet, error) {
	for r.free != nil {
		if r.c.raw.Read(r.recv) != nil || r.err == unix.EBADF || r.err == unix.ENOTSOCK {
			return nil, r.end()
		}
		if r.err != 0 && !passing(r.err) {
			return nil, os.NewSyscallError("recvmmsg", r.err)
		}
		if len(r.pkts) > 0 {
			return r.pkts, nil
		}
	}
	return nil, net.ErrClosed
}

// Serve is Read in a loop: it hands all that comes to handle until the socket is closed, as Read would return it. A batch that was not full has
// emptied the socket, so that it waits for the next one without asking once more. No other method may be called meanwhile.
func (r *Reader) Serve(handle func([]Packet)) error {
	if r.free == nil {
		return net.ErrClosed
	}
	err := r.c.raw.Read(func(fd uintptr) bool {
		for {
			switch e := r.take(fd); {
			case e == unix.EAGAIN:
				return false
			case e != 0 && !passing(e):
				return true
			}
			if len(r.pkts) > 0 {
				handle(r.pkts)
			}
			if 0 < r.got && r.got < ReadBatch {
				return false
			}
		}
	})
	if err != nil || r.err == unix.EBADF || r.err == unix.ENOTSOCK {
		return r.end()
	}
	return os.NewSyscallError("recvmmsg", r.err)
}

// split appends the datagrams of slot i.
func (r *Reader) split(i int) {
	m := &r.hdrs[i]
	if m.hdr.Flags&unix.MSG_TRUNC != 0 || m.n == 0 {
		return
	}
	from := addrPort(&r.name[i])
	data := r.slab[i*r.slot : i*r.slot+int(m.n)]
	seg := len(data)
	if r.c.gro {
		if s := groSize(r.ctl[i][:m.hdr.Controllen]); s > 0 {
			seg = s
		}
	}
	for len(data) > 0 {
		n := min(seg, len(data))
		r.pkts = append(r.pkts, Packet{Data: data[:n:n], From: from})
		data = data[n:]
	}
}

// groSize finds the segment size in the control messages, 0 when there is none.
func groSize(b []byte) int {
	for len(b) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
		l := int(h.Len)
		if l < unix.SizeofCmsghdr || l > len(b) {
			return 0
		}
		if h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && l >= unix.SizeofCmsghdr+4 {
			return int(binary.NativeEndian.Uint32(b[unix.SizeofCmsghdr:]))
		}
		l = (l + 7) &^ 7
		if l >= len(b) {
			return 0
		}
		b = b[l:]
	}
	return 0
}

func addrPort(sa *unix.RawSockaddrInet6) netip.AddrPort {
	p := (*[2]byte)(unsafe.Pointer(&sa.Port))
	port := uint16(p[0])<<8 | uint16(p[1])
	if sa.Family == unix.AF_INET {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		return netip.AddrPortFrom(netip.AddrFrom4(v4.Addr), port)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), port)
}
