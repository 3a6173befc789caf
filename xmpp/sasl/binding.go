package sasl

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"

	_ "crypto/sha512" // certificates signed with SHA-384 or SHA-512
)

// Bindings are the channel bindings of a TLS connection by type: tls-exporter (RFC 9266) for TLS 1.3, tls-unique (RFC 5929 §3) for
// TLS 1.2 where Go gives it, tls-server-end-point (RFC 5929 §4) when endPoint, which EndPoint gives for the certificate shown, is not empty.
func Bindings(cs *tls.ConnectionState, endPoint []byte) map[string][]byte {
	out := map[string][]byte{}
	if cs.Version >= tls.VersionTLS13 {
		if b, err := cs.ExportKeyingMaterial("EXPORTER-Channel-Binding", nil, 32); err == nil {
			out["tls-exporter"] = b
		}
	} else if len(cs.TLSUnique) > 0 {
		out["tls-unique"] = cs.TLSUnique
	}
	if len(endPoint) > 0 {
		out["tls-server-end-point"] = endPoint
	}
	return out
}

// EndPoint hashes a certificate, DER, with the hash of its signature, SHA-256 in place of the weak ones; nil where the signature has
// none (Ed25519).
func EndPoint(leaf []byte) []byte {
	cert, err := x509.ParseCertificate(leaf)
	if err != nil {
		return nil
	}
	var h crypto.Hash
	switch cert.SignatureAlgorithm {
	case x509.MD5WithRSA, x509.SHA1WithRSA, x509.ECDSAWithSHA1, x509.SHA256WithRSA, x509.ECDSAWithSHA256, x509.SHA256WithRSAPSS:
		h = crypto.SHA256
	case x509.SHA384WithRSA, x509.ECDSAWithSHA384, x509.SHA384WithRSAPSS:
		h = crypto.SHA384
	case x509.SHA512WithRSA, x509.ECDSAWithSHA512, x509.SHA512WithRSAPSS:
		h = crypto.SHA512
	default:
		return nil
	}
	w := h.New()
	w.Write(leaf)
	return w.Sum(nil)
}
