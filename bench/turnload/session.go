package turnload

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"time"

	"github.com/pion/stun/v4"
)

const (
	// tries of a request over UDP, each with answerTime to answer: setting up hundreds at once, a server may lose some.
	tries      = 8
	answerTime = 500 * time.Millisecond
	// firstChannel is the channel of every allocation (RFC 8656 §12).
	firstChannel = 0x4000
	// lifetime asked for, seconds: a run should not have to refresh allocations. Permissions have five minutes.
	lifetime = 3600
	// refreshAfter is when channels and permissions are bound anew.
	refreshAfter = 4 * time.Minute
)

// session is one allocation.
type session struct {
	id       uint32
	username string
	password string
	realm    string
	nonce    string
	relayed  netip.AddrPort
	exchange func(m *stun.Message) (*stun.Message, error)
}

// credentials are those of session i: of a REST secret (draft-uberti-behave-turn-rest-00 §2.2), each a user of its own, or the static ones.
func (c *Config) credentials(i int) (username, password string) {
	if c.Secret == "" {
		return c.Username, c.Password
	}
	username = strconv.FormatInt(time.Now().Add(24*time.Hour).Unix(), 10) + ":bench" + strconv.Itoa(i)
	m := hmac.New(sha1.New, []byte(c.Secret))
	m.Write([]byte(username))
	return username, base64.StdEncoding.EncodeToString(m.Sum(nil))
}

// peerAddress is an XOR-PEER-ADDRESS attribute.
type peerAddress netip.AddrPort

func (p peerAddress) AddTo(m *stun.Message) error {
	a := netip.AddrPort(p)
	return stun.XORMappedAddress{IP: net.IP(a.Addr().AsSlice()), Port: int(a.Port())}.AddToAs(m, stun.AttrXORPeerAddress)
}

func number(t stun.AttrType, v ...byte) stun.RawAttribute {
	return stun.RawAttribute{Type: t, Value: v}
}

func (s *session) build(method stun.Method, attrs ...stun.Setter) *stun.Message {
	all := append([]stun.Setter{stun.TransactionID, stun.NewType(method, stun.ClassRequest)}, attrs...)
	if s.nonce != "" {
		all = append(all, stun.NewUsername(s.username), stun.NewRealm(s.realm), stun.NewNonce(s.nonce), stun.NewLongTermIntegrity(s.username, s.realm, s.password))
	}
	return stun.MustBuild(append(all, stun.Fingerprint)...)
}

// ask sends a request and gives its success response; 401 and 438 are answered with the realm and nonce that they bring.
func (s *session) ask(method stun.Method, attrs ...stun.Setter) (*stun.Message, error) {
	for range 3 {
		a, err := s.exchange(s.build(method, attrs...))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", method, err)
		}
		if a.Type.Class == stun.ClassSuccessResponse {
			return a, nil
		}
		var code stun.ErrorCodeAttribute
		if err := code.GetFrom(a); err != nil {
			return nil, fmt.Errorf("%s: refused without a reason", method)
		}
		if code.Code != stun.CodeUnauthorized && code.Code != stun.CodeStaleNonce {
			return nil, fmt.Errorf("%s: %v", method, code)
		}
		var realm stun.Realm
		var nonce stun.Nonce
		if err := a.Parse(&realm, &nonce); err != nil {
			return nil, fmt.Errorf("%s: %v without realm and nonce", method, code)
		}
		if s.nonce != "" && code.Code == stun.CodeUnauthorized {
			return nil, fmt.Errorf("%s: %v", method, code)
		}
		s.realm, s.nonce = realm.String(), nonce.String()
	}
	return nil, errors.New("the server asks for credentials again and again")
}

// setUp makes the allocation, with a channel to peer when channels are wanted.
func (s *session) setUp(peer netip.AddrPort, channel bool) error {
	family := byte(1)
	if peer.Addr().Is6() {
		family = 2
	}
	attrs := []stun.Setter{number(stun.AttrRequestedTransport, 17, 0, 0, 0), number(stun.AttrLifetime, 0, 0, lifetime>>8, lifetime&0xff)}
	if family == 2 {
		attrs = append(attrs, number(stun.AttrRequestedAddressFamily, family, 0, 0, 0))
	}
	a, err := s.ask(stun.MethodAllocate, attrs...)
	if err != nil {
		return err
	}
	var relayed stun.XORMappedAddress
	if err := relayed.GetFromAs(a, stun.AttrXORRelayedAddress); err != nil {
		return fmt.Errorf("allocate: %w", err)
	}
	ip, _ := netip.AddrFromSlice(relayed.IP)
	s.relayed = netip.AddrPortFrom(ip.Unmap(), uint16(relayed.Port))
	for _, m := range s.grants(peer, channel) {
		if _, err := s.ask(m.method, m.attrs...); err != nil {
			return err
		}
	}
	return nil
}

type grant struct {
	method stun.Method
	attrs  []stun.Setter
}

// grants are the requests that let packets pass, and keep doing so when repeated.
func (s *session) grants(peer netip.AddrPort, channel bool) []grant {
	all := []grant{{stun.MethodCreatePermission, []stun.Setter{peerAddress(peer)}}}
	if channel {
		all = append(all, grant{stun.MethodChannelBind, []stun.Setter{number(stun.AttrChannelNumber, firstChannel>>8, firstChannel&0xff, 0, 0), peerAddress(peer)}})
	}
	return all
}

// renew grants channels and permissions again; where it fails packets will be missed.
func (s *session) renew(peer netip.AddrPort, channel bool) {
	for _, g := range s.grants(peer, channel) {
		_, _ = s.ask(g.method, g.attrs...)
	}
}

// headSize is how many bytes of TURN stand before a packet from a client: of channel data, or of a Send indication to peer.
func (c *Config) headSize(peer netip.AddrPort) int {
	if !c.Indications {
		return 4
	}
	if peer.Addr().Is6() {
		return 20 + 24 + 4
	}
	return 20 + 12 + 4
}

// wire makes a packet as a client sends it, and tells where the payload stands.
func (c *Config) wire(peer netip.AddrPort, stream bool) (p []byte, at int) {
	at = c.headSize(peer)
	padding := 0
	if c.Indications || stream {
		padding = -c.Payload & 3
	}
	if !c.Indications {
		p = make([]byte, at+c.Payload+padding)
		p[0], p[1], p[2], p[3] = firstChannel>>8, firstChannel&0xff, byte(c.Payload>>8), byte(c.Payload)
		return p, at
	}
	m := stun.MustBuild(stun.TransactionID, stun.NewType(stun.MethodSend, stun.ClassIndication), peerAddress(peer),
		stun.RawAttribute{Type: stun.AttrData, Value: make([]byte, c.Payload)})
	return m.Raw, at
}

// unwrap finds the payload of what a client received: channel data, or a Data indication. Nil is neither.
func unwrap(p []byte) []byte {
	if len(p) < 4 {
		return nil
	}
	if p[0]>>6 == 1 {
		if n := int(p[2])<<8 | int(p[3]); n <= len(p)-4 {
			return p[4 : 4+n]
		}
		return nil
	}
	if len(p) < 20 || p[0] != 0 || p[1] != 0x17 {
		return nil
	}
	for rest := p[20:]; len(rest) >= 4; {
		n := int(rest[2])<<8 | int(rest[3])
		if 4+n > len(rest) {
			return nil
		}
		if rest[0] == 0 && rest[1] == 0x13 { // DATA
			return rest[4 : 4+n]
		}
		rest = rest[min(4+(n+3)&^3, len(rest)):]
	}
	return nil
}
