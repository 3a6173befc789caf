package udpio

import (
	"encoding/binary"
	"net/netip"
	"os"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// sendAtOnce bounds the messages of one system call, for the sake of who waits for its end: 16 runs of 7 take 150 µs.
const sendAtOnce = 16

// Writer collects datagrams and sends them in batches over one Conn.
type Writer struct {
	c    *Conn
	hdrs [writeBatch]mmsghdr
	name [writeBatch]unix.RawSockaddrInet6
	ctl  [writeBatch][cmsgSpace]byte
	iovs [writeBatch * MaxSegments]unix.Iovec
	to   [writeBatch]netip.AddrPort
	seg  [writeBatch]int // size of the run's segments
	cnt  [writeBatch]int // datagrams of the message
	size [writeBatch]int // bytes of the message
	open [writeBatch]bool
	n    int // messages
	v    int // iovecs used

	first int
	sent  int
	err   syscall.Errno
	send  func(fd uintptr) bool

	Stats WriteStats
}

// WriteStats counts what a Writer did; read it from the Writer's goroutine or under its owner's lock.
type WriteStats struct {
	Packets  uint64 // datagrams given to the kernel
	Messages uint64 // messages they took
	Calls    uint64 // system calls
	Dropped  uint64 // datagrams that the kernel refused
}

// NewWriter makes a writer with its own arrays.
func (c *Conn) NewWriter() *Writer {
	w := &Writer{c: c}
	for i := range w.hdrs {
		w.hdrs[i].hdr.Name = (*byte)(unsafe.Pointer(&w.name[i]))
	}
	w.send = func(fd uintptr) bool {
		// See Reader. The collector waits for the end of the call: it is kept short.
		n, _, e := unix.RawSyscall6(unix.SYS_SENDMMSG, fd, uintptr(unsafe.Pointer(&w.hdrs[w.first])), uintptr(min(w.n-w.first, sendAtOnce)), unix.MSG_DONTWAIT, 0, 0)
		w.sent, w.err = int(n), e
		return e != unix.EAGAIN && e != unix.EINTR
	}
	return w
}

// Add appends one datagram, which must stay unchanged until Flush. Neighbours for one destination form a run: all of
// one size, and at most one shorter that ends it. A full batch is flushed.
func (w *Writer) Add(to netip.AddrPort, b []byte) {
	if len(b) == 0 {
		return
	}
	if i := w.n - 1; i >= 0 && w.open[i] && w.to[i] == to && len(b) <= w.seg[i] && w.cnt[i] < MaxSegments &&
		w.size[i]+len(b) <= maxRun && w.v < len(w.iovs) && w.c.gso.Load() {
		// What stands behind the last one in memory makes one piece with it: the kernel has less to walk.
		if v := &w.iovs[w.v-1]; unsafe.Add(unsafe.Pointer(v.Base), v.Len) == unsafe.Pointer(&b[0]) {
			v.SetLen(int(v.Len) + len(b))
		} else {
			w.iovs[w.v].Base = &b[0]
			w.iovs[w.v].SetLen(len(b))
			w.v++
			w.hdrs[i].hdr.SetIovlen(int(w.hdrs[i].hdr.Iovlen) + 1)
		}
		w.cnt[i]++
		w.size[i] += len(b)
		if len(b) < w.seg[i] {
			w.open[i] = false
		}
		return
	}
	if w.n == writeBatch || w.v == len(w.iovs) {
		w.Flush()
	}
	w.begin(to, b)
}

func (w *Writer) begin(to netip.AddrPort, b []byte) {
	i := w.n
	w.n++
	h := &w.hdrs[i].hdr
	h.Namelen = putName(&w.name[i], to, w.c.v6)
	w.iovs[w.v].Base = &b[0]
	w.iovs[w.v].SetLen(len(b))
	h.Iov = &w.iovs[w.v]
	h.SetIovlen(1)
	h.Control = nil
	h.SetControllen(0)
	w.v++
	w.to[i], w.seg[i], w.cnt[i], w.size[i], w.open[i] = to, len(b), 1, len(b), true
}

// Flush sends what was added. Datagrams that the kernel refuses are dropped and counted: UDP has no one to tell.
func (w *Writer) Flush() {
	if w.n == 0 {
		return
	}
	for i := range w.n {
		if w.cnt[i] > 1 {
			h := &w.hdrs[i].hdr
			h.Control = &w.ctl[i][0]
			h.SetControllen(putSegment(&w.ctl[i], w.seg[i]))
		}
	}
	w.first = 0
	for w.first < w.n {
		if err := w.c.transmit(w.send); err != nil {
			for i := w.first; i < w.n; i++ {
				w.Stats.Dropped += uint64(w.cnt[i])
			}
			break
		}
		w.Stats.Calls++
		if w.err == 0 && w.sent > 0 {
			for i := w.first; i < w.first+w.sent; i++ {
				w.Stats.Packets += uint64(w.cnt[i])
				w.Stats.Messages++
				if w.cnt[i] > 1 {
					w.c.segmented.Add(1)
				}
			}
			w.first += w.sent
			continue
		}
		if w.err == unix.EMSGSIZE && w.c.narrow() {
			continue
		}
		w.refused()
		w.first++
	}
	w.n, w.v = 0, 0
}

// WriteTo sends one datagram; safe for concurrent use, for control traffic. Like the batches it is not told to the scheduler, which would
// wake a thread of its own for it when the process was asleep.
func (c *Conn) WriteTo(b []byte, to netip.AddrPort) error {
	if len(b) == 0 {
		return nil
	}
	var name unix.RawSockaddrInet6
	n := putName(&name, to, c.v6)
	var errno syscall.Errno
	err := c.transmit(func(fd uintptr) bool {
		_, _, errno = unix.RawSyscall6(unix.SYS_SENDTO, fd, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_DONTWAIT,
			uintptr(unsafe.Pointer(&name)), uintptr(n))
		return errno != unix.EAGAIN && errno != unix.EINTR
	})
	if err == nil && errno == unix.EMSGSIZE && c.narrow() {
		return c.WriteTo(b, to)
	}
	if err == nil && errno != 0 {
		err = os.NewSyscallError("sendto", errno)
	}
	return err
}

// refused deals with message w.first: a run that the route cannot cut goes out one by one, anything else is dropped.
func (w *Writer) refused() {
	i := w.first
	if w.cnt[i] == 1 {
		w.Stats.Dropped++
		return
	}
	if w.err == unix.EIO || w.err == unix.EINVAL {
		w.c.gso.Store(false)
	}
	for _, v := range unsafe.Slice(w.hdrs[i].hdr.Iov, int(w.hdrs[i].hdr.Iovlen)) {
		for b := unsafe.Slice(v.Base, int(v.Len)); len(b) > 0; {
			n := min(w.seg[i], len(b))
			w.Stats.Calls++
			if err := w.c.WriteTo(b[:n], w.to[i]); err != nil {
				w.Stats.Dropped++
			} else {
				w.Stats.Packets++
				w.Stats.Messages++
			}
			b = b[n:]
		}
	}
}

// putSegment writes the UDP_SEGMENT control message (udp(7)) and returns its length.
func putSegment(ctl *[cmsgSpace]byte, seg int) int {
	h := (*unix.Cmsghdr)(unsafe.Pointer(&ctl[0]))
	h.Level = unix.IPPROTO_UDP
	h.Type = unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(ctl[unix.SizeofCmsghdr:], uint16(seg))
	return unix.CmsgSpace(2)
}

func putName(sa *unix.RawSockaddrInet6, to netip.AddrPort, v6 bool) uint32 {
	if !v6 {
		v4 := (*unix.RawSockaddrInet4)(unsafe.Pointer(sa))
		v4.Family = unix.AF_INET
		putPort(&v4.Port, to.Port())
		v4.Addr = to.Addr().Unmap().As4()
		return unix.SizeofSockaddrInet4
	}
	sa.Family = unix.AF_INET6
	putPort(&sa.Port, to.Port())
	sa.Addr = to.Addr().As16()
	sa.Flowinfo, sa.Scope_id = 0, 0
	return unix.SizeofSockaddrInet6
}

func putPort(p *uint16, port uint16) {
	b := (*[2]byte)(unsafe.Pointer(p))
	b[0], b[1] = byte(port>>8), byte(port)
}
