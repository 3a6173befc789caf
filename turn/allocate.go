package turn

import (
	"crypto/rand"
	"crypto/sha1"
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/pion/stun/v4"
)

// Attributes that pion/stun has no names for.
const (
	attrAdditionalAddressFamily stun.AttrType = 0x8000 // RFC 8656 §18.11
	attrAddressErrorCode        stun.AttrType = 0x8001 // RFC 8656 §18.12
)

// wishes are what an Allocate request asks for beside an address. pion/turn knows none of them, or takes them wrong, so it does not get to see them.
type wishes struct {
	family     byte   // of the relayed address
	additional bool   // an IPv6 one beside it (ADDITIONAL-ADDRESS-FAMILY)
	even       bool   // EVEN-PORT
	reserve    bool   // and the next higher port
	token      uint64 // of a reserved port; 0: none
}

// families are those of the relayed addresses wanted.
func (w *wishes) families() []byte {
	if w.additional {
		return []byte{familyIPv4, familyIPv6}
	}
	return []byte{w.family}
}

// read fills the wishes from an Allocate request; a code is why they cannot be granted (RFC 8656 §7.2).
func (w *wishes) read(m *stun.Message) stun.ErrorCode {
	family, hasFamily := value(m, stun.AttrRequestedAddressFamily)
	more, hasMore := value(m, attrAdditionalAddressFamily)
	even, hasEven := value(m, stun.AttrEvenPort)
	token, hasToken := value(m, stun.AttrReservationToken)
	w.family = familyIPv4
	misshapen := hasFamily && len(family) != 4 || hasMore && len(more) != 4 || hasEven && len(even) < 1 || hasToken && len(token) != 8
	if misshapen || hasFamily && (hasMore || hasToken) || hasToken && (hasMore || hasEven) || hasMore && (more[0] != familyIPv6 || hasEven && even[0]&0x80 != 0) {
		return stun.CodeBadRequest
	}
	if hasFamily {
		w.family = family[0]
	}
	w.additional, w.even = hasMore, hasEven
	w.reserve = hasEven && even[0]&0x80 != 0
	if hasToken {
		w.token = binary.BigEndian.Uint64(token)
	}
	return 0
}

func value(m *stun.Message, t stun.AttrType) ([]byte, bool) {
	v, err := m.Get(t)
	return v, err == nil
}

// hiddenFromPion are the attributes that the gate serves.
func hiddenFromPion(t stun.AttrType) bool {
	switch t {
	case stun.AttrEvenPort, stun.AttrReservationToken, stun.AttrDontFragment, stun.AttrPasswordAlgorithm, stun.AttrPasswordAlgorithms, stun.AttrMessageIntegritySHA256:
		return true
	}
	return false
}

// forPion is the request in hand as pion/turn is to understand it: with the nonce that it has made, a lifetime of no more than we grant, without what the gate
// serves, and signed anew, or with an integrity that is wrong. The server may choose a shorter lifetime than is asked for (RFC 8656 §7.2), which pion/turn has no
// setting for. Not ok is a request that has no room for that.
func (g *gate) forPion(m *stun.Message) (p []byte, ok bool) {
	wanted, lives := defaultLifetime, m.Type.Method == stun.MethodAllocate || m.Type.Method == stun.MethodRefresh
	next := &stun.Message{Type: m.Type, TransactionID: m.TransactionID}
	if g.unheard(m.Type.Method) {
		next.Type.Method = stun.MethodRefresh // which is challenged
	}
	next.WriteHeader()
	for _, a := range m.Attributes {
		switch {
		case hiddenFromPion(a.Type) || a.Type == stun.AttrMessageIntegrity:
		case a.Type == stun.AttrNonce:
			next.Add(a.Type, []byte(g.cur.nonce))
		case a.Type != stun.AttrLifetime:
			next.Add(a.Type, a.Value)
		case len(a.Value) == 4:
			wanted = time.Duration(binary.BigEndian.Uint32(a.Value)) * time.Second
		}
	}
	if lives {
		next.Add(stun.AttrLifetime, binary.BigEndian.AppendUint32(nil, uint32(g.lifetime(wanted)/time.Second)))
	}
	if !g.cur.ok {
		if g.cur.signed {
			next.Add(stun.AttrMessageIntegrity, make([]byte, sha1.Size))
		}
		return next.Raw, len(next.Raw) < packetSize
	}
	key, known := g.s.creds.key(algorithmMD5, g.cur.username, g.s.cfg.Realm)
	if !known || stun.MessageIntegrity(key).AddTo(next) != nil {
		return nil, false
	}
	return next.Raw, len(next.Raw) < packetSize
}

// rewritten is an answer of pion/turn's to a request of a method, without its integrity and some other attributes, and with more.
func rewritten(p []byte, method stun.Method, without []stun.AttrType, more ...stun.Setter) []byte {
	m := &stun.Message{Raw: slices.Clone(p)}
	if m.Decode() != nil {
		return p
	}
	next := &stun.Message{Type: stun.NewType(method, m.Type.Class), TransactionID: m.TransactionID}
	next.WriteHeader()
	for _, a := range m.Attributes {
		if a.Type != stun.AttrMessageIntegrity && !slices.Contains(without, a.Type) {
			next.Add(a.Type, a.Value)
		}
	}
	for _, s := range more {
		if s.AddTo(next) != nil {
			return p
		}
	}
	return next.Raw
}

// relayedAddress is an XOR-RELAYED-ADDRESS.
type relayedAddress netip.AddrPort

func (a relayedAddress) AddTo(m *stun.Message) error {
	at := netip.AddrPort(a)
	return stun.XORMappedAddress{IP: net.IP(at.Addr().AsSlice()), Port: int(at.Port())}.AddToAs(m, stun.AttrXORRelayedAddress)
}

// addressError tells why there is no relayed address of a family.
func addressError(family byte, code stun.ErrorCode) stun.Setter {
	v := append([]byte{family, 0, byte(code / 100), byte(code % 100)}, map[stun.ErrorCode]string{
		stun.CodeAddrFamilyNotSupported: "Address Family not Supported", stun.CodeInsufficientCapacity: "Insufficient Capacity",
	}[code]...)
	return stun.RawAttribute{Type: attrAddressErrorCode, Value: v}
}

const (
	// reservationLife is how long a port is kept for its token (RFC 8656 §7.2).
	reservationLife = 30 * time.Second
	// maxReservations bounds the ports that wait: nobody in our use asks for any.
	maxReservations = 64
)

// reservation is a port that waits for the allocation that names its token, held by a socket.
type reservation struct {
	user   string
	family byte
	port   uint16
	hold   net.PacketConn
	timer  *time.Timer
}

// reserve keeps the port above a relayed address for its user. No token is that there is none to be had.
func (s *Server) reserve(user string, l *leg) (token uint64, ok bool) {
	at, _ := s.relayAddress(l.family)
	port := l.sock.LocalAddr().Port() + 1
	if port == 0 || s.cfg.PortMax != 0 && port > s.cfg.PortMax {
		return 0, false
	}
	hold, err := net.ListenUDP(network("udp", netip.AddrPortFrom(at.Bind, 0)), net.UDPAddrFromAddrPort(netip.AddrPortFrom(at.Bind, port)))
	if err != nil {
		return 0, false
	}
	var b [8]byte
	for token == 0 {
		_, _ = rand.Read(b[:]) // never fails (crypto/rand)
		token = binary.BigEndian.Uint64(b[:])
	}
	r := &reservation{user: user, family: l.family, port: port, hold: hold}
	if !s.reg.reserve(token, r) {
		hold.Close()
		return 0, false
	}
	return token, true
}

// claim ends a reservation and gives its port, which is free at once.
func (s *Server) claim(user string, token uint64) (family byte, port int, ok bool) {
	r := s.reg.claim(user, token)
	if r == nil {
		return 0, 0, false
	}
	r.timer.Stop()
	r.hold.Close()
	return r.family, int(r.port), true
}
