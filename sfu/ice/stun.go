package ice

import (
	"crypto/hmac"
	"crypto/sha1" // MESSAGE-INTEGRITY is HMAC-SHA1 (RFC 8489 §14.5)
	"encoding/binary"
	"hash"
	"hash/crc32"
	"net/netip"
)

// STUN's numbers (RFC 8489 §18, RFC 8445 §16.1).
const (
	headerSize     = 20
	magicCookie    = 0x2112A442
	methodBinding  = 0x0001
	fingerprintXOR = 0x5354554e
	integritySize  = 24 // with the attribute's header
	maxMessage     = 1500

	attrUsername     = 0x0006
	attrIntegrity    = 0x0008
	attrErrorCode    = 0x0009
	attrUnknown      = 0x000a
	attrXORMapped    = 0x0020
	attrPriority     = 0x0024
	attrUseCandidate = 0x0025
	attrFingerprint  = 0x8028
	attrControlled   = 0x8029
	attrControlling  = 0x802a
	attrNetworkCost  = 0xc057 // libwebrtc: 16 bits network id, 16 bits cost

	codeUnknownAttribute = 420
	codeRoleConflict     = 487
)

// TxID names a transaction.
type TxID [12]byte

// Class is what a message is.
type Class uint8

// Classes of STUN messages (RFC 8489 §5).
const (
	Request Class = iota
	Indication
	Success
	Failure
)

// maxUnknown bounds the unknown attributes that an answer names.
const maxUnknown = 4

// Message is a STUN message that was read. It points into the datagram.
type Message struct {
	Class Class
	ID    TxID
	raw   []byte

	username     []byte
	priority     uint32
	tie          uint64
	mapped       netip.AddrPort
	code         int
	integrity    int // where the attribute begins, 0: none
	cost         uint16
	useCandidate bool
	controlling  bool // the sender says that it has this role
	controlled   bool
	unknowns     int
	unknown      [maxUnknown]uint16
}

// Parse reads a binding message; false when it is none or is malformed. A FINGERPRINT that is there has to be right (RFC 8489 §14.7).
// Nothing is kept but pointers into b.
func (m *Message) Parse(b []byte) bool {
	if len(b) < headerSize || len(b) > maxMessage || b[0]&0xc0 != 0 || binary.BigEndian.Uint32(b[4:]) != magicCookie {
		return false
	}
	if n := int(binary.BigEndian.Uint16(b[2:])); n != len(b)-headerSize || n&3 != 0 {
		return false
	}
	t := binary.BigEndian.Uint16(b)
	if t&0xf|t>>1&0x70|t>>2&0xf80 != methodBinding {
		return false
	}
	*m = Message{Class: Class(t>>4&1 | t>>7&2), raw: b}
	copy(m.ID[:], b[8:headerSize])
	for i := headerSize; i < len(b); {
		if len(b)-i < 4 {
			return false
		}
		typ, n := binary.BigEndian.Uint16(b[i:]), int(binary.BigEndian.Uint16(b[i+2:]))
		if n > len(b)-i-4 {
			return false
		}
		switch v := b[i+4 : i+4+n]; {
		case typ == attrFingerprint:
			// It is the last one, and covers all before.
			return n == 4 && i+8 == len(b) && binary.BigEndian.Uint32(v) == crc32.ChecksumIEEE(b[:i])^fingerprintXOR
		case m.integrity != 0: // what follows it is not protected, and ignored
		case !m.attribute(typ, i, v):
			return false
		}
		i += 4 + (n+3)&^3
	}
	return true
}

// attribute takes one attribute that stands at offset at. Of several of a kind the first counts.
func (m *Message) attribute(typ uint16, at int, v []byte) bool {
	n := len(v)
	switch typ {
	case attrUsername:
		if m.username == nil {
			m.username = v
		}
	case attrIntegrity:
		m.integrity = at
		return n == integritySize-4
	case attrPriority:
		if n != 4 {
			return false
		}
		m.priority = binary.BigEndian.Uint32(v)
	case attrUseCandidate:
		m.useCandidate = true
	case attrControlling, attrControlled:
		if n != 8 {
			return false
		}
		m.controlling, m.controlled = typ == attrControlling, typ == attrControlled
		m.tie = binary.BigEndian.Uint64(v)
	case attrNetworkCost:
		if n == 4 {
			m.cost = binary.BigEndian.Uint16(v[2:])
		}
	case attrErrorCode:
		if n < 4 {
			return false
		}
		m.code = int(v[2]&7)*100 + int(v[3])
	case attrXORMapped:
		return m.xorMapped(v)
	default:
		if typ < 0x8000 && typ != attrUnknown && m.unknowns < maxUnknown {
			m.unknown[m.unknowns] = typ
			m.unknowns++
		}
	}
	return true
}

// xorMapped reads an address (RFC 8489 §14.2).
func (m *Message) xorMapped(v []byte) bool {
	if len(v) != 8 && len(v) != 20 {
		return false
	}
	port := binary.BigEndian.Uint16(v[2:]) ^ magicCookie>>16
	switch {
	case v[1] == 1 && len(v) == 8:
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(v[4:])^magicCookie)
		m.mapped = netip.AddrPortFrom(netip.AddrFrom4(a), port)
	case v[1] == 2 && len(v) == 20:
		var a [16]byte
		for i := range a {
			a[i] = v[4+i] ^ m.raw[4+i] // cookie and transaction
		}
		m.mapped = netip.AddrPortFrom(netip.AddrFrom16(a), port)
	default:
		return false
	}
	return true
}

// Mapped is the address that a response says it saw.
func (m *Message) Mapped() (netip.AddrPort, bool) {
	return m.mapped, m.Class == Success && m.mapped.IsValid()
}

// BindingRequest adds a request without credentials to dst, as a STUN server outside takes it (RFC 8489 §2).
func BindingRequest(dst []byte, id *TxID) []byte {
	start := len(dst)
	dst = begin(dst, Request, id)
	binary.BigEndian.PutUint16(dst[start+2:], 8)
	return attr32(dst, attrFingerprint, crc32.ChecksumIEEE(dst[start:])^fingerprintXOR)
}

// User is the user name fragment that a request is for: <ours>:<theirs> (RFC 8445 §7.2.2). nil: none.
func (m *Message) User() []byte {
	for i, c := range m.username {
		if c == ':' {
			return m.username[:i]
		}
	}
	return nil
}

// mac computes MESSAGE-INTEGRITY with one password.
type mac struct {
	h    hash.Hash
	head [4]byte
	sum  [sha1.Size]byte
}

func newMAC(pwd string) *mac { return &mac{h: hmac.New(sha1.New, []byte(pwd))} }

// compute is over b, which ends before the attribute, as if the message ended with it (RFC 8489 §14.5).
func (k *mac) compute(b []byte) []byte {
	k.h.Reset()
	k.head[0], k.head[1] = b[0], b[1]
	binary.BigEndian.PutUint16(k.head[2:], uint16(len(b)-headerSize+integritySize))
	k.h.Write(k.head[:])
	k.h.Write(b[4:])
	return k.h.Sum(k.sum[:0])
}

// proves says whether m was made by somebody who knows the password. The comparison takes the same time for all values.
func (k *mac) proves(m *Message) bool {
	return m.integrity != 0 && hmac.Equal(k.compute(m.raw[:m.integrity]), m.raw[m.integrity+4:m.integrity+integritySize])
}

// begin starts a message at the end of dst.
func begin(dst []byte, c Class, id *TxID) []byte {
	t := uint16(methodBinding) | uint16(c&1)<<4 | uint16(c&2)<<7
	dst = binary.BigEndian.AppendUint16(dst, t)
	dst = append(dst, 0, 0)
	dst = binary.BigEndian.AppendUint32(dst, magicCookie)
	return append(dst, id[:]...)
}

func attrHead(dst []byte, typ uint16, n int) []byte {
	dst = binary.BigEndian.AppendUint16(dst, typ)
	return binary.BigEndian.AppendUint16(dst, uint16(n))
}

func attr32(dst []byte, typ uint16, v uint32) []byte {
	return binary.BigEndian.AppendUint32(attrHead(dst, typ, 4), v)
}

func attr64(dst []byte, typ uint16, v uint64) []byte {
	return binary.BigEndian.AppendUint64(attrHead(dst, typ, 8), v)
}

func attrBytes(dst []byte, typ uint16, v []byte) []byte {
	dst = append(attrHead(dst, typ, len(v)), v...)
	for i := len(v); i&3 != 0; i++ {
		dst = append(dst, 0)
	}
	return dst
}

func attrMapped(dst []byte, a netip.AddrPort, id *TxID) []byte {
	port := a.Port() ^ magicCookie>>16
	if a.Addr().Is4() {
		ip := a.Addr().As4()
		dst = append(attrHead(dst, attrXORMapped, 8), 0, 1, byte(port>>8), byte(port))
		return binary.BigEndian.AppendUint32(dst, binary.BigEndian.Uint32(ip[:])^magicCookie)
	}
	ip := a.Addr().As16()
	dst = append(attrHead(dst, attrXORMapped, 20), 0, 2, byte(port>>8), byte(port))
	dst = binary.BigEndian.AppendUint32(dst, binary.BigEndian.Uint32(ip[:])^magicCookie)
	for i, x := range id {
		dst = append(dst, ip[4+i]^x)
	}
	return dst
}

// attrError writes an error code without a reason: nobody reads it.
func attrError(dst []byte, code int) []byte {
	return append(attrHead(dst, attrErrorCode, 4), 0, 0, byte(code/100), byte(code%100))
}

// finish ends the message that begins at start with MESSAGE-INTEGRITY and FINGERPRINT.
func finish(dst []byte, start int, k *mac) []byte {
	sum := k.compute(dst[start:])
	dst = append(attrHead(dst, attrIntegrity, len(sum)), sum...)
	binary.BigEndian.PutUint16(dst[start+2:], uint16(len(dst)-start-headerSize+8))
	return attr32(dst, attrFingerprint, crc32.ChecksumIEEE(dst[start:])^fingerprintXOR)
}
