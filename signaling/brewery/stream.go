package brewery

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	"mellium.im/sasl"

	"konzil/xmpp/stanza"
)

const (
	nsTLS  = "urn:ietf:params:xml:ns:xmpp-tls"
	nsSASL = "urn:ietf:params:xml:ns:xmpp-sasl"
	nsBind = "urn:ietf:params:xml:ns:xmpp-bind"
)

const (
	writeTimeout = 10 * time.Second // longer means that the path is dead
	loginTimeout = 20 * time.Second // for everything until binding
	silence      = time.Minute      // our own presence comes back every few seconds: without it the path is dead
)

// limits of what the server may send: a request with the codecs of one participant has some 20 kB.
var limits = stanza.Limits{Bytes: 1 << 20, Depth: 32, Elements: 20_000, Attrs: 64, Bindings: 64}

// stream is a client's stream after binding. Reading is for one goroutine, sending for any.
type stream struct {
	conn net.Conn
	rd   *stanza.Reader
	self stanza.JID

	mu sync.Mutex // serialises writes
}

// dial logs in to the server of an account.
func dial(ctx context.Context, a Account) (*stream, error) {
	ctx, cancel := context.WithTimeout(ctx, loginTimeout)
	defer cancel()
	jid, err := stanza.ParseJID(a.JID)
	if err != nil || jid.Local() == "" {
		return nil, fmt.Errorf("%q is no account's address", a.JID)
	}
	server := a.Server
	if server == "" {
		server = net.JoinHostPort(jid.Domain(), "5222")
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp", server)
	if err != nil {
		return nil, err
	}
	s := &stream{conn: c, rd: stanza.NewReader(c, limits)}
	defer context.AfterFunc(ctx, func() { s.conn.SetDeadline(time.Now()) })()
	if err := s.login(ctx, a, jid); err != nil {
		c.Close()
		return nil, fmt.Errorf("%s: %w", server, errors.Join(err, context.Cause(ctx)))
	}
	return s, nil
}

// login secures the stream, proves who we are, and binds.
func (s *stream) login(ctx context.Context, a Account, jid stanza.JID) error {
	features, err := s.open(jid.Domain())
	if err != nil {
		return err
	}
	if features.Child(nsTLS, "starttls") == nil {
		return errors.New("the server does not offer TLS")
	}
	if answer, err := s.ask(stanza.NewElement(nsTLS, "starttls")); err != nil || answer.Local != "proceed" {
		return errors.Join(err, errors.New("the server refused TLS"))
	}
	if s.rd.Buffered() > 0 {
		return errors.New("bytes before the TLS handshake")
	}
	t := tls.Client(s.conn, &tls.Config{ServerName: jid.Domain(), RootCAs: a.Roots, InsecureSkipVerify: a.AnyCertificate, MinVersion: tls.VersionTLS12})
	if err := t.HandshakeContext(ctx); err != nil {
		return err
	}
	s.conn = t
	s.rd.Reset(t, false)
	if features, err = s.open(jid.Domain()); err != nil {
		return err
	}
	if err := s.authenticate(features, jid.Local(), a.Password); err != nil {
		return err
	}
	s.rd.Reset(t, false)
	if _, err = s.open(jid.Domain()); err != nil {
		return err
	}
	return s.bind()
}

// open begins a stream and gives its features.
func (s *stream) open(domain string) (*stanza.Element, error) {
	b := append([]byte("<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='"+stanza.NSStream+"' version='1.0'"), stanza.AppendAttr(nil, "to", domain)...)
	if err := s.write(append(b, '>')); err != nil {
		return nil, err
	}
	if _, err := s.rd.Header(); err != nil {
		return nil, err
	}
	el, err := s.element()
	if err != nil {
		return nil, err
	}
	if el.Name != (stanza.Name{Space: stanza.NSStream, Local: "features"}) {
		return nil, fmt.Errorf("%s instead of features", el.Local)
	}
	return el, nil
}

// element reads an element that is no stanza.
func (s *stream) element() (*stanza.Element, error) {
	it, err := s.rd.Next()
	switch {
	case err != nil:
		return nil, err
	case it.Elem == nil:
		return nil, errors.New("a stanza before login")
	}
	return it.Elem, nil
}

// ask sends an element and reads the answer.
func (s *stream) ask(el *stanza.Element) (*stanza.Element, error) {
	if err := s.write(el.AppendXML(nil, stanza.NSClient)); err != nil {
		return nil, err
	}
	return s.element()
}

// authenticate does SASL (RFC 6120 §6) with the best that both sides know.
func (s *stream) authenticate(features *stanza.Element, user, password string) error {
	var offered []string
	for _, m := range features.Child(nsSASL, "mechanisms").ChildrenNamed(nsSASL, "mechanism") {
		offered = append(offered, m.Text())
	}
	for _, m := range []sasl.Mechanism{sasl.ScramSha256, sasl.ScramSha1, sasl.Plain} {
		if slices.Contains(offered, m.Name) {
			return s.negotiate(m, user, password)
		}
	}
	return fmt.Errorf("the server offers no login that we know: %q", offered)
}

func (s *stream) negotiate(m sasl.Mechanism, user, password string) error {
	c := sasl.NewClient(m, sasl.Credentials(func() (username, pass, identity []byte) { return []byte(user), []byte(password), nil }))
	_, first, err := c.Step(nil)
	if err != nil {
		return err
	}
	answer, err := s.ask(stanza.TextElement(nsSASL, "auth", base64.StdEncoding.EncodeToString(first), "mechanism", m.Name))
	for ; err == nil; answer, err = s.element() {
		data, bad := base64.StdEncoding.DecodeString(answer.Text())
		if bad != nil {
			return bad
		}
		switch answer.Local {
		case "challenge":
			_, response, err := c.Step(data)
			if err != nil {
				return err
			}
			if err := s.write(stanza.TextElement(nsSASL, "response", base64.StdEncoding.EncodeToString(response)).AppendXML(nil, stanza.NSClient)); err != nil {
				return err
			}
		case "success":
			if len(data) > 0 { // the server proves that it knows us too
				if _, _, err := c.Step(data); err != nil {
					return err
				}
			}
			return nil
		default:
			return errors.New("the login was refused: user name or password is wrong")
		}
	}
	return err
}

// bind gets an address (RFC 6120 §7).
func (s *stream) bind() error {
	iq := stanza.NewIQ("set", "bind", stanza.JID{}, stanza.JID{}, stanza.NewElement(nsBind, "bind"))
	if err := s.send(iq); err != nil {
		return err
	}
	it, err := s.rd.Next()
	if err != nil {
		return err
	}
	if it.Stanza == nil || it.Stanza.Type != "result" {
		return errors.New("the server did not bind an address")
	}
	s.self, err = stanza.ParseJID(it.Stanza.Child(nsBind, "bind").Child(nsBind, "jid").Text())
	return err
}

// next reads a stanza; others are passed over.
func (s *stream) next() (*stanza.Stanza, error) {
	for {
		if err := s.conn.SetReadDeadline(time.Now().Add(silence)); err != nil {
			return nil, err
		}
		it, err := s.rd.Next()
		if err != nil || it.Stanza != nil {
			return it.Stanza, err
		}
		if it.Elem.Space == stanza.NSStream && it.Elem.Local == "error" {
			why := ""
			for _, c := range it.Elem.Children() {
				why += " " + c.Local
			}
			return nil, fmt.Errorf("the server ended the stream:%s", why)
		}
	}
}

func (s *stream) send(st *stanza.Stanza) error {
	return s.write(st.AppendXML(nil, stanza.NSClient, false))
}

func (s *stream) write(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return err
	}
	_, err := s.conn.Write(b)
	return err
}

// close says goodbye, which the server passes on to the room.
func (s *stream) close() {
	_ = s.write([]byte("</stream:stream>"))
	s.conn.Close()
}
