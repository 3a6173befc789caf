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
	r := &Reader{c: c, slot: MaxDatagram}
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
	r.recv = func(fd uintptr) bool {
		// The call does not wait. Told of it, the runtime would give the processor away after 20 µs, which costs two switches of threads.
		n, _, e := unix.RawSyscall6(unix.SYS_RECVMMSG, fd, uintptr(unsafe.Pointer(&r.hdrs[0])), ReadBatch, unix.MSG_DONTWAIT, 0, 0)
		r.got, r.err = int(n), e
		return e != unix.EAGAIN && e != unix.EINTR
	}
	return r
}

// Read waits for datagrams and returns them; the slice and its data are valid until the next Read. net.ErrClosed ends it.
// Errors that concern a destination of earlier sends (ICMP) are swallowed.
func (r *Reader) Read() ([]Packet, error) {
	for {
		if r.free == nil {
			return nil, net.ErrClosed
		}
		for i := range r.hdrs {
			h := &r.hdrs[i].hdr
			h.Namelen = unix.SizeofSockaddrInet6
			h.SetControllen(cmsgSpace)
			h.Flags = 0
		}
		if err := r.c.raw.Read(r.recv); err != nil {
			r.free()
			r.free = nil
			return nil, net.ErrClosed
		}
		if r.err != 0 {
			switch r.err {
			case unix.EBADF, unix.ENOTSOCK:
				return nil, net.ErrClosed
			case unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EMSGSIZE, unix.ENOBUFS, unix.ENOMEM:
				continue
			}
			return nil, os.NewSyscallError("recvmmsg", r.err)
		}
		r.pkts = r.pkts[:0]
		for i := range r.got {
			r.split(i)
		}
		if len(r.pkts) > 0 {
			return r.pkts, nil
		}
	}
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
