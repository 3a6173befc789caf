package sfu

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // RFC 8122 lets peers signal it; sha-256 is required besides
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

// makeCertificate makes the DTLS certificate of one SFU: ECDSA P-256, self-signed, known by its fingerprint alone.
func makeCertificate() (tls.Certificate, string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("sfu: DTLS key: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("sfu: DTLS certificate: %w", err)
	}
	tpl := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "konzil"},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(certLife),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tpl, tpl, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, "", fmt.Errorf("sfu: DTLS certificate: %w", err)
	}
	sum := sha256.Sum256(der)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, hexFingerprint(sum[:]), nil
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

var errFingerprint = errors.New("sfu: certificate does not match the signalled fingerprint")

// verifyFingerprints checks a peer's certificate against what was signalled (RFC 8122 §6.2): every hash that we know must
// match, and one of them must be SHA-256 or longer.
func verifyFingerprints(der []byte, prints []Fingerprint) error {
	strong := false
	for _, p := range prints {
		var sum []byte
		switch strings.ToLower(p.Hash) {
		case "sha-1":
			h := sha1.Sum(der) //nolint:gosec // see above
			sum = h[:]
		case "sha-256":
			h := sha256.Sum256(der)
			sum, strong = h[:], true
		case "sha-384":
			h := sha512.Sum384(der)
			sum, strong = h[:], true
		case "sha-512":
			h := sha512.Sum512(der)
			sum, strong = h[:], true
		default:
			continue
		}
		if !strings.EqualFold(hexFingerprint(sum), strings.TrimSpace(p.Value)) {
			return errFingerprint
		}
	}
	if !strong {
		return errFingerprint
	}
	return nil
}
