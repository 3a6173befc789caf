package rtc

import (
	"encoding/binary"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"konzil/bench/mmsg"
)

const (
	// sendBatch is how many messages one sendmmsg gives to the kernel.
	sendBatch = 64
	// outArena is what one batch may hold.
	outArena = 8 * pictureMost
	// sendCtl holds the control messages of IP_PKTINFO (32 bytes) and UDP_SEGMENT (24).
	sendCtl = 64
)

// outbox collects what a shard sends, so that one call gives many messages to the kernel.
type outbox struct {
	n     int
	arena []byte // of which used bytes are of the messages
	used  int
	socks [sendBatch]*sock
	segs  [sendBatch]int
	hdrs  [sendBatch]mmsg.Message
	iovs  [sendBatch]unix.Iovec
	names [sendBatch]unix.RawSockaddrInet6
	ctl   [sendBatch][sendCtl]byte
}

func newOutbox() *outbox {
	o := &outbox{arena: make([]byte, outArena)}
	for i := range o.hdrs {
		o.hdrs[i].Hdr.Iov = &o.iovs[i]
		o.hdrs[i].Hdr.SetIovlen(1)
	}
	return o
}

// room is an empty slice with the capacity of the largest picture, to write a message to that put is then given. Earlier messages may be sent by it; failed
// is how many packets of them the kernel refused.
func (o *outbox) room() (b []byte, failed int) {
	if o.n == sendBatch || len(o.arena)-o.used < pictureMost {
		failed = o.flush()
	}
	return o.arena[o.used:o.used], failed
}

// put takes a message that was written to room: datagrams of size seg (the last one may be shorter) behind each other. On a shared socket from
// is the address that it comes from.
func (o *outbox) put(s *sock, from netip.Addr, to netip.AddrPort, b []byte, seg int) {
	i := o.n
	h := &o.hdrs[i].Hdr
	o.iovs[i].Base = &b[0]
	o.iovs[i].SetLen(len(b))
	h.Name, h.Namelen = nil, 0
	if !s.connected {
		h.Name, h.Namelen = (*byte)(unsafe.Pointer(&o.names[i])), mmsg.PutName(&o.names[i], to, s.v6)
	}
	c := o.ctl[i][:0]
	if s.shared {
		c = putControl(c, unix.IPPROTO_IP, unix.IP_PKTINFO, unix.SizeofInet4Pktinfo)
		a := from.As4()
		copy(c[unix.SizeofCmsghdr+4:], a[:])
	}
	if len(b) > seg {
		n := len(c)
		c = putControl(c, unix.IPPROTO_UDP, unix.UDP_SEGMENT, 2)
		binary.NativeEndian.PutUint16(c[n+unix.SizeofCmsghdr:], uint16(seg))
	}
	h.Control = nil
	if h.SetControllen(len(c)); len(c) > 0 {
		h.Control = &c[0]
	}
	o.socks[i], o.segs[i] = s, seg
	o.n++
	o.used += len(b)
}

// putControl appends a control message with size zero bytes.
func putControl(c []byte, level, typ int32, size int) []byte {
	n := len(c)
	c = c[:n+unix.CmsgSpace(size)]
	clear(c[n:])
	h := (*unix.Cmsghdr)(unsafe.Pointer(&c[n]))
	h.Level, h.Type = level, typ
	h.SetLen(unix.CmsgLen(size))
	return c
}

// flush sends all. Errors are of no use to anybody, UDP loses packets: they are counted.
func (o *outbox) flush() (failed int) {
	for i := 0; i < o.n; {
		k := i + 1
		for k < o.n && o.socks[k] == o.socks[i] {
			k++
		}
		r, _, e := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(o.socks[i].fd), uintptr(unsafe.Pointer(&o.hdrs[i])), uintptr(k-i), unix.MSG_DONTWAIT, 0, 0)
		switch {
		case e == 0 && r > 0:
			i += int(r)
		case e == unix.EINTR:
		case (e == unix.EINVAL || e == unix.EIO) && len(o.bytes(i)) > o.segs[i]:
			failed += o.apart(i)
			i++
		default:
			failed += (len(o.bytes(i)) + o.segs[i] - 1) / o.segs[i]
			i++
		}
	}
	clear(o.socks[:o.n])
	o.n, o.used = 0, 0
	return failed
}

func (o *outbox) bytes(i int) []byte { return unsafe.Slice(o.iovs[i].Base, int(o.iovs[i].Len)) }

// apart sends the packets of a run one by one: this route cannot cut.
func (o *outbox) apart(i int) (failed int) {
	m := o.hdrs[i].Hdr
	c := int(m.Controllen) - unix.CmsgSpace(2) // the last one says where to cut
	if m.SetControllen(c); c == 0 {
		m.Control = nil
	}
	for b := o.bytes(i); len(b) > 0; {
		n := min(o.segs[i], len(b))
		iov := unix.Iovec{Base: &b[0]}
		iov.SetLen(n)
		m.Iov = &iov
		if _, _, e := unix.Syscall(unix.SYS_SENDMSG, uintptr(o.socks[i].fd), uintptr(unsafe.Pointer(&m)), unix.MSG_DONTWAIT); e != 0 {
			failed++
		}
		b = b[n:]
	}
	return failed
}
