package sfu

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// Guest takes datagrams of the media port that are another protocol's: STUN messages of other methods than Binding, Binding requests of nobody's ICE,
// and what begins with a byte of 64 to 79, which are TURN's channels (RFC 7983 §7). It is called from the goroutines of the sockets, one for each shard,
// and may neither block nor keep pkt.
type Guest func(local, from netip.AddrPort, pkt []byte)

// Host lets a guest share the media sockets. It must come before the first packet that the guest is to get; there is one guest. send sends for it from a
// listening address.
func (s *SFU) Host(g Guest) (send func(local, to netip.AddrPort, pkt []byte) error) {
	s.guest.Store(&g)
	return func(local, to netip.AddrPort, pkt []byte) error {
		i := slices.Index(s.addrs, local)
		if i < 0 {
			return ErrDescription
		}
		return s.shards[0].conns[i].WriteTo(pkt, to)
	}
}

// Addrs are the listening addresses.
func (s *SFU) Addrs() []netip.AddrPort { return slices.Clone(s.addrs) }

// toGuest gives a datagram to the guest; false when it is not the guest's, or there is none.
func (s *SFU) toGuest(local int, from netip.AddrPort, pkt []byte) bool {
	g := s.guest.Load()
	if g == nil || !isGuests(pkt) {
		return false
	}
	(*g)(s.addrs[local], from, pkt)
	return true
}

// stunHead is a STUN message's shortest length, bytes (RFC 8489 §5).
const stunHead = 20

// isGuests tells the guest's datagrams from ours. All ICE agents name a user in their Binding requests (RFC 8445 §7.2.2), STUN clients do not.
func isGuests(pkt []byte) bool {
	if len(pkt) == 0 {
		return false
	}
	if pkt[0] >= 64 && pkt[0] < 80 {
		return true
	}
	if classOf(pkt) != classSTUN || len(pkt) < stunHead {
		return false
	}
	kind := binary.BigEndian.Uint16(pkt)
	const bindingRequest, classBits = 0x0001, 0x0110 // RFC 8489 §5
	return kind&^classBits != bindingRequest || kind == bindingRequest && !namesUser(pkt)
}

// namesUser says whether a STUN message has a USERNAME (RFC 8489 §14.3).
func namesUser(pkt []byte) bool {
	const username = 0x0006
	for i := stunHead; i+4 <= len(pkt); i += 4 + (int(binary.BigEndian.Uint16(pkt[i+2:]))+3)&^3 {
		if binary.BigEndian.Uint16(pkt[i:]) == username {
			return true
		}
	}
	return false
}
