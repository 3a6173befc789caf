package udpio

import (
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Fan collects datagrams for many sockets and destinations and sends them in runs. It belongs to one goroutine at a time, and so does each
// socket that it has datagrams for between Add and Flush, unless SockOptions.Shared says otherwise.
type Fan struct {
	slots, segs int
	hdrs        []mmsghdr
	name        []unix.RawSockaddrInet6
	ctl         [][cmsgSpace]byte
	iovs        []unix.Iovec // of slot i from i*2*segs on
	heads       [][4]byte    // of slot i from i*segs on
	msgs        []fanMsg
	n           int
	gen         uint64

	Stats WriteStats
}

type fanMsg struct {
	sock *Sock
	to   netip.AddrPort
	seg  int // size of the run's datagrams
	cnt  int // datagrams
	vec  int // iovecs
	size int // bytes
	open bool
}

// NewFan makes a fan of so many messages, each a run of up to segs datagrams.
func NewFan(slots, segs int) *Fan {
	segs = min(segs, MaxSegments)
	f := &Fan{slots: slots, segs: segs, hdrs: make([]mmsghdr, slots), name: make([]unix.RawSockaddrInet6, slots), ctl: make([][cmsgSpace]byte, slots),
		iovs: make([]unix.Iovec, slots*2*segs), heads: make([][4]byte, slots*segs), msgs: make([]fanMsg, slots), gen: 1}
	for i := range f.hdrs {
		h := &f.hdrs[i].hdr
		h.Name = (*byte)(unsafe.Pointer(&f.name[i]))
		h.Iov = &f.iovs[i*2*segs]
	}
	return f
}

// Add appends one datagram, which must stay unchanged until Flush. Those of one socket form runs while the destination and the size stay the same;
// what a socket sends to one place stays in order, different sockets may overtake each other. A full fan is flushed.
func (f *Fan) Add(s *Sock, to netip.AddrPort, b []byte) {
	m, i := f.message(s, to, len(b))
	f.put(i, m, b)
}

// AddFramed appends one datagram that is head and then b.
func (f *Fan) AddFramed(s *Sock, to netip.AddrPort, head [4]byte, b []byte) {
	m, i := f.message(s, to, 4+len(b))
	h := &f.heads[i*f.segs+m.cnt-1]
	*h = head
	f.put(i, m, h[:])
	f.put(i, m, b)
}

func (f *Fan) put(i int, m *fanMsg, b []byte) {
	if len(b) == 0 {
		return
	}
	v := &f.iovs[i*2*f.segs+m.vec]
	v.Base = &b[0]
	v.SetLen(len(b))
	m.vec++
}

// message is the run that a datagram of n bytes belongs to, a new one if need be.
func (f *Fan) message(s *Sock, to netip.AddrPort, n int) (*fanMsg, int) {
	at := -1
	switch {
	case s.shared:
		if at = f.n - 1; at >= 0 && f.msgs[at].sock != s {
			at = -1
		}
	case s.fan == f && s.gen == f.gen:
		at = s.slot
	}
	if at >= 0 {
		m := &f.msgs[at]
		if m.open && m.to == to && n <= m.seg && n > 0 && m.cnt < f.segs && m.size+n <= maxRun && s.gso.Load() {
			m.cnt++
			m.size += n
			m.open = n == m.seg
			return m, at
		}
	}
	if f.n == f.slots {
		f.Flush()
	}
	i := f.n
	f.n++
	f.hdrs[i].hdr.Namelen = putName(&f.name[i], to, s.v6)
	f.msgs[i] = fanMsg{sock: s, to: to, seg: n, cnt: 1, size: n, open: n > 0}
	if !s.shared {
		s.fan, s.gen, s.slot = f, f.gen, i
	}
	return &f.msgs[i], i
}

// Flush sends what was added. Datagrams that the kernel refuses are dropped and counted: UDP has no one to tell.
func (f *Fan) Flush() {
	for i := 0; i < f.n; {
		s := f.msgs[i].sock
		j := i
		for ; j < f.n && f.msgs[j].sock == s; j++ {
			m, h := &f.msgs[j], &f.hdrs[j].hdr
			h.SetIovlen(m.vec)
			h.Control = nil
			h.SetControllen(0)
			if m.cnt > 1 {
				h.Control = &f.ctl[j][0]
				h.SetControllen(putSegment(&f.ctl[j], m.seg))
			}
		}
		f.send(s, i, j)
		i = j
	}
	for i := range f.n {
		f.msgs[i].sock = nil
	}
	f.n = 0
	f.gen++
}

// send gives messages i to j-1, all of socket s, to the kernel.
func (f *Fan) send(s *Sock, i, j int) {
	if !s.enter() {
		for ; i < j; i++ {
			f.Stats.Dropped += uint64(f.msgs[i].cnt)
		}
		return
	}
	defer s.leave()
	for again := s.tells; i < j; {
		sent, e := f.call(s, i, j)
		f.Stats.Calls++
		if e == unix.EINTR {
			continue
		}
		if e == 0 && sent > 0 {
			for k := i; k < i+sent; k++ {
				f.Stats.Packets += uint64(f.msgs[k].cnt)
				f.Stats.Messages++
			}
			i += sent
			again = s.tells
			continue
		}
		if e == unix.EMSGSIZE && s.narrow() {
			continue
		}
		if again { // the error was that of an earlier datagram, which it is told of once
			again = false
			continue
		}
		f.refused(s, i, e)
		i++
	}
}

func (f *Fan) call(s *Sock, i, j int) (int, unix.Errno) {
	if j == i+1 {
		if m, h := &f.msgs[i], &f.hdrs[i].hdr; m.cnt == 1 && m.vec == 1 {
			v := &f.iovs[i*2*f.segs]
			_, _, e := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s.fd), uintptr(unsafe.Pointer(v.Base)), uintptr(v.Len), unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(h.Name)), uintptr(h.Namelen))
			return 1, e
		}
		_, _, e := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&f.hdrs[i].hdr)), unix.MSG_DONTWAIT)
		return 1, e
	}
	// See Reader: told of the call, the runtime's monitor takes the processor away when the call is long, and looks every 20 µs whether the next one is.
	n, _, e := unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&f.hdrs[i])), uintptr(min(j-i, sendAtOnce)), unix.MSG_DONTWAIT, 0, 0)
	return int(n), e
}

// refused deals with message i: a run that the route cannot cut goes out one by one, anything else is dropped.
func (f *Fan) refused(s *Sock, i int, e unix.Errno) {
	m := &f.msgs[i]
	if m.cnt == 1 || e != unix.EIO && e != unix.EINVAL {
		f.Stats.Dropped += uint64(m.cnt)
		return
	}
	s.gso.Store(false)
	var one []byte
	left := m.seg
	for v := range m.vec {
		x := &f.iovs[i*2*f.segs+v]
		one = append(one, unsafe.Slice(x.Base, int(x.Len))...)
		if left -= int(x.Len); left > 0 && v < m.vec-1 {
			continue
		}
		f.Stats.Calls++
		if err := s.writeTo(one, m.to); err != nil {
			f.Stats.Dropped++
		} else {
			f.Stats.Packets++
			f.Stats.Messages++
		}
		one, left = one[:0], m.seg
	}
}
