package sfu

import (
	"fmt"
	"net/netip"
	"slices"

	"konzil/sfu/ice"
)

// prefSrflx is the type preference of server reflexive candidates (RFC 8445 §5.1.2.2); over TCP they rank below all of UDP, as host candidates do.
const prefSrflx, prefTCPSrflx = 100, 70

// candidates lists the listening addresses as host candidates, and as server reflexive those that others see: the advertised ones, and what STUN
// servers told (RFC 8445 §5.1).
func (s *SFU) candidates() []Candidate {
	var out []Candidate
	add := func(c Candidate) {
		c.Foundation, c.Component = fmt.Sprint(len(out)+1), 1
		out = append(out, c)
	}
	cfg := s.iceLocals()
	for i, a := range s.addrs {
		add(Candidate{Protocol: "udp", Type: "host", Addr: a, Priority: cfg.HostPriority(i)})
	}
	for i, m := range s.mapped() {
		add(Candidate{Protocol: "udp", Type: "srflx", Addr: m.addr, Related: s.addrs[m.local], Priority: srflxPriority(prefSrflx, i)})
	}
	for i, a := range s.tcp.addrs {
		add(Candidate{Protocol: "tcp", TCPType: "passive", Type: "host", Addr: a, Priority: cfg.HostPriority(len(s.addrs) + i)})
	}
	for i, a := range s.cfg.Advertise {
		if base, ok := baseOf(a, s.tcp.addrs); ok {
			add(Candidate{
				Protocol: "tcp", TCPType: "passive", Type: "srflx", Addr: netip.AddrPortFrom(a, s.tcp.addrs[base].Port()), Related: s.tcp.addrs[base],
				Priority: srflxPriority(prefTCPSrflx, i),
			})
		}
	}
	return out
}

func srflxPriority(pref uint32, i int) uint32 { return pref<<24 | uint32(65535-i)<<8 | 255 }

// iceLocals is the part of the agents' settings that says where we listen.
func (s *SFU) iceLocals() *ice.Config { return &ice.Config{Locals: s.addrs, TCP: len(s.tcp.addrs)} }

// mapping is a public address under which listening address local is reached.
type mapping struct {
	addr  netip.AddrPort
	local int
}

// mapped lists the public addresses of the UDP sockets: those of the settings first, then those that STUN found and the settings do not have.
func (s *SFU) mapped() []mapping {
	var out []mapping
	for _, a := range s.cfg.Advertise {
		if i, ok := baseOf(a, s.addrs); ok {
			out = append(out, mapping{netip.AddrPortFrom(a.Unmap(), s.addrs[i].Port()), i})
		}
	}
	for _, m := range s.nat.found() {
		if !slices.ContainsFunc(out, func(x mapping) bool { return x.addr == m.addr }) {
			out = append(out, m)
		}
	}
	return out
}

// baseOf is the listening address that public address a stands for: the first of its family; none when a itself is listened on.
func baseOf(a netip.Addr, listen []netip.AddrPort) (base int, ok bool) {
	base = -1
	for i, l := range listen {
		switch {
		case l.Addr() == a.Unmap():
			return 0, false
		case base < 0 && l.Addr().Is4() == a.Unmap().Is4():
			base = i
		}
	}
	return base, base >= 0
}
