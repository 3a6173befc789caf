package turn

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/pion/stun/v4"
)

// keySHA256 and keyMD5 are written down by hand (RFC 8489 §9.2.2, §18.5).
func (r *raw) keySHA256() []byte {
	sum := sha256.Sum256([]byte(r.user + ":" + r.realm + ":" + r.password))
	return sum[:]
}

func (r *raw) keyMD5() []byte {
	sum := md5.Sum([]byte(r.user + ":" + r.realm + ":" + r.password))
	return sum[:]
}

var (
	chooseSHA256 = attr(stun.AttrPasswordAlgorithm, 0, 2, 0, 0)
	chooseMD5    = attr(stun.AttrPasswordAlgorithm, 0, 1, 0, 0)
)

// TestSHA256 is a client of RFC 8489: each way to sign that may be chosen makes an allocation, and all answers are signed so.
func TestSHA256(t *testing.T) {
	s := start(t, testConfig(), newEcho("127.0.0.1:10000"))
	for name, signature := range map[string]func(r *raw) []stun.Setter{
		"SHA-256": func(r *raw) []stun.Setter {
			return []stun.Setter{passwordAlgorithms, chooseSHA256, integritySHA256(r.keySHA256())}
		},
		"MD5, signed by SHA-256": func(r *raw) []stun.Setter {
			return []stun.Setter{passwordAlgorithms, chooseMD5, integritySHA256(r.keyMD5())}
		},
		"SHA-256, of a client that does not choose": func(r *raw) []stun.Setter { return []stun.Setter{integritySHA256(r.keyMD5())} },
		"both integrities": func(r *raw) []stun.Setter { // as libjuice's
			return []stun.Setter{passwordAlgorithms, chooseSHA256, stun.MessageIntegrity(r.keySHA256()), integritySHA256(r.keySHA256()), stun.Fingerprint}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRaw(t, s, "user", "secret")
			r.signature = signature
			key := integritySHA256(r.keySHA256())
			if strings.HasPrefix(name, "MD5") || strings.Contains(name, "not choose") {
				key = r.keyMD5()
			}
			for _, step := range []struct {
				method stun.Method
				attrs  []stun.Setter
				want   int
			}{
				{stun.MethodRefresh, nil, 437},
				{stun.MethodAllocate, []stun.Setter{requestUDP, attr(0x7ffe, 1, 2, 3, 4)}, 420},
				{stun.MethodAllocate, []stun.Setter{requestUDP}, 0},
				{stun.MethodAllocate, []stun.Setter{requestUDP}, 437}, // pion/turn's own
				{stun.MethodCreatePermission, []stun.Setter{peer("127.0.0.1:10000")}, 0},
				{stun.MethodCreatePermission, []stun.Setter{peer("10.0.0.1:10000")}, 403},
				{stun.MethodChannelBind, []stun.Setter{attr(stun.AttrChannelNumber, 0x40, 0, 0, 0), peer("127.0.0.1:10000")}, 0},
				{stun.MethodRefresh, []stun.Setter{attr(stun.AttrLifetime, 0, 0, 0, 0)}, 0},
			} {
				m := r.ask(step.method, step.attrs...)
				if code := codeOf(t, m); code != step.want {
					t.Fatalf("%s: %d, want %d", step.method, code, step.want)
				}
				if !key.checks(m.Raw) || m.Contains(stun.AttrMessageIntegrity) {
					t.Errorf("%s: not signed as asked: %v", step.method, m)
				}
			}
		})
	}
}

// TestBidDown: what was changed between the client and us, so that they use less than both can, is refused (RFC 8489 §9.2.4).
func TestBidDown(t *testing.T) {
	s := start(t, testConfig(), nil)
	only := func(a ...stun.Setter) func(r *raw) []stun.Setter {
		return func(r *raw) []stun.Setter { return append(a, integritySHA256(r.keySHA256())) }
	}
	for name, tc := range map[string]struct {
		cookie    string
		signature func(r *raw) []stun.Setter
		want      int
	}{
		"no list":          {nonceCookie, only(chooseSHA256), 400},
		"no choice":        {nonceCookie, only(passwordAlgorithms), 400},
		"another list":     {nonceCookie, only(attr(stun.AttrPasswordAlgorithms, 0, 1, 0, 0), chooseMD5), 400},
		"another order":    {nonceCookie, only(attr(stun.AttrPasswordAlgorithms, 0, 1, 0, 0, 0, 2, 0, 0), chooseSHA256), 400},
		"a choice of none": {nonceCookie, only(passwordAlgorithms, attr(stun.AttrPasswordAlgorithm, 0, 3, 0, 0)), 400},
		"a short choice":   {nonceCookie, only(passwordAlgorithms, attr(stun.AttrPasswordAlgorithm, 0, 2)), 400},
		"a parameter":      {nonceCookie, only(passwordAlgorithms, attr(stun.AttrPasswordAlgorithm, 0, 2, 0, 4, 1, 2, 3, 4)), 400},
		"no cookie":        {"", nil, 438},
		"another cookie":   {"obMatJos2AAAA", nil, 438},
		"wrong key": {nonceCookie, func(r *raw) []stun.Setter {
			return []stun.Setter{passwordAlgorithms, chooseSHA256, integritySHA256(r.keyMD5())}
		}, 401},
		"shortened": {nonceCookie, func(r *raw) []stun.Setter {
			return []stun.Setter{passwordAlgorithms, chooseSHA256, shortIntegrity(r.keySHA256())}
		}, 401},
	} {
		r := newRaw(t, s, "user", "secret")
		nonce, ok := strings.CutPrefix(r.nonce, nonceCookie)
		if !ok {
			t.Fatal(r.nonce)
		}
		r.nonce, r.signature = tc.cookie+nonce, tc.signature
		m := r.ask(stun.MethodAllocate, requestUDP)
		if code := codeOf(t, m); code != tc.want {
			t.Errorf("%s: %d, want %d", name, code, tc.want)
		}
		if offered, _ := value(m, stun.AttrPasswordAlgorithms); tc.want != 400 && string(offered) != "\x00\x02\x00\x00\x00\x01\x00\x00" {
			t.Errorf("%s: offers %x", name, offered)
		}
	}
	if n := s.Counters(); n["allocations"] != 0 {
		t.Error(n)
	}
}

// shortIntegrity is a MESSAGE-INTEGRITY-SHA256 of 16 bytes, as usages may allow that are not TURN (RFC 8489 §14.6).
type shortIntegrity []byte

func (k shortIntegrity) AddTo(m *stun.Message) error {
	m.Add(stun.AttrMessageIntegritySHA256, integritySHA256(k).of(m.Raw, len(m.Raw))[:16])
	return nil
}

// TestNotSigned: what stands behind the integrity is as if it were not there, and a request needs all of its parts.
func TestNotSigned(t *testing.T) {
	s := start(t, testConfig(), nil)
	r := newRaw(t, s, "user", "secret")
	integrity := stun.NewLongTermIntegrity(r.user, r.realm, r.password)
	r.signature = func(*raw) []stun.Setter {
		return []stun.Setter{integrity, attr(0x7ffe, 1), attr(stun.AttrRequestedTransport, 6, 0, 0, 0), attr(stun.AttrEvenPort, 0x80)}
	}
	m := r.ask(stun.MethodAllocate, requestUDP)
	if codeOf(t, m) != 0 || m.Contains(stun.AttrReservationToken) {
		t.Error(m)
	}
	parts := []stun.Setter{stun.NewUsername(r.user), stun.NewRealm(r.realm), stun.NewNonce(r.nonce)}
	for left := range parts {
		for _, sign := range []stun.Setter{integrity, integritySHA256(r.keyMD5())} {
			all := []stun.Setter{stun.TransactionID, stun.NewType(stun.MethodRefresh, stun.ClassRequest)}
			for i, p := range parts {
				if i != left {
					all = append(all, p)
				}
			}
			if code := codeOf(t, r.exchange(stun.MustBuild(append(all, sign)...))); code != 400 {
				t.Errorf("without part %d: %d", left, code)
			}
		}
	}
}

// TestIntegritySHA256 checks a request that another implementation has signed.
func TestIntegritySHA256(t *testing.T) {
	const request = "000300902112a4420102030405060708090a0b0c0019000411000000001e0020cf9fa894dfc9b7680968aec1efb3a6b8b2a1cac25c0461cab3b0c2f87c25eeaf" +
		"0014000b6578616d706c652e6f726700001500166f624d61744a6f7332674141416e6f6e63652d6f6e650000001d000400020000800200080002000000010000" +
		"001c002096e0543436ff8a3e47cd6726e304d2a8517fb2ebb9b8512b11649f9109a63e24"
	p, err := hex.DecodeString(request)
	if err != nil {
		t.Fatal(err)
	}
	c := newCredentials(Config{Realm: "example.org", Users: map[string]string{"user": "secret"}})
	key, ok := c.key(algorithmSHA256, "user", "example.org")
	if !ok || !integritySHA256(key).checks(p) {
		t.Error("not taken")
	}
	for i := range p {
		if i == 2 || i == 3 {
			continue // the length of the message, which the integrity replaces
		}
		p[i] ^= 1
		if integritySHA256(key).checks(p) {
			t.Errorf("byte %d may be changed", i)
		}
		p[i] ^= 1
	}
	for n := range p {
		if integritySHA256(key).checks(p[:n]) {
			t.Errorf("%d bytes are enough", n)
		}
	}
}
