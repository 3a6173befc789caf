package s2s

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"konzil/xmpp/stanza"
)

var (
	errNoTLS      = errors.New("s2s: the server does not offer TLS")
	errUntrusted  = errors.New("s2s: the server has no valid certificate for its domain")
	errNotTrusted = errors.New("s2s: the server does not believe who we are")
)

// out is an outgoing stream.
type out struct {
	*conn
	pair     pair
	id       string          // of the stream, as the other server said
	features *stanza.Element // the last ones
	valid    bool            // its certificate is good for the domain
	bidi     bool            // the other server may write on it too (XEP-0288)
}

// open connects to the server of p.remote and gets as far as TLS and the features after it.
func (s *Service) open(ctx context.Context, p pair) (*out, error) {
	list, err := endpoints(ctx, s.cfg.Resolver, p.remote)
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		var c net.Conn
		if c, err = s.dial(ctx, e); err != nil {
			continue
		}
		o := &out{conn: s.newConn(c), pair: p}
		stop := context.AfterFunc(ctx, func() { _ = c.Close() })
		err = s.secureOut(ctx, o, e.direct)
		if !stop() {
			err = errors.Join(err, ctx.Err())
		}
		if err == nil {
			s.count.opened.Add(1)
			return o, nil
		}
		o.close("")
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("%s: %w", p.remote, err)
}

// secureOut negotiates TLS (RFC 7590).
func (s *Service) secureOut(ctx context.Context, o *out, direct bool) error {
	if !direct {
		if err := o.begin(); err != nil {
			return err
		}
		if o.features.Child(nsTLS, "starttls") == nil {
			return errNoTLS
		}
		if err := o.write([]byte("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")); err != nil {
			return err
		}
		e, err := o.next()
		if err != nil {
			return err
		}
		if e.Name != (stanza.Name{Space: nsTLS, Local: "proceed"}) {
			return errNoTLS
		}
	}
	if err := o.secure(ctx, tls.Client(o.raw, s.clientTLS(o.pair, direct))); err != nil {
		return err
	}
	o.valid = s.validCertificate(o.tls, o.pair.remote)
	if s.cfg.RequireCertificate && !o.valid {
		return errUntrusted
	}
	return o.begin()
}

// clientTLS is for streams that we open. Whether the certificate is good is judged afterwards, as dialback may do without.
func (s *Service) clientTLS(p pair, direct bool) *tls.Config {
	c := &tls.Config{ServerName: stanza.DNSName(p.remote), InsecureSkipVerify: true, MinVersion: tls.VersionTLS12}
	if direct {
		c.NextProtos = []string{"xmpp-server"} // XEP-0368 §3
	}
	c.GetClientCertificate = func(r *tls.CertificateRequestInfo) (*tls.Certificate, error) {
		hello := &tls.ClientHelloInfo{ServerName: stanza.DNSName(p.local), SupportedVersions: []uint16{tls.VersionTLS13, tls.VersionTLS12}, SignatureSchemes: r.SignatureSchemes}
		if s.cfg.TLS.GetCertificate != nil {
			if cert, err := s.cfg.TLS.GetCertificate(hello); err == nil && cert != nil {
				return cert, nil
			}
		}
		if len(s.cfg.TLS.Certificates) > 0 {
			return &s.cfg.TLS.Certificates[0], nil
		}
		return &tls.Certificate{}, nil
	}
	return c
}

// validCertificate tells whether the peer's certificate is signed by somebody we trust and made for domain: by its subject alternative names
// only (RFC 6125 §6.4, RFC 9525), never its common name.
func (s *Service) validCertificate(t *tls.Conn, domain string) bool {
	chain := t.ConnectionState().PeerCertificates
	if len(chain) == 0 {
		return false
	}
	pool := x509.NewCertPool()
	for _, c := range chain[1:] {
		pool.AddCert(c)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: s.cfg.Roots, Intermediates: pool, DNSName: stanza.DNSName(domain), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	return err == nil
}

// begin sends our header and reads the other's with its features.
func (o *out) begin() error {
	o.restart()
	if err := o.write(header(o.pair.local, o.pair.remote, "")); err != nil {
		return err
	}
	h, err := o.rd.Header()
	if err != nil {
		return err
	}
	if h.Space != stanza.NSStream || h.Content != stanza.NSServer {
		return stanza.NewStreamError("invalid-namespace", "not a stream of servers")
	}
	o.id = h.Attr("id")
	o.features = stanza.NewElement(stanza.NSStream, "features")
	if h.Attr("version") == "" { // before XMPP 1.0
		return nil
	}
	e, err := o.next()
	if err != nil {
		return err
	}
	if e.Name != (stanza.Name{Space: stanza.NSStream, Local: "features"}) {
		return stanza.NewStreamError("bad-format", "no features")
	}
	o.features = e
	return nil
}

// next reads an element that is no stanza.
func (o *out) next() (*stanza.Element, error) {
	it, err := o.rd.Next()
	switch {
	case err != nil:
		return nil, err
	case it.Elem == nil:
		return nil, stanza.NewStreamError("not-authorized", "a stanza before authentication")
	case it.Elem.Name == stanza.Name{Space: stanza.NSStream, Local: "error"}:
		return nil, readStreamError(it.Elem)
	}
	return it.Elem, nil
}

// prove shows who we are: by our certificate where the other server takes it, else by dialback.
func (s *Service) prove(o *out) error {
	for _, m := range o.features.Child(nsSASL, "mechanisms").ChildrenNamed(nsSASL, "mechanism") {
		if m.Text() != "EXTERNAL" {
			continue
		}
		if ok, err := o.external(); err != nil || ok {
			return err
		}
	}
	if s.cfg.RequireCertificate && o.features.Child(nsFeature, "dialback") == nil {
		return errNotTrusted
	}
	return s.dialback(o)
}

// external is SASL EXTERNAL (RFC 6120 §6, XEP-0178 §3); false: refused, dialback may do.
func (o *out) external() (bool, error) {
	auth := stanza.TextElement(nsSASL, "auth", base64.StdEncoding.EncodeToString([]byte(o.pair.local)), "mechanism", "EXTERNAL")
	if err := o.write(element(auth)); err != nil {
		return false, err
	}
	e, err := o.next()
	switch {
	case err != nil:
		return false, err
	case e.Name == stanza.Name{Space: nsSASL, Local: "failure"}:
		return false, nil
	case e.Name != stanza.Name{Space: nsSASL, Local: "success"}:
		return false, stanza.NewStreamError("bad-format", "no answer to SASL")
	}
	return true, o.begin()
}

// dialback asks the other server to call us back (XEP-0220 §2.1). The elements have the prefix db, as servers that do not resolve prefixes want it.
func (s *Service) dialback(o *out) error {
	b := []byte("<db:result")
	b = stanza.AppendAttr(stanza.AppendAttr(b, "from", o.pair.local), "to", o.pair.remote)
	b = append(b, ">"+s.key(o.pair.remote, o.pair.local, o.id)+"</db:result>"...)
	if err := o.write(b); err != nil {
		return err
	}
	for {
		e, err := o.next()
		if err != nil {
			return err
		}
		if e.Name != (stanza.Name{Space: nsDialback, Local: "result"}) || e.Attr("from") != o.pair.remote || e.Attr("to") != o.pair.local {
			continue
		}
		if e.Attr("type") != "valid" {
			return errNotTrusted
		}
		return nil
	}
}

// verify asks the server that speaks for p.remote whether a key is its own (XEP-0220 §2.2). p.local received the key on the stream id.
func (s *Service) verify(ctx context.Context, p pair, id, key string) (bool, error) {
	o, err := s.open(ctx, p)
	if err != nil {
		return false, err
	}
	defer o.close(trailer)
	defer context.AfterFunc(ctx, func() { _ = o.raw.Close() })()
	b := []byte("<db:verify")
	b = stanza.AppendAttr(stanza.AppendAttr(stanza.AppendAttr(b, "from", p.local), "to", p.remote), "id", id)
	b = append(stanza.AppendText(append(b, '>'), key), "</db:verify>"...)
	if err := o.write(b); err != nil {
		return false, err
	}
	for {
		e, err := o.next()
		if err != nil {
			return false, err
		}
		if e.Name == (stanza.Name{Space: nsDialback, Local: "verify"}) && e.Attr("id") == id && e.Attr("from") == p.remote {
			return e.Attr("type") == "valid", nil
		}
	}
}

// manage turns on stream management, or resumes what a broken stream left (XEP-0198 §3, §5).
func (l *link) manage(o *out) error {
	l.endInbound()
	if o.features.Child(nsSM, "sm") == nil {
		l.beginInbound(o)
		l.setSession(false, "", false)
		return l.requeue()
	}
	if l.managed && l.smID != "" && !l.backwards {
		if err := o.write(element(stanza.NewElement(nsSM, "resume", "h", strconv.FormatUint(uint64(l.handled), 10), "previd", l.smID))); err != nil {
			return err
		}
		e, err := o.next()
		if err != nil {
			return err
		}
		h, herr := strconv.ParseUint(e.Attr("h"), 10, 32)
		if herr == nil {
			if err := l.ackedBefore(uint32(h)); err != nil {
				return err
			}
		}
		if e.Local == "resumed" && herr == nil {
			l.s.count.resumed.Add(1)
			l.sweep()
			h := l.handled
			l.beginInbound(o)
			l.countInbound(h)
			return nil
		}
	}
	if err := l.requeue(); err != nil {
		return err
	}
	if err := o.write([]byte("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")); err != nil {
		return err
	}
	l.beginInbound(o)
	e, err := l.answer(o)
	if err != nil {
		return err
	}
	managed, id := e.Local == "enabled", ""
	if r := e.Attr("resume"); managed && (r == "true" || r == "1") {
		id = e.Attr("id")
	}
	l.h = 0
	l.countInbound(0)
	l.setSession(managed, id, false)
	return nil
}

// answer reads what the other server says to <enable/>. What it has for us may come before.
func (l *link) answer(o *out) (*stanza.Element, error) {
	for {
		it, err := o.rd.Next()
		switch {
		case err != nil:
			return nil, err
		case it.Stanza != nil:
			if err := l.takeIn(it.Stanza); err != nil {
				return nil, err
			}
		case it.Elem.Name == stanza.Name{Space: stanza.NSStream, Local: "error"}:
			return nil, readStreamError(it.Elem)
		case it.Elem.Space == nsSM:
			return it.Elem, nil
		}
	}
}

// connect finds an authenticated stream for a link: the way back of one that the other server opened, or a new one.
func (l *link) connect() (*way, error) {
	if !l.claims() {
		if w, err := l.takeBack(); w != nil || err != nil {
			return w, err
		}
	}
	if l.backwards && l.smID != "" && l.ack.len() > 0 && time.Since(l.broken) < bidiPatience {
		return nil, errAwaited
	}
	o, err := l.dial()
	if err != nil {
		return nil, err
	}
	return &way{conn: o.conn, read: func() error { return l.read(o) }}, nil
}

// dial makes an authenticated stream for a link.
func (l *link) dial() (*out, error) {
	ctx, cancel := context.WithTimeout(l.s.ctx, l.s.cfg.Limits.ConnectTimeout)
	defer cancel()
	o, err := l.s.open(ctx, l.pair)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = o.raw.Close() })
	if err = o.askBidi(); err == nil {
		err = l.s.prove(o)
	}
	if err == nil {
		o.rd.SetLimits(l.s.cfg.Limits.Stanza)
		err = l.manage(o)
	}
	if !stop() {
		err = errors.Join(err, ctx.Err())
	}
	if err != nil {
		o.close("")
		return nil, err
	}
	_ = o.raw.SetReadDeadline(time.Time{})
	return o, nil
}
