package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"konzil/internal/oops"
)

const (
	selfCert = "self-signed.crt"
	selfKey  = "self-signed.key"

	// SelfSignedName is whom a self-signed certificate is issued to.
	SelfSignedName = "konzil self-signed"

	// selfLife is how long a self-signed certificate is good for. 397 days is the most that browsers take of a server.
	selfLife = 397 * 24 * time.Hour
	// selfRenew is how long before its end it is made anew at start.
	selfRenew = 30 * 24 * time.Hour
)

// LoadOrCreate gives a self-signed certificate kept in dir, for trying out and for machines without a public name. It is
// made when it is missing, near its end, or lacks one of hosts; else it stays the same, so that a browser's exception
// lasts. It names localhost, *.localhost, 127.0.0.1 and ::1 besides hosts (names or addresses). The key's file is 0600.
func LoadOrCreate(dir string, hosts []string, log *slog.Logger) (*Source, error) {
	certFile, keyFile := filepath.Join(dir, selfCert), filepath.Join(dir, selfKey)
	hosts = append([]string{"localhost", "*.localhost", "127.0.0.1", "::1"}, hosts...)
	if exists(certFile) && exists(keyFile) {
		s, err := Load(certFile, keyFile, log)
		if err != nil {
			return nil, oops.New("certs", certFile+" or "+keyFile+" is unreadable or damaged", "delete both, they are made again", err)
		}
		if names(s.Leaf(), hosts) && time.Until(s.Leaf().NotAfter) > selfRenew {
			return s, nil
		}
	}
	if err := create(certFile, keyFile, hosts, time.Now()); err != nil {
		return nil, err
	}
	log.Info("self-signed certificate made", "file", certFile, "hosts", hosts)
	return Load(certFile, keyFile, log)
}

// LoadSelfSigned gives the one kept in dir, and makes none.
func LoadSelfSigned(dir string, log *slog.Logger) (*Source, error) {
	return Load(filepath.Join(dir, selfCert), filepath.Join(dir, selfKey), log)
}

func names(leaf *x509.Certificate, hosts []string) bool {
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			if !slices.ContainsFunc(leaf.IPAddresses, ip.Equal) {
				return false
			}
		} else if !slices.Contains(leaf.DNSNames, h) {
			return false
		}
	}
	return true
}

func create(certFile, keyFile string, hosts []string, now time.Time) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // RFC 5280 §4.1.2.2: positive, up to 20 octets
	if err != nil {
		return err
	}
	t := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: SelfSignedName},
		NotBefore:             now.Add(-time.Hour), // clocks differ
		NotAfter:              now.Add(selfLife),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			t.IPAddresses = append(t.IPAddresses, ip)
		} else if !slices.Contains(t.DNSNames, h) {
			t.DNSNames = append(t.DNSNames, h)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return err
	}
	if err := writePEM(keyFile, "PRIVATE KEY", 0o600, keyDER); err != nil {
		return err
	}
	return writePEM(certFile, "CERTIFICATE", 0o644, der)
}

// writePEM replaces a file as a whole: a reader sees the old or the new one.
func writePEM(name, kind string, mode os.FileMode, blocks ...[]byte) error {
	do := "let this user write to its directory"
	f, err := os.CreateTemp(filepath.Dir(name), ".new-*") // 0600
	if err != nil {
		return oops.New("certs", name+" cannot be written", do, err)
	}
	defer os.Remove(f.Name())
	for _, b := range blocks {
		if err == nil {
			err = pem.Encode(f, &pem.Block{Type: kind, Bytes: b})
		}
	}
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		return oops.New("certs", name+" cannot be written", do, err)
	}
	return nil
}
