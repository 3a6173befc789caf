package udpio

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

const (
	// maxRefusals is how many refusals one Read tells of; ICMP is not reliable anyway.
	maxRefusals = 256
	// refusalSpace is room for what the kernel says with a refusal: the error, the address of who has sent it, and, unasked, a little more.
	refusalSpace = 256
)

// Refused are the refusals that have come with the last Read, valid until the next one.
func (l *Loop) Refused() []Refusal { return l.said }

// refusals empties a socket's queue of errors.
func (l *Loop) refusals(s *Sock) {
	if !s.enter() {
		return
	}
	defer s.leave()
	var ctl [refusalSpace]byte
	var head [1]byte // of the datagram
	for {
		_, n, _, to, err := unix.Recvmsg(s.fd, head[:], ctl[:], unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
		if err != nil {
			return
		}
		r, ok := refusal(ctl[:n])
		switch a := to.(type) {
		case *unix.SockaddrInet4:
			r.To = netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
		case *unix.SockaddrInet6:
			r.To = netip.AddrPortFrom(netip.AddrFrom16(a.Addr), uint16(a.Port))
		default:
			ok = false
		}
		if ok && len(l.said) < maxRefusals {
			r.Sock = s
			l.said = append(l.said, r)
		}
	}
}

// refusal reads the control messages of an error (struct sock_extended_err); false: it is not ICMP's but the kernel's own.
func refusal(ctl []byte) (r Refusal, ok bool) {
	const (
		size           = 16 // of struct sock_extended_err
		originICMP     = 2
		originICMP6    = 3
		v4Unreachable  = 3
		v4TooLong      = 4 // code
		v6PacketTooBig = 2
	)
	messages, err := unix.ParseSocketControlMessage(ctl)
	if err != nil {
		return r, false
	}
	for _, m := range messages {
		v4 := m.Header.Level == unix.IPPROTO_IP && m.Header.Type == unix.IP_RECVERR
		v6 := m.Header.Level == unix.IPPROTO_IPV6 && m.Header.Type == unix.IPV6_RECVERR
		if !v4 && !v6 || len(m.Data) < size {
			continue
		}
		origin := m.Data[4]
		r.Type, r.Code = m.Data[5], m.Data[6]
		if origin == originICMP && r.Type == v4Unreachable && r.Code == v4TooLong || origin == originICMP6 && r.Type == v6PacketTooBig {
			r.MTU = binary.NativeEndian.Uint32(m.Data[8:])
		}
		return r, origin == originICMP || origin == originICMP6
	}
	return r, false
}
