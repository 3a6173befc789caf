package peers

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"hash"
	"math/big"
	"net"
	"time"

	"konzil/bench/measure"
)

// scramKeys are what a server keeps of measure.AccountPassword (RFC 5802 §3). All accounts of a server share one salt, so that making
// thousands takes no time, and so that the generator computes PBKDF2 once: what the server does at a login is the same.
type scramKeys struct {
	salt           []byte
	iterations     int
	stored, server []byte
}

func newKeys(h func() hash.Hash, salt []byte, iterations int) scramKeys {
	salted, err := pbkdf2.Key(h, measure.AccountPassword, salt, iterations, h().Size())
	if err != nil {
		panic(err) // only lengths that no hash here has are refused
	}
	mac := func(key []byte, text string) []byte {
		m := hmac.New(h, key)
		m.Write([]byte(text))
		return m.Sum(nil)
	}
	sum := h()
	sum.Write(mac(salted, "Client Key"))
	return scramKeys{salt, iterations, sum.Sum(nil), mac(salted, "Server Key")}
}

func newKeysSHA1(iterations int) scramKeys {
	return newKeys(sha1.New, []byte("bench-salt-16-by"), iterations)
}
func newKeysSHA256(iterations int) scramKeys {
	return newKeys(sha256.New, []byte("bench-salt-16-by"), iterations)
}

// text is the form of RFC 5803 §2.
func (k scramKeys) text(hash string) string {
	b := base64.StdEncoding.EncodeToString
	return fmt.Sprintf("SCRAM-%s$%d:%s$%s:%s", hash, k.iterations, b(k.salt), b(k.stored), b(k.server))
}

// certDays is how long a certificate of a started server is valid.
const certDays = 30

// writeCertificate puts a certificate for the names into the server's folder: cert.pem, key.pem.
func (o *Options) writeCertificate(names ...string) error {
	cert, key, err := certificate(names...)
	if err != nil {
		return err
	}
	return errors.Join(o.write("cert.pem", cert), o.write("key.pem", key))
}

// certificate makes a self-signed ECDSA P-256 certificate for the names, as PEM: what most public servers have today.
func certificate(names ...string) (cert, key string, err error) {
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", "", err
	}
	now := time.Now()
	t := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(0, 0, certDays), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, t, t, &priv.PublicKey, priv)
	if err != nil {
		return "", "", err
	}
	pk, err := x509.MarshalPKCS8PrivateKey(priv)
	if err != nil {
		return "", "", err
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pk})), nil
}
