package turn

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/pion/stun/v4"
)

// pion/turn knows long-term credentials as of RFC 5389 alone: MD5 makes the key, SHA-1 the integrity. So the gate checks what clients of RFC 8489 sign with
// SHA-256, gives pion/turn the request signed anew as it understands it, and signs its answer as the client wants it.

// algorithm makes the key of a user (RFC 8489 §18.5).
type algorithm uint16

const (
	algorithmMD5    algorithm = 0x0001
	algorithmSHA256 algorithm = 0x0002
)

// passwordAlgorithms is the PASSWORD-ALGORITHMS of all answers, the best one first (RFC 8489 §14.11).
var passwordAlgorithms = stun.RawAttribute{Type: stun.AttrPasswordAlgorithms, Value: []byte{0, byte(algorithmSHA256), 0, 0, 0, byte(algorithmMD5), 0, 0}}

// nonceCookie is what all nonces begin with: that who answers knows password algorithms (RFC 8489 §9.2), so that nobody on the way can take them out. Bit 0 of the
// security features is the first bit by §18.1 and the last one by erratum 6290; the others of the two are not assigned.
const nonceCookie = "obMatJos2" + "gAAB"

const sha256Size = 4 + sha256.Size // bytes, MESSAGE-INTEGRITY-SHA256 with its header

// integritySHA256 is MESSAGE-INTEGRITY-SHA256 by a key (RFC 8489 §14.6).
type integritySHA256 []byte

// AddTo signs a message so far.
func (k integritySHA256) AddTo(m *stun.Message) error {
	m.Add(stun.AttrMessageIntegritySHA256, k.of(m.Raw, len(m.Raw)))
	return nil
}

// of is the integrity of the first n bytes of a message, as the next attribute.
func (k integritySHA256) of(raw []byte, n int) []byte {
	var head [stunHeader]byte
	copy(head[:], raw)
	binary.BigEndian.PutUint16(head[2:], uint16(n-stunHeader+sha256Size))
	h := hmac.New(sha256.New, k)
	h.Write(head[:])
	h.Write(raw[stunHeader:n])
	return h.Sum(nil)
}

// checks tells whether a message has the right integrity. A shorter one is for usages that say so, which TURN does not.
func (k integritySHA256) checks(raw []byte) bool {
	for at := stunHeader; at+4 <= len(raw); {
		n := int(binary.BigEndian.Uint16(raw[at+2:]))
		if stun.AttrType(binary.BigEndian.Uint16(raw[at:])) == stun.AttrMessageIntegritySHA256 {
			return n == sha256.Size && at+sha256Size <= len(raw) && hmac.Equal(raw[at+4:at+sha256Size], k.of(raw, at))
		}
		at += 4 + (n+3)&^3
	}
	return false
}

// signed gives the attributes of a message that its integrity covers, and the integrity: what stands behind does not count (RFC 8489 §14.5, §14.6).
func signed(all stun.Attributes) stun.Attributes {
	at := slices.IndexFunc(all, func(a stun.RawAttribute) bool {
		return a.Type == stun.AttrMessageIntegrity || a.Type == stun.AttrMessageIntegritySHA256
	})
	if at < 0 {
		return all
	}
	next := at + 1
	if all[at].Type == stun.AttrMessageIntegrity && next < len(all) && all[next].Type == stun.AttrMessageIntegritySHA256 {
		next++
	}
	return all[:next]
}

// chosen gives the algorithm that a request was signed with; not ok is a choice that was not offered so (RFC 8489 §9.2.4).
func chosen(m *stun.Message) (a algorithm, ok bool) {
	choice, has := value(m, stun.AttrPasswordAlgorithm)
	offer, echoed := value(m, stun.AttrPasswordAlgorithms)
	if !has && !echoed {
		return algorithmMD5, true
	}
	if !has || !bytes.Equal(offer, passwordAlgorithms.Value) || len(choice) != 4 || choice[2]|choice[3] != 0 { // no algorithm has parameters
		return 0, false
	}
	a = algorithm(binary.BigEndian.Uint16(choice))
	return a, a == algorithmMD5 || a == algorithmSHA256
}

// proof is what signs answers to the user whose request this is, as the request is signed.
func (q *request) proof() stun.Setter {
	if q.sha256 {
		return integritySHA256(q.key)
	}
	return stun.MessageIntegrity(q.key)
}

// challenge is what an answer shows to who is to prove who it is.
func (g *gate) challenge(nonce string) []stun.Setter {
	return []stun.Setter{stun.NewRealm(g.s.cfg.Realm), stun.RawAttribute{Type: stun.AttrNonce, Value: []byte(nonceCookie + nonce)}, passwordAlgorithms}
}

// ownNonce is the nonce that pion/turn has made, of one that a client shows. What has lost the cookie on its way is nobody's.
func ownNonce(shown []byte) string {
	nonce, ok := strings.CutPrefix(string(shown), nonceCookie)
	if !ok {
		return ""
	}
	return nonce
}
