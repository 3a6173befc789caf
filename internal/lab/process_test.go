package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"konzil/internal/proctest"
)

// konzil is one server.
type konzil struct {
	proctest.Process
	zone   zone
	config string
}

func password(user string) string { return user + "-secret" }

// newKonzil makes folder, settings and accounts of a server and starts it. extra is YAML below xmpp.
func newKonzil(t *testing.T, z zone, users []string, extra string) *konzil {
	t.Helper()
	dir := t.TempDir()
	k := &konzil{Process: proctest.Process{Name: z.domain}, zone: z, config: filepath.Join(dir, "konzil.yaml")}
	yaml := fmt.Sprintf(`domain: %s
data: %s
listen: [%s]
tls: {cert: %s, key: %s}
http: {port: 5443}
log: {level: %s}
media: {port: 10000}
turn: {port: 0, tls_port: 0, https: false}
auth: {iterations: 10000}
xmpp:
  federation: {mode: open, allow_private: true, ca: %s}
%s`, z.domain, filepath.Join(dir, "data"), z.addr, certFile(z), keyFile(z), logLevel(), lab.ca, extra)
	if err := os.WriteFile(k.config, []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, u := range users {
		add := exec.Command(lab.bin, "user", "-config", k.config, "add", u)
		add.Stdin = strings.NewReader(password(u) + "\n")
		if out, err := add.CombinedOutput(); err != nil {
			t.Fatalf("konzil user add %s: %v\n%s", u, err, out)
		}
	}
	if err := k.run(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		k.Kill()
		if dump := os.Getenv("KONZIL_LAB_LOGS"); dump != "" {
			_ = os.WriteFile(filepath.Join(dump, z.domain+".log"), []byte(k.Log.String()), 0o600)
		}
	})
	return k
}

func logLevel() string {
	if os.Getenv("KONZIL_LAB_LOGS") != "" {
		return "debug"
	}
	return "info"
}

func (k *konzil) run() error {
	if err := k.Start(exec.Command(lab.bin, "-config", k.config)); err != nil {
		return err
	}
	return k.Listening(k.zone.addr+":5223", k.zone.addr+":5269")
}

func certFile(z zone) string { return filepath.Join(lab.dir, z.domain+".pem") }
func keyFile(z zone) string  { return filepath.Join(lab.dir, z.domain+".key") }

// roots trusts the lab's authority.
func roots() *tls.Config {
	pool := x509.NewCertPool()
	b, err := os.ReadFile(lab.ca)
	if err == nil {
		pool.AppendCertsFromPEM(b)
	}
	return &tls.Config{RootCAs: pool}
}

// makeCertificates makes an authority, and a certificate for each zone and what is below it.
func makeCertificates(dir string) error {
	now := time.Now()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Lab authority"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	if err != nil {
		return err
	}
	if err := writePEM(lab.ca, "CERTIFICATE", caDER); err != nil {
		return err
	}
	for i, z := range zones {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			return err
		}
		leaf := &x509.Certificate{
			SerialNumber: big.NewInt(int64(i) + 2), Subject: pkix.Name{CommonName: z.domain}, DNSNames: []string{z.domain, "*." + z.domain}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
			KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		}
		der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
		if err != nil {
			return err
		}
		keyDER, err := x509.MarshalPKCS8PrivateKey(key)
		if err != nil {
			return err
		}
		if err := writePEM(certFile(z), "CERTIFICATE", der); err != nil {
			return err
		}
		if err := writePEM(keyFile(z), "PRIVATE KEY", keyDER); err != nil {
			return err
		}
	}
	return nil
}

func writePEM(name, kind string, der []byte) error {
	return os.WriteFile(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o644) // of the lab alone: every server may read it
}
