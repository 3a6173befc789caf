package xmpp

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/asn1"
	"slices"

	"konzil/xmpp/sasl"
	"konzil/xmpp/stanza"
)

var (
	oidAltName  = asn1.ObjectIdentifier{2, 5, 29, 17}
	oidXMPPAddr = asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 5} // RFC 6120 §13.7.1.4
)

// maxCertNames bounds the names of one certificate that are looked up.
const maxCertNames = 10

// askCertificates has the TLS settings for clients ask for a certificate; who has none goes on without.
func askCertificates(cfg *tls.Config) { cfg.ClientAuth = tls.RequestClientCert }

// certificateNames are the accounts that the client's certificate is for, as bare addresses: its xmppAddr names of our domain, and its mail
// addresses as the accounts resolve them (XEP-0178 §2). Nil without a certificate that the operator's authorities vouch for.
func (st *stream) certificateNames() []string {
	if st.srv.cfg.ClientCAs == nil || st.tcp == nil || st.tcp.tls == nil || st.domain != st.srv.cfg.Domain {
		return nil
	}
	chain := st.tcp.tls.ConnectionState().PeerCertificates
	if len(chain) == 0 {
		return nil
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	if _, err := chain[0].Verify(x509.VerifyOptions{Roots: st.srv.cfg.ClientCAs, Intermediates: between, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		st.srv.log.Debug("certificate of a client refused", "address", st.wire.remote().String(), "err", err)
		return nil
	}
	var out []string
	add := func(typed string) {
		local, err := st.srv.accounts.Localpart(st.srv.ctx, typed)
		if err != nil || len(out) >= maxCertNames {
			return
		}
		if j, err := stanza.NewJID(local, st.srv.cfg.Domain, ""); err == nil && !slices.Contains(out, j.String()) {
			if ok, err := st.srv.accounts.Enabled(st.srv.ctx, j.Local()); ok && err == nil {
				out = append(out, j.String())
			}
		}
	}
	for _, a := range xmppAddrs(chain[0]) {
		if j, err := stanza.ParseJID(a); err == nil && j.IsBare() && j.Local() != "" && j.Domain() == st.srv.cfg.Domain {
			add(j.String())
		}
	}
	for _, mail := range chain[0].EmailAddresses {
		add(mail)
	}
	return out
}

// xmppAddrs are the otherNames of type id-on-xmppAddr (RFC 5280 §4.2.1.6), which crypto/x509 does not read.
func xmppAddrs(c *x509.Certificate) (out []string) {
	for _, ext := range c.Extensions {
		if !ext.Id.Equal(oidAltName) {
			continue
		}
		var names []asn1.RawValue
		if rest, err := asn1.Unmarshal(ext.Value, &names); err != nil || len(rest) > 0 {
			return nil
		}
		for _, n := range names {
			if n.Class != asn1.ClassContextSpecific || n.Tag != 0 {
				continue
			}
			var other struct {
				ID    asn1.ObjectIdentifier
				Value asn1.RawValue // [0] EXPLICIT
			}
			var text asn1.RawValue
			if _, err := asn1.UnmarshalWithParams(n.FullBytes, &other, "tag:0"); err != nil || !other.ID.Equal(oidXMPPAddr) || len(out) >= maxCertNames {
				continue
			}
			if _, err := asn1.Unmarshal(other.Value.Bytes, &text); err == nil && text.Tag == asn1.TagUTF8String && text.Class == asn1.ClassUniversal {
				out = append(out, string(text.Bytes))
			}
		}
	}
	return out
}

// external makes the exchange for the client's certificate.
func (st *stream) external() sasl.Mechanism { return &sasl.External{Names: st.auth.names} }
