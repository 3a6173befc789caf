package turn

import (
	"encoding/binary"
	"errors"
	"hash/maphash"
	"net/netip"
	"slices"
	"time"

	"konzil/internal/udpio"

	"github.com/pion/stun/v4"
)

const (
	stunHeader  = 20         // bytes, RFC 8489 §5
	magicCookie = 0x2112A442 // RFC 8489 §5

	// Channel numbers by RFC 5766 §11. RFC 8656 §12 ends at 0x4FFF, so that ports can be shared with media (RFC 7983); on our own port
	// there is no such need, and clients in use choose above it (coturn's).
	minChannel, maxChannel = 0x4000, 0x7FFF

	familyIPv4, familyIPv6 = 0x01, 0x02 // RFC 8656 §18.6
	protocolUDP            = 17         // RFC 8656 §18.8
)

// admit looks at what is no data before pion/turn does. False: it is answered, or not worth an answer.
func (g *gate) admit(p []byte, from netip.AddrPort) bool {
	if len(p) < 4 {
		g.s.count.malformed.Add(1)
		return false
	}
	if p[0]>>6 == 0 && len(p) >= stunHeader && binary.BigEndian.Uint32(p[4:]) == magicCookie && p[0]&1 == 0 {
		if p[1]&0x10 == 0 {
			return g.admitRequest(p, from)
		}
		if p[0] == 0 && p[1] == 0x11 { // a Binding indication keeps a NAT open (RFC 8489 §7.3.2)
			return false
		}
	}
	g.s.count.malformed.Add(1)
	return false
}

// admitRequest fills cur and answers what pion/turn would answer wrongly, or not at all. It refuses for a reason of its own only
// who has proved to be a user; all others are pion/turn's, which asks them for credentials.
func (g *gate) admitRequest(p []byte, from netip.AddrPort) bool {
	m := &g.msg
	m.Raw = append(m.Raw[:0], p...)
	if m.Decode() != nil || m.Contains(stun.AttrFingerprint) && stun.Fingerprint.Check(m) != nil { // then it is no STUN (RFC 8489 §7)
		g.s.count.malformed.Add(1)
		return false
	}
	g.s.count.requests.Add(1)
	wrong := g.authenticate(m, from)
	if !g.cur.ok {
		if g.cur.signed {
			g.s.count.unauthorized.Add(1)
		}
		// Whoever forges a victim's address makes us send it answers longer than the question.
		if g.datagram && !g.limit.take(from.Addr(), time.Now().Unix()) {
			g.s.count.limited.Add(1)
			return false
		}
		if unknown := unknownAttributes(m); len(unknown) > 0 && m.Type.Method == stun.MethodBinding {
			g.s.count.refused.Add(1)
			_ = g.link.write(g.errorResponse(stun.CodeUnknownAttribute, unknown), from)
			return false
		}
		if wrong {
			g.s.count.refused.Add(1)
			_ = g.link.write(g.errorResponse(stun.CodeBadRequest), from)
			return false
		}
		unheard := g.unheard(m.Type.Method)
		if g.cur.signed || unheard {
			g.cur.instead, _ = g.forPion(m)
		}
		return !g.cur.signed && !unheard || g.cur.instead != nil
	}
	if unknown := unknownAttributes(m); len(unknown) > 0 {
		g.s.count.refused.Add(1)
		_ = g.link.write(g.errorResponse(stun.CodeUnknownAttribute, unknown, g.cur.proof()), from)
		return false
	}
	code, reason := g.judge(m)
	if code == 0 {
		var ok bool
		if g.cur.instead, ok = g.forPion(m); !ok {
			code, reason = stun.CodeBadRequest, &g.s.count.refused
		}
	}
	if code != 0 {
		reason.Add(1)
		_ = g.link.write(g.errorResponse(code, g.cur.proof()), from) // a client that is gone needs no answer
		return false
	}
	return true
}

// unknownAttributes are those that the server would have to understand and does not (RFC 8489 §6.3.1).
func unknownAttributes(m *stun.Message) (unknown stun.UnknownAttributes) {
	for _, a := range m.Attributes {
		switch a.Type {
		case stun.AttrUsername, stun.AttrMessageIntegrity, stun.AttrMessageIntegritySHA256, stun.AttrPasswordAlgorithm, stun.AttrErrorCode, stun.AttrUnknownAttributes, stun.AttrRealm,
			stun.AttrNonce, stun.AttrMappedAddress, stun.AttrXORMappedAddress, stun.AttrChannelNumber, stun.AttrLifetime, stun.AttrXORPeerAddress, stun.AttrData,
			stun.AttrXORRelayedAddress, stun.AttrRequestedAddressFamily, stun.AttrEvenPort, stun.AttrRequestedTransport, stun.AttrReservationToken:
		case stun.AttrDontFragment:
			if !udpio.CanForbidFragments {
				unknown = append(unknown, a.Type)
			}
		case stun.AttrPriority, stun.AttrUseCandidate: // ICE agents may send their Binding requests to a STUN server too (RFC 8445 §7.1)
		default:
			if a.Type.Required() {
				unknown = append(unknown, a.Type)
			}
		}
	}
	return unknown
}

// defaultLifetime is what a request without LIFETIME asks for (RFC 8656 §3.2).
const defaultLifetime = 10 * time.Minute

// longestLifetime is the most that pion/turn grants: of an hour it makes the default.
const longestLifetime = time.Hour - time.Second

// lifetime is what the request in hand gets of the lifetime that it asks for: the default at least, no more than we grant (RFC 8656 §7.2, §8.2).
func (g *gate) lifetime(wanted time.Duration) time.Duration {
	switch {
	case g.cur.drop != 0: // the other relayed address goes on: no shorter than its client believes
		wanted = longestLifetime
	case wanted == 0 && g.cur.method == stun.MethodRefresh: // the end
		return 0
	}
	wanted = min(max(wanted, defaultLifetime), longestLifetime)
	if most := g.s.cfg.MaxLifetime; most > 0 && wanted > most {
		return most
	}
	return wanted
}

// authenticate fills cur from the message, and leaves it what its integrity covers. It checks all but the nonce, which only pion/turn can. Wrong is a request that
// is signed, but not as the long-term credential mechanism wants it (RFC 8489 §9.2.4).
func (g *gate) authenticate(m *stun.Message, from netip.AddrPort) (wrong bool) {
	whole := *m
	m.Attributes = signed(m.Attributes)
	g.cur = request{from: from, id: m.TransactionID, method: m.Type.Method, peers: g.cur.peers[:0], sha256: m.Contains(stun.AttrMessageIntegritySHA256)}
	if !g.cur.sha256 && !m.Contains(stun.AttrMessageIntegrity) || m.Type.Method == stun.MethodBinding {
		return false
	}
	username, err1 := m.Get(stun.AttrUsername)
	realm, err2 := m.Get(stun.AttrRealm)
	nonce, err3 := m.Get(stun.AttrNonce)
	algorithm, ok := chosen(m)
	if errors.Join(err1, err2, err3) != nil || !ok {
		return true
	}
	g.cur.signed, g.cur.username, g.cur.nonce = true, string(username), ownNonce(nonce)
	key, ok := g.s.creds.key(algorithm, g.cur.username, string(realm))
	if !ok {
		return false
	}
	if g.cur.sha256 {
		ok = integritySHA256(key).checks(m.Raw)
	} else {
		ok = stun.MessageIntegrity(key).Check(&whole) == nil
	}
	if ok {
		g.cur.key, g.cur.ok = key, true
	}
	return false
}

// unheard tells whether pion/turn would say nothing to a request in hand that is not authentic: of these it looks for the allocation first.
func (g *gate) unheard(m stun.Method) bool {
	return (m == stun.MethodCreatePermission || m == stun.MethodChannelBind) && !g.cur.ok && g.client(g.cur.from) == nil
}

type counter interface{ Add(uint64) uint64 }

// judge gives the error code for an authenticated request, and what counts it; 0 lets it pass.
func (g *gate) judge(m *stun.Message) (stun.ErrorCode, counter) {
	c := &g.s.count
	r := g.client(g.cur.from)
	if m.Type.Method == stun.MethodAllocate {
		if r != nil { // a repeated request, or 437 by pion/turn
			return 0, nil
		}
		return g.judgeAllocate(m)
	}
	switch {
	case m.Type.Method != stun.MethodRefresh && m.Type.Method != stun.MethodCreatePermission && m.Type.Method != stun.MethodChannelBind:
		return 0, nil
	case r == nil:
		return stun.CodeAllocMismatch, &c.refused // RFC 8656 §5
	case r.username != g.cur.username:
		return stun.CodeWrongCredentials, &c.refused // RFC 8656 §5
	case m.Type.Method == stun.MethodRefresh:
		return g.judgeRefresh(m, r)
	}
	if v, err := m.Get(stun.AttrChannelNumber); m.Type.Method == stun.MethodChannelBind {
		if err != nil || len(v) != 4 || !g.validChannel(binary.BigEndian.Uint16(v)) {
			return stun.CodeBadRequest, &c.refused // RFC 8656 §12.2
		}
		g.cur.channel = binary.BigEndian.Uint16(v)
	}
	if code, reason := g.judgePeers(m, r); code != 0 {
		return code, reason
	}
	if g.cur.channel != 0 && len(g.cur.peers) != 1 {
		return stun.CodeBadRequest, &c.refused
	}
	if r.table.Load().full(g.cur.peers, g.cur.channel != 0, g.s.clock()) {
		return stun.CodeInsufficientCapacity, &c.tableFull // RFC 8656 §10.2
	}
	return 0, nil
}

func (g *gate) validChannel(n uint16) bool { return n >= minChannel && n <= g.maxChannel }

func (g *gate) judgeAllocate(m *stun.Message) (stun.ErrorCode, counter) {
	c := &g.s.count
	if v, err := m.Get(stun.AttrRequestedTransport); err == nil && (len(v) != 4 || v[0] != protocolUDP) {
		return stun.CodeUnsupportedTransProto, &c.refused // RFC 8656 §7.2: pion/turn takes TCP too, and gives UDP
	}
	if code := g.cur.wishes.read(m); code != 0 {
		return code, &c.refused
	}
	if !slices.ContainsFunc(g.cur.wishes.families(), g.s.hasRelays) {
		return stun.CodeAddrFamilyNotSupported, &c.refused
	}
	switch err := g.s.reg.room(quotaName(g.cur.username), g.cur.from.Addr()); {
	case errors.Is(err, errQuota):
		return stun.CodeAllocQuotaReached, &c.quota
	case err != nil:
		return stun.CodeInsufficientCapacity, &c.noPort
	}
	return 0, nil
}

// judgeRefresh looks at a Refresh of one relayed address of two: it can only be ended alone (RFC 8656 §8.2).
func (g *gate) judgeRefresh(m *stun.Message, r *relay) (stun.ErrorCode, counter) {
	family, ok := value(m, stun.AttrRequestedAddressFamily)
	if !ok {
		return 0, nil
	}
	if len(family) != 4 {
		return stun.CodeBadRequest, &g.s.count.refused
	}
	if r.leg(family[0]) == nil {
		return stun.CodePeerAddrFamilyMismatch, &g.s.count.refused
	}
	if life, ok := value(m, stun.AttrLifetime); ok && len(life) == 4 && binary.BigEndian.Uint32(life) == 0 && r.legsLeft() > 1 {
		g.cur.drop = family[0]
	}
	return 0, nil
}

// judgePeers checks all peers of a CreatePermission or ChannelBind: one that may not be reached refuses all (RFC 8656 §10.2).
func (g *gate) judgePeers(m *stun.Message, r *relay) (stun.ErrorCode, counter) {
	c := &g.s.count
	for _, a := range m.Attributes {
		if a.Type != stun.AttrXORPeerAddress {
			continue
		}
		peer, family, ok := decodeXORAddress(a.Value, m.TransactionID)
		switch {
		case !ok:
			return stun.CodeBadRequest, &c.refused
		case r.leg(family) == nil:
			return stun.CodePeerAddrFamilyMismatch, &c.refused // RFC 8656 §10.2
		case !g.s.mayPermit(peer.Addr().Unmap()):
			return stun.CodeForbidden, &c.deniedPermission
		}
		g.cur.peers = append(g.cur.peers, unmap(peer))
	}
	if len(g.cur.peers) == 0 {
		return stun.CodeBadRequest, &c.refused
	}
	return 0, nil
}

// decodeXORAddress reads an XOR-PEER-ADDRESS (RFC 8489 §14.2).
func decodeXORAddress(v []byte, id [stun.TransactionIDSize]byte) (a netip.AddrPort, family byte, ok bool) {
	if len(v) < 8 || v[0] != 0 { // pion/turn takes the zero as part of the family
		return a, 0, false
	}
	var key [16]byte
	binary.BigEndian.PutUint32(key[:], magicCookie)
	copy(key[4:], id[:])
	port := binary.BigEndian.Uint16(v[2:]) ^ uint16(magicCookie>>16)
	ip := v[4:]
	if v[1] == familyIPv4 && len(ip) != 4 || v[1] == familyIPv6 && len(ip) != 16 || v[1] != familyIPv4 && v[1] != familyIPv6 {
		return a, 0, false
	}
	var plain [16]byte
	for i := range ip {
		plain[i] = ip[i] ^ key[i]
	}
	addr, ok := netip.AddrFromSlice(plain[:len(ip)])
	return netip.AddrPortFrom(addr, port), v[1], ok
}

// errorResponse builds an error for the request in hand, with MESSAGE-INTEGRITY as last setter when the user is known.
func (g *gate) errorResponse(code stun.ErrorCode, extra ...stun.Setter) []byte {
	m := stun.New()
	setters := append([]stun.Setter{stun.NewTransactionIDSetter(g.cur.id), stun.NewType(g.cur.method, stun.ClassErrorResponse), code}, extra...)
	if err := m.Build(setters...); err != nil {
		return nil // only a nonce or reason beyond its bounds can fail, and both were taken from a valid message
	}
	return m.Raw
}

const (
	limitBuckets = 1024 // of sources; two in one bucket share it
	// limitPerSecond is how many answers a second unproved sources of one bucket get. 1000 are enough for a lecture hall behind one
	// address that joins at once, and no weapon: about 150 kB/s.
	limitPerSecond = 1000
)

// limiter bounds answers per source address. It belongs to one goroutine.
type limiter struct {
	seed    maphash.Seed
	buckets []struct {
		second int64
		n      int
	}
}

// take tells whether a source may have one more answer in this second (Unix time).
func (l *limiter) take(a netip.Addr, second int64) bool {
	if l.buckets == nil {
		l.seed = maphash.MakeSeed() // unknown to others, who could else choose whom to share a bucket with
		l.buckets = make([]struct {
			second int64
			n      int
		}, limitBuckets)
	}
	b := &l.buckets[maphash.Comparable(l.seed, a)%limitBuckets]
	if b.second != second {
		b.second, b.n = second, 0
	}
	b.n++
	return b.n <= limitPerSecond
}
