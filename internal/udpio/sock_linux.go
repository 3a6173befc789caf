package udpio

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sock is a socket of a Loop: a bare descriptor.
type Sock struct {
	handle
	v6     bool
	batch  int
	shared bool
	tells  bool // of refusals
	local  netip.AddrPort
	loop   *Loop
	owner  any
	gso    atomic.Bool // cleared for good when the kernel refuses a run
	df     atomic.Bool // never fragmented, IPv4 only; cleared for good when a path is too narrow for what is sent

	// Of the Loop's reader.
	queued  bool // it is on its lists
	refused bool // there are refusals to take

	// Of the goroutine whose Fan has a message for this socket open.
	fan  *Fan
	gen  uint64
	slot int
}

// Close closes the socket; again it gives net.ErrClosed. A datagram that is being read or sent is so to its end.
func (s *Sock) Close() error {
	if !s.shut() {
		return net.ErrClosed
	}
	s.loop.forget(s)
	s.release()
	return nil
}

// WriteTo sends one datagram; safe for concurrent use, for control traffic.
func (s *Sock) WriteTo(b []byte, to netip.AddrPort) error {
	if !s.enter() {
		return net.ErrClosed
	}
	defer s.leave()
	return s.writeTo(b, to)
}

func (s *Sock) writeTo(b []byte, to netip.AddrPort) error {
	err := s.writeOnce(b, to)
	if errors.Is(err, unix.EMSGSIZE) && s.narrow() {
		err = s.writeOnce(b, to)
	}
	return err
}

// narrow lets the kernel fragment again, for the path to somebody is narrower than what is sent; false when it does so already.
func (s *Sock) narrow() bool { return s.df.Swap(false) && forbidFragments(s.fd, false) }

func (s *Sock) writeOnce(b []byte, to netip.AddrPort) error {
	var sa unix.RawSockaddrInet6
	n := putName(&sa, to, s.v6)
	send := func() (e unix.Errno) {
		_, _, e = unix.RawSyscall6(unix.SYS_SENDTO, uintptr(s.fd), uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)),
			unix.MSG_DONTWAIT, uintptr(unsafe.Pointer(&sa)), uintptr(n))
		return e
	}
	e := send()
	if e != 0 && s.tells {
		e = send() // the error was that of an earlier datagram, which it is told of once
	}
	if e != 0 {
		return os.NewSyscallError("sendto", e)
	}
	return nil
}

// CanForbidFragments: WriteWhole does as it says.
const CanForbidFragments = true

// WriteWhole sends one datagram with the DF bit set, whatever the path's MTU is said to be: one that is too long gives an error, or gets lost. No
// other goroutine may send over the socket meanwhile.
func (s *Sock) WriteWhole(b []byte, to netip.AddrPort) error {
	if !s.enter() {
		return net.ErrClosed
	}
	defer s.leave()
	if s.df.Load() {
		return s.writeOnce(b, to)
	}
	level, option, forbid, usual := unix.IPPROTO_IP, unix.IP_MTU_DISCOVER, unix.IP_PMTUDISC_DO, unix.IP_PMTUDISC_WANT
	if s.v6 {
		level, option, forbid, usual = unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO, unix.IPV6_PMTUDISC_WANT
	}
	if err := unix.SetsockoptInt(s.fd, level, option, forbid); err != nil {
		return os.NewSyscallError("setsockopt", err)
	}
	defer unix.SetsockoptInt(s.fd, level, option, usual) // what could be set can be set back
	return s.writeOnce(b, to)
}

func openSock(addr netip.AddrPort, opt SockOptions) (_ *Sock, err error) {
	v6 := addr.Addr().Is6() && !addr.Addr().Is4In6()
	fd, err := datagramSocket(v6)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	s := &Sock{handle: handle{fd: fd}, v6: v6, batch: max(1, min(opt.Batch, loopSlots)), owner: opt.Owner, shared: opt.Shared, tells: opt.Refusals}
	// Buffers that the system caps lower are no reason to fail.
	if opt.ReadBuffer > 0 {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, opt.ReadBuffer)
	}
	if opt.WriteBuffer > 0 {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, opt.WriteBuffer)
	}
	if err = s.bind(addr, opt.ReusePort); err != nil {
		return nil, err
	}
	if opt.Refusals {
		level, option := unix.IPPROTO_IP, unix.IP_RECVERR
		if v6 {
			level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVERR
		}
		if err = unix.SetsockoptInt(fd, level, option, 1); err != nil {
			return nil, os.NewSyscallError("setsockopt", err)
		}
	}
	s.df.Store(!v6 && forbidFragments(fd, true))
	if !opt.NoOffload {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_GRO, 1)
		_, e := unix.GetsockoptInt(fd, unix.IPPROTO_UDP, unix.UDP_SEGMENT)
		s.gso.Store(e == nil)
	}
	return s, nil
}

// bind gives the socket its address, and notes the one that it has. A port of the kernel's choice is shared only once it is chosen, as in Listen.
func (s *Sock) bind(addr netip.AddrPort, share bool) error {
	if share && addr.Port() != 0 {
		if err := reusePort(s.fd); err != nil {
			return err
		}
	}
	if err := unix.Bind(s.fd, sockaddr(addr)); err != nil {
		return os.NewSyscallError("bind", err)
	}
	if share && addr.Port() == 0 {
		if err := reusePort(s.fd); err != nil {
			return err
		}
	}
	got, err := unix.Getsockname(s.fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	switch a := got.(type) {
	case *unix.SockaddrInet4:
		s.local = netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *unix.SockaddrInet6:
		s.local = netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
	}
	return nil
}
