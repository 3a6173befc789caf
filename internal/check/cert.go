package check

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
	"time"
)

// renewal is how long before its end a certificate should have been renewed: authorities that issue for 90 days ask for a third.
const renewal = 14 * 24 * time.Hour

// certificate looks at the one that will be shown: names, dates, chain and whether somebody trusts it.
func (p *Plan) certificate(r *Report) {
	r.title("Certificate")
	if p.Certificate == nil {
		r.Fail(p.CertAdvice, "it cannot be used: %v", p.CertError)
		return
	}
	leaf := p.Certificate.Leaf
	if p.SelfSigned {
		r.Fail("set tls.acme.email to get one from an authority, or tls.cert and tls.key", "it is self-signed, for trying out: no client and no other server trusts it")
		return
	}
	switch left := leaf.NotAfter.Sub(p.Now); {
	case left <= 0:
		r.Fail("renew it; the running server takes the new files up by itself", "it has expired on %s", leaf.NotAfter.Format(time.DateTime))
	case p.Now.Before(leaf.NotBefore):
		r.Fail("look at the clock of this machine", "it is not valid before %s", leaf.NotBefore.Format(time.DateTime))
	case left < renewal:
		r.Warn("renew it; the running server takes the new files up by itself", "it ends in %d days", int(left.Hours()/24))
	default:
		r.OK("valid until %s", leaf.NotAfter.Format(time.DateOnly))
	}
	p.names(r, leaf)
	if err := p.trusted(p.Certificate); err != nil {
		r.Fail(chainAdvice(err), "others do not trust it: %v", err)
	} else {
		r.OK("issued by %s, which is trusted", leaf.Issuer.String())
	}
}

// names looks whether the certificate is for all that it will be shown for (RFC 6125, XEP-0178).
func (p *Plan) names(r *Report, leaf *x509.Certificate) {
	if err := leaf.VerifyHostname(p.Domain); err != nil {
		r.Fail("get one with the name "+p.Domain+", the part of addresses after the @: the name of the machine is not enough", "it is for %s, not for %s", strings.Join(leaf.DNSNames, ", "), p.Domain)
	} else {
		r.OK("is for %s", p.Domain)
	}
	for _, name := range p.Web {
		if leaf.VerifyHostname(name) != nil {
			r.Fail("get one with this name too, or tell clients another by http.public_url and turn.host", "it is not for %s, where clients are told to find pages, files and TURN over TLS", name)
		}
	}
	var missing []string
	for _, name := range p.Below {
		if leaf.VerifyHostname(name) != nil {
			missing = append(missing, name)
		}
	}
	switch {
	case len(missing) > 0:
		r.Warn("get one with these names too", "it is not for %s: other servers that ask for a certificate cannot reach these", strings.Join(missing, ", "))
	case len(p.Below) > 0:
		r.OK("is for what lies below: %s", strings.Join(p.Below, ", "))
	}
}

// trusted verifies the chain as others would, with what the server itself sends; dates are looked at elsewhere.
func (p *Plan) trusted(c *tls.Certificate) error {
	between := x509.NewCertPool()
	for _, der := range c.Certificate[1:] {
		if cert, err := x509.ParseCertificate(der); err == nil {
			between.AddCert(cert)
		}
	}
	at := p.Now
	if leaf := c.Leaf; at.After(leaf.NotAfter) || at.Before(leaf.NotBefore) {
		at = leaf.NotAfter.Add(-time.Second)
	}
	_, err := c.Leaf.Verify(x509.VerifyOptions{Roots: p.Roots, Intermediates: between, CurrentTime: at})
	return err
}

func chainAdvice(err error) string {
	var unknown x509.UnknownAuthorityError
	var expired x509.CertificateInvalidError
	switch {
	case errors.As(err, &unknown):
		return "put the authority's intermediate certificates into the file of tls.cert, behind the server's own (fullchain.pem); if they are there, the authority is one that nobody knows"
	case errors.As(err, &expired) && expired.Reason == x509.Expired:
		return "a certificate of the chain has expired: get the new intermediate certificates of the authority"
	}
	return "get one from an authority that clients know"
}
