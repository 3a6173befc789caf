package keying

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1" // RFC 8122 lets peers signal it; sha-256 is required besides, or Config.SHA1 says otherwise
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// certLife is how long the self-made certificate is valid; browsers do not look at it, the fingerprint binds it.
const certLife = 10 * 365 * 24 * time.Hour

// Identity is what a server proves by DTLS. Fingerprint is of its certificate, by SHA-256, as RFC 8122 writes it.
type Identity struct {
	Certificate tls.Certificate
	Fingerprint string
}

// Fingerprint is of a DTLS certificate: Hash as in RFC 8122 (sha-256), Value as AA:BB:..
type Fingerprint struct{ Hash, Value string }

// NewIdentity makes a certificate: ECDSA P-256, self-signed, known by its fingerprint alone.
func NewIdentity() (Identity, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Identity{}, fmt.Errorf("keying: DTLS key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return Identity{}, fmt.Errorf("keying: DTLS certificate: %w", err)
	}
	tpl := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "konzil"},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(certLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &key.PublicKey, key)
	if err != nil {
		return Identity{}, fmt.Errorf("keying: DTLS certificate: %w", err)
	}
	sum := sha256.Sum256(der)
	return Identity{tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, hexFingerprint(sum[:])}, nil
}

func hexFingerprint(b []byte) string {
	var s strings.Builder
	for i, x := range b {
		if i > 0 {
			s.WriteByte(':')
		}
		fmt.Fprintf(&s, "%02X", x)
	}
	return s.String()
}

// ErrFingerprint is for a certificate that is not the one signalled.
var ErrFingerprint = errors.New("keying: certificate does not match the signalled fingerprint")

// verify checks a peer's certificate against what was signalled (RFC 8122 §5): of the fingerprints those by the strongest hash that we know count,
// and one of them must match, for a peer may have several certificates. SHA-1 does not count, unless it alone will do.
func verify(der []byte, prints []Fingerprint, sha1Alone bool) error {
	rest := prints
	for _, h := range []struct {
		name string
		sum  func() []byte
	}{
		{"sha-512", func() []byte { x := sha512.Sum512(der); return x[:] }},
		{"sha-384", func() []byte { x := sha512.Sum384(der); return x[:] }},
		{"sha-256", func() []byte { x := sha256.Sum256(der); return x[:] }},
		{"sha-1", func() []byte { x := sha1.Sum(der); return x[:] }}, // see above
	} {
		if h.name == "sha-1" && !sha1Alone {
			break
		}
		signalled := false
		for _, p := range rest {
			if !strings.EqualFold(p.Hash, h.name) {
				continue
			}
			signalled = true
			if strings.EqualFold(hexFingerprint(h.sum()), strings.TrimSpace(p.Value)) {
				return nil
			}
		}
		if signalled {
			break
		}
	}
	return ErrFingerprint
}
