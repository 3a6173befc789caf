package sfu

import "net/netip"

// carrier takes a transport's datagrams where they do not leave through a UDP socket of ours: a relay in memory (routes.go), a TCP connection
// (tcpconn.go). It copies what it keeps, and neither waits nor calls back.
type carrier interface {
	send(local int, pkts ...[]byte)
}

// carrierOf is what carries datagrams between listening address local and addr; nil is the socket.
func (s *SFU) carrierOf(local int, addr netip.AddrPort) carrier {
	if s.isTCP(local) {
		return s.tcp.find(local, addr)
	}
	if r := s.routes.relay(addr); r != nil {
		return r
	}
	return nil
}

// isTCP: the listening addresses of TCP are numbered after those of UDP.
func (s *SFU) isTCP(local int) bool { return local >= len(s.addrs) }

// localAddr is listening address local.
func (s *SFU) localAddr(local int) netip.AddrPort {
	if s.isTCP(local) {
		return s.tcp.addrs[local-len(s.addrs)]
	}
	return s.addrs[local]
}

// claim gives what comes from addr at listening address local to t, which was found to know its password.
func (s *SFU) claim(local int, addr netip.AddrPort, t *transport) {
	if s.isTCP(local) {
		s.tcp.find(local, addr).claim(t)
		return
	}
	if !s.routes.has(addr, t) {
		s.routes.set(addr, t)
	}
}
