package rtc

import (
	"encoding/binary"
	"net/netip"
	"os"
	"unsafe"

	"golang.org/x/sys/unix"

	"konzil/bench/mmsg"
)

const (
	// recvBatch is how many messages one recvmmsg takes; a message can be a whole run of packets. What it brings should stay in the second
	// level cache until it is looked at.
	recvBatch = 64
	// recvSlot holds one run (64 KiB at most), and a little more so that slots do not share cache sets.
	recvSlot = 65536 + 192
	// ctlSize holds the control messages of SO_TIMESTAMPNS and IP_PKTINFO (32 bytes each), UDP_GRO and SO_RXQ_OVFL (24 each).
	ctlSize = 128
)

// inbox is the buffers that one shard receives into.
type inbox struct {
	hdrs  [recvBatch]mmsg.Message
	iovs  [recvBatch]unix.Iovec
	names [recvBatch]unix.RawSockaddrInet6
	ctl   [recvBatch][ctlSize]byte
	slab  []byte
	named bool // the last read asked for senders
}

func newInbox() (*inbox, error) {
	p := &inbox{}
	var err error
	p.slab, err = unix.Mmap(-1, 0, recvBatch*recvSlot, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return nil, os.NewSyscallError("mmap", err)
	}
	for i := range p.hdrs {
		h := &p.hdrs[i].Hdr
		p.iovs[i].Base = &p.slab[i*recvSlot]
		p.iovs[i].SetLen(65536)
		h.Iov = &p.iovs[i]
		h.SetIovlen(1)
		h.Control = &p.ctl[i][0]
		h.SetControllen(ctlSize)
	}
	return p, nil
}

func (p *inbox) close() { _ = unix.Munmap(p.slab) }

// read takes a batch of messages from a socket; names asks for their senders. more says that there may be others.
func (p *inbox) read(s *sock, names bool) (n int, more bool) {
	if names || p.named {
		for i := range p.hdrs {
			if h := &p.hdrs[i].Hdr; names {
				h.Name, h.Namelen = (*byte)(unsafe.Pointer(&p.names[i])), unix.SizeofSockaddrInet6
			} else {
				h.Name, h.Namelen = nil, 0
			}
		}
		p.named = names
	}
	for {
		r, _, e := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(s.fd), uintptr(unsafe.Pointer(&p.hdrs[0])), recvBatch, unix.MSG_DONTWAIT, 0, 0)
		switch e {
		case 0:
			return int(r), int(r) == recvBatch
		case unix.EINTR, unix.ECONNREFUSED: // the latter: an answer to an earlier send
			continue
		}
		return 0, false
	}
}

// message is one datagram, or a run of them that a server sent in one call.
type message struct {
	b       []byte
	seg     int     // size of each of the datagrams in b but perhaps the last one
	at      int64   // when the kernel got it, ns since 1970, 0 when unknown
	dropped uint32  // how many the socket has dropped so far, 0 when not told
	to      [4]byte // where it was sent to, on a shared socket
}

// message returns message i of the last read, and makes its header ready for the next.
func (p *inbox) message(i int) (m message) {
	h := &p.hdrs[i]
	m.b = p.slab[i*recvSlot : i*recvSlot+int(h.N)]
	m.seg = len(m.b)
	c := p.ctl[i][:min(int(h.Hdr.Controllen), ctlSize)]
	h.Hdr.SetControllen(ctlSize)
	for len(c) >= unix.SizeofCmsghdr {
		h := (*unix.Cmsghdr)(unsafe.Pointer(&c[0]))
		l := int(h.Len)
		if l < unix.SizeofCmsghdr || l > len(c) {
			break
		}
		d := c[unix.SizeofCmsghdr:l]
		switch {
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_TIMESTAMPNS && len(d) >= 16:
			m.at = int64(binary.NativeEndian.Uint64(d))*1e9 + int64(binary.NativeEndian.Uint64(d[8:]))
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(d) >= unix.SizeofInet4Pktinfo:
			m.to = [4]byte(d[8:12])
		case h.Level == unix.IPPROTO_UDP && h.Type == unix.UDP_GRO && len(d) >= 4:
			if s := int(binary.NativeEndian.Uint32(d)); s > 0 {
				m.seg = s
			}
		case h.Level == unix.SOL_SOCKET && h.Type == unix.SO_RXQ_OVFL && len(d) >= 4:
			m.dropped = binary.NativeEndian.Uint32(d)
		}
		c = c[min((l+7)&^7, len(c)):]
	}
	return m
}

// from is the sender of message i, the zero address when read did not ask for it.
func (p *inbox) from(i int) netip.AddrPort {
	if !p.named {
		return netip.AddrPort{}
	}
	sa := &p.names[i]
	p.hdrs[i].Hdr.Namelen = unix.SizeofSockaddrInet6
	port := (*[2]byte)(unsafe.Pointer(&sa.Port))
	n := uint16(port[0])<<8 | uint16(port[1])
	if sa.Family == unix.AF_INET {
		return netip.AddrPortFrom(netip.AddrFrom4((*unix.RawSockaddrInet4)(unsafe.Pointer(sa)).Addr), n)
	}
	return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), n)
}
