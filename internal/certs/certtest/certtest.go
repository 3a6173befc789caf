// Package certtest is a certificate authority for tests. Only tests use it. What it cannot do (a machine without random numbers) is a panic: no test could
// go on.
package certtest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"sync/atomic"
	"time"
)

// valid is how long certificates are, before and after they are made: the clocks of programs that tests talk to need not agree to the second.
const valid = 24 * time.Hour

// Authority signs certificates. Its methods may be called from several goroutines.
type Authority struct {
	Certificate *x509.Certificate

	key    *ecdsa.PrivateKey
	serial atomic.Int64
}

// New makes an authority that nobody trusts yet.
func New() *Authority {
	a := &Authority{key: newKey()}
	a.serial.Store(1)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Authority of a test"}, NotBefore: time.Now().Add(-valid), NotAfter: time.Now().Add(valid),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err == nil {
		a.Certificate, err = x509.ParseCertificate(der)
	}
	must(err)
	return a
}

// Pool trusts a alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Certificate)
	return pool
}

// Issue makes a certificate for names and IP addresses, with which both servers and clients may show themselves.
func (a *Authority) Issue(names ...string) tls.Certificate {
	template := &x509.Certificate{}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, n)
		}
	}
	return a.Sign(template)
}

// Sign makes a certificate as template says; a number, times and uses are filled in where it says nothing of them.
func (a *Authority) Sign(template *x509.Certificate) tls.Certificate {
	c := *template
	c.SerialNumber = big.NewInt(a.serial.Add(1))
	if c.NotBefore.IsZero() {
		c.NotBefore = time.Now().Add(-valid)
	}
	if c.NotAfter.IsZero() {
		c.NotAfter = time.Now().Add(valid)
	}
	if c.KeyUsage == 0 {
		c.KeyUsage = x509.KeyUsageDigitalSignature
	}
	if c.ExtKeyUsage == nil {
		c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	}
	key := newKey()
	der, err := x509.CreateCertificate(rand.Reader, &c, a.Certificate, key.Public(), a.key)
	must(err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// WriteCertificate writes the authority's own certificate as PEM.
func (a *Authority) WriteCertificate(file string) error {
	return writePEM(file, "CERTIFICATE", a.Certificate.Raw)
}

// Write writes c as PEM. Servers of other users may read the files: they are of a test alone.
func Write(c tls.Certificate, certFile, keyFile string) error {
	if err := writePEM(certFile, "CERTIFICATE", c.Certificate[0]); err != nil {
		return err
	}
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		return err
	}
	return writePEM(keyFile, "PRIVATE KEY", key)
}

func writePEM(file, kind string, der []byte) error {
	return os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o644) // see Write
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	return key
}

func must(err error) {
	if err != nil {
		panic("certtest: " + err.Error())
	}
}
