package sasl

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha1" // SCRAM-SHA-1 is what older clients have; HMAC-SHA-1 is not broken
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"hash"
	"slices"
	"strconv"
	"strings"
)

// Keys gives what is stored for user (RFC 5802 §3); ok false: no such account, with a salt that stays the same for that name.
type Keys func(ctx context.Context, user, hash string) (salt []byte, iterations int, storedKey, serverKey []byte, ok bool, err error)

// Offer is what the client was offered, in the form that is hashed into a challenge (XEP-0474 §5.1), so that nobody between can have
// left something out: mechanisms, and the types of channel binding unless there are none.
func Offer(mechanisms, bindings []string) string {
	offer := strings.Join(slices.Sorted(slices.Values(mechanisms)), "\x1e")
	if len(bindings) > 0 {
		offer += "\x1f" + strings.Join(slices.Sorted(slices.Values(bindings)), "\x1e")
	}
	return offer
}

// SCRAM is SCRAM-SHA-1, SCRAM-SHA-256 or SCRAM-SHA-512, plain or -PLUS.
type SCRAM struct {
	Hash string // "SHA-1", "SHA-256" or "SHA-512"
	Plus bool
	Keys Keys
	// Bindings are the channel bindings of this connection by type. A -PLUS mechanism needs the one that the client names.
	Bindings map[string][]byte
	// Offer is what the client was offered, as Offer gives it; "": it is not told.
	Offer string
	// RefuseY: -PLUS was offered, so a client that believes it was not has been lied to by somebody in between (RFC 5802 §6).
	RefuseY bool

	step                  int
	gs2                   string // header, as sent
	binding               []byte
	user, authzid         string
	clientBare, serverMsg string
	nonce                 string
	stored, server        []byte
	known                 bool
}

// nonceBytes is what our half of the nonce has of randomness.
const nonceBytes = 18

// Step runs the exchange of RFC 5802 §5.
func (s *SCRAM) Step(ctx context.Context, response []byte) ([]byte, bool, error) {
	s.step++
	switch s.step {
	case 1:
		if response == nil { // no initial response: ask for it
			s.step = 0
			return []byte{}, false, nil
		}
		return s.first(ctx, string(response))
	case 2:
		return s.final(string(response))
	}
	return nil, false, malformed("exchange is over")
}

// Identity is who logged in.
func (s *SCRAM) Identity() Identity { return Identity{User: s.user, Authzid: s.authzid} }

// Name is the user name tried.
func (s *SCRAM) Name() string { return s.user }

func (s *SCRAM) newHash() func() hash.Hash {
	switch s.Hash {
	case "SHA-1":
		return sha1.New
	case "SHA-512":
		return sha512.New
	}
	return sha256.New
}

func (s *SCRAM) first(ctx context.Context, msg string) ([]byte, bool, error) {
	bare, err := s.header(msg)
	if err != nil {
		return nil, false, err
	}
	parts := strings.Split(bare, ",")
	if len(parts) < 2 || !strings.HasPrefix(parts[0], "n=") || !strings.HasPrefix(parts[1], "r=") {
		return nil, false, malformed("not a client-first-message") // a mandatory extension (m=) ends here too
	}
	user, ok := unescape(parts[0][2:])
	clientNonce := parts[1][2:]
	if !ok || user == "" || !printable(clientNonce) {
		return nil, false, malformed("bad name or nonce")
	}
	own := make([]byte, nonceBytes)
	_, _ = rand.Read(own) // never fails
	salt, iterations, stored, server, known, kerr := s.Keys(ctx, user, s.Hash)
	if kerr != nil {
		return nil, false, temporary()
	}
	s.user, s.clientBare, s.stored, s.server, s.known = user, bare, stored, server, known
	s.nonce = clientNonce + base64.RawStdEncoding.EncodeToString(own)
	s.serverMsg = "r=" + s.nonce + ",s=" + base64.StdEncoding.EncodeToString(salt) + ",i=" + strconv.Itoa(iterations)
	if s.Offer != "" { // clients that do not know the attribute pass over it (RFC 5802 §5.1)
		h := s.newHash()()
		h.Write([]byte(s.Offer))
		s.serverMsg += ",h=" + base64.StdEncoding.EncodeToString(h.Sum(nil))
	}
	return []byte(s.serverMsg), false, nil
}

// header takes the gs2-header off and judges the channel-binding flag.
func (s *SCRAM) header(msg string) (bare string, err error) {
	flag, rest, ok := strings.Cut(msg, ",")
	authzid, bare, ok2 := strings.Cut(rest, ",")
	if !ok || !ok2 {
		return "", malformed("no gs2 header")
	}
	s.gs2 = msg[:len(msg)-len(bare)]
	if authzid != "" {
		if s.authzid, ok = unescape(strings.TrimPrefix(authzid, "a=")); !ok || !strings.HasPrefix(authzid, "a=") || s.authzid == "" {
			return "", malformed("bad authorization identity")
		}
	}
	typ, bound := strings.CutPrefix(flag, "p=")
	switch {
	case bound != s.Plus, !bound && flag != "n" && flag != "y":
		return "", malformed("channel binding flag does not fit the mechanism")
	case flag == "y" && s.RefuseY:
		return "", &Failure{Condition: "not-authorized", Text: "channel binding is supported here"}
	case bound:
		if s.binding = s.Bindings[typ]; len(s.binding) == 0 {
			return "", &Failure{Condition: "not-authorized", Text: "channel binding type not supported", Binding: true}
		}
	}
	return bare, nil
}

func (s *SCRAM) final(msg string) ([]byte, bool, error) {
	i := strings.LastIndex(msg, ",p=")
	if i < 0 {
		return nil, false, malformed("no proof")
	}
	proof, err := base64.StdEncoding.DecodeString(msg[i+3:])
	parts := strings.Split(msg[:i], ",")
	if err != nil || len(parts) < 2 || !strings.HasPrefix(parts[0], "c=") || !strings.HasPrefix(parts[1], "r=") {
		return nil, false, malformed("not a client-final-message")
	}
	cb, err := base64.StdEncoding.DecodeString(parts[0][2:])
	if err != nil {
		return nil, false, malformed("bad channel binding data")
	}
	bindOK := subtle.ConstantTimeCompare(cb, append([]byte(s.gs2), s.binding...)) == 1
	nonceOK := subtle.ConstantTimeCompare([]byte(parts[1][2:]), []byte(s.nonce)) == 1
	auth := s.clientBare + "," + s.serverMsg + "," + msg[:i]
	proofOK := s.checkProof(proof, auth)
	if !bindOK || !nonceOK || !proofOK || !s.known {
		f := notAuthorized()
		f.Binding = s.Plus && !bindOK
		return nil, false, f
	}
	return []byte("v=" + base64.StdEncoding.EncodeToString(s.mac(s.server, auth))), true, nil
}

// checkProof takes the same steps whether the account is known or not.
func (s *SCRAM) checkProof(proof []byte, auth string) bool {
	stored := s.stored
	h := s.newHash()()
	if len(stored) != h.Size() {
		stored = make([]byte, h.Size())
	}
	key := s.mac(stored, auth)
	if len(proof) != len(key) {
		return false
	}
	subtle.XORBytes(key, key, proof) // the client's key
	h.Write(key)
	return subtle.ConstantTimeCompare(h.Sum(nil), stored) == 1
}

func (s *SCRAM) mac(key []byte, msg string) []byte {
	m := hmac.New(s.newHash(), key)
	m.Write([]byte(msg))
	return m.Sum(nil)
}

// unescape resolves =2C and =3D of a saslname (RFC 5802 §5.1).
func unescape(s string) (string, bool) {
	var b bytes.Buffer
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == 0:
			return "", false
		case s[i] != '=':
			b.WriteByte(s[i])
		case strings.HasPrefix(s[i:], "=2C"):
			b.WriteByte(',')
			i += 2
		case strings.HasPrefix(s[i:], "=3D"):
			b.WriteByte('=')
			i += 2
		default:
			return "", false
		}
	}
	return b.String(), true
}

func printable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return s != ""
}
