package xmppload

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"
)

// client is one connection of one account. Login is blocking, on the goroutine of who calls it; after loop.adopt it belongs to the loop.
type client struct {
	w    *world
	n    int    // number among the clients of its load
	user string // localpart
	jid  string // full, as the server says

	sock *sock
	top  upper     // TLS, WebSocket or sock
	tls  *tls.Conn // that did the handshake; nil: there is no TLS
	ws   bool
	sc   scanner
	got  []string // while logging in: elements not yet asked for
	from []byte   // while logging in: to read into

	// of the loop
	handle  func(c *client, el *elem, now time.Time)
	known   func(c *client, b []byte, now time.Time) int // takes what the scenario knows without taking it apart, see scanner.feed; may be nil
	dirty   bool                                         // has something to write
	stuck   bool                                         // waits for the socket to take more
	ended   error
	handled uint32 // stanzas, for stream management
	data    any    // of the scenario
}

// steps are the times of a login.
type steps struct{ connect, tls, auth, bind time.Duration }

// loginTimeout bounds one login.
const loginTimeout = 60 * time.Second

// login connects, authenticates and binds a resource, as a person's client does it: one step after the other's answer.
func (w *world) login(ctx context.Context, n int, user, resource string) (_ *client, st steps, err error) {
	c := &client{w: w, n: n, user: user}
	begun := time.Now()
	mark := func(d *time.Duration) { *d = time.Since(begun); begun = time.Now() }
	d := net.Dialer{Timeout: loginTimeout}
	conn, err := d.DialContext(ctx, "tcp", w.dial)
	if err != nil {
		return nil, st, err
	}
	c.sock = &sock{Conn: conn, fd: -1}
	c.top = c.sock
	defer func() {
		if err != nil {
			_ = c.sock.Close()
			err = fmt.Errorf("%s: %w", user, err)
		}
	}()
	_ = conn.SetDeadline(time.Now().Add(loginTimeout))
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })
	defer stop()
	mark(&st.connect)
	if err = c.secure(); err != nil {
		return nil, st, err
	}
	mark(&st.tls)
	if err = c.authenticate(); err != nil {
		return nil, st, err
	}
	mark(&st.auth)
	if err = c.bind(resource); err != nil {
		return nil, st, err
	}
	mark(&st.bind)
	c.from = nil
	_ = conn.SetDeadline(time.Time{})
	return c, st, nil
}

// secure goes as far as TLS and WebSocket.
func (c *client) secure() error {
	w := c.w
	if w.cfg.Transport == "tcp" {
		if err := c.open(); err != nil {
			return err
		}
		if err := c.send("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>"); err != nil {
			return err
		}
		if _, err := c.expect("proceed"); err != nil {
			return err
		}
	}
	if w.useTLS {
		if err := c.handshake(); err != nil {
			return err
		}
	}
	if w.cfg.Transport == "ws" {
		u, err := url.Parse(w.target.Addr["ws"])
		if err != nil {
			return err
		}
		if c.top, err = upgrade(c.top, u); err != nil {
			return err
		}
		c.ws = true
	}
	return nil
}

// handshake is that of TLS. Connections that stay have their records taken over.
func (c *client) handshake() error {
	cfg, secrets := c.w.tls, &secretLog{}
	stays := c.w.cfg.Scenario != "login"
	if stays {
		cfg = cfg.Clone()
		cfg.KeyLogWriter = secrets
	}
	c.tls = tls.Client(c.sock, cfg)
	c.top = c.tls
	c.sock.framed = stays
	err := c.tls.Handshake()
	c.sock.framed = false
	if err != nil || !stays {
		return err
	}
	if r, err := newRecords(c.tls, c.sock, secrets); err != nil {
		return err
	} else if r != nil {
		c.top = r
	}
	return nil
}

// open sends our stream header and waits for the features.
func (c *client) open() error {
	h := "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='" + c.w.target.Domain + "' version='1.0'>"
	if c.ws {
		h = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='" + c.w.target.Domain + "' version='1.0'/>"
	}
	c.sc, c.got = scanner{}, nil
	if err := c.send(h); err != nil {
		return err
	}
	_, err := c.expect("features")
	return err
}

func (c *client) authenticate() error {
	if err := c.open(); err != nil {
		return err
	}
	s := scram{mechanism: c.w.cfg.Mechanism, user: c.user, password: c.w.cfg.Password, cache: &c.w.keys}
	if err := c.send("<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='" + s.mechanism + "'>" + s.first() + "</auth>"); err != nil {
		return err
	}
	ch, err := c.expect("challenge")
	if err != nil {
		return err
	}
	final, err := s.final(string(text([]byte(ch), "challenge")))
	if err != nil {
		return err
	}
	if err := c.send("<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>" + final + "</response>"); err != nil {
		return err
	}
	ok, err := c.expect("success")
	if err != nil {
		return err
	}
	if err := s.verify(string(text([]byte(ok), "success"))); err != nil {
		return err
	}
	return c.open()
}

func (c *client) bind(resource string) error {
	if err := c.send("<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>" + resource + "</resource></bind></iq>"); err != nil {
		return err
	}
	r, err := c.expect("iq")
	if err != nil {
		return err
	}
	c.jid = unescape(string(text([]byte(r), "jid")))
	if string(attr([]byte(r), "type")) != "result" || c.jid == "" {
		return fmt.Errorf("xmppload: bind was answered with %s", r)
	}
	return nil
}

// send writes one element, while logging in at once, later when the loop comes to it.
func (c *client) send(s string) error { return c.write([]byte(s)) }

func (c *client) write(b []byte) error {
	if c.ws { // RFC 7395 §3.3.3: each message declares
		b = declared(b)
	}
	if c.sock.fd >= 0 {
		c.w.loop.mark(c)
	}
	_, err := c.top.Write(b)
	return err
}

// declared is b with the namespace of stanzas on it, unless it has one.
func declared(b []byte) []byte {
	if attr(b, "xmlns") != nil {
		return b
	}
	n := 1 + len(name(b))
	return slices.Concat(b[:n], []byte(" xmlns='jabber:client'"), b[n:])
}

// expect waits for an element of that local name, while logging in. Stream headers are passed over, other elements are errors but for
// stanzas, which some servers send early.
func (c *client) expect(local string) (string, error) {
	if c.from == nil {
		c.from = make([]byte, 4<<10)
	}
	for {
		for len(c.got) > 0 {
			e := c.got[0]
			c.got = c.got[1:]
			q := string(name([]byte(e)))
			_, l, found := strings.Cut(q, ":")
			if !found {
				l = q
			}
			switch {
			case l == local:
				return e, nil
			case l == "?xml", q == "stream:stream", l == "open", l == "message", l == "presence", l == "iq":
			default:
				return "", fmt.Errorf("xmppload: %s expected, got %.300s", local, e)
			}
		}
		n, err := c.top.Read(c.from)
		if n > 0 {
			if err := c.sc.feed(c.from[:n], nil, func(raw []byte) { c.got = append(c.got, string(raw)) }); err != nil {
				return "", err
			}
			continue
		}
		if err != nil {
			return "", err
		}
	}
}

// bye ends the stream and the connection. On a client that is not adopted it waits until the server has ended too, so that its work counts.
func (c *client) bye(wait bool) {
	end := "</stream:stream>"
	if c.ws {
		end = "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>"
	}
	if c.sock.fd < 0 {
		_ = c.sock.SetDeadline(time.Now().Add(5 * time.Second))
		if c.send(end) == nil && wait {
			b := make([]byte, 512)
			for {
				if _, err := c.top.Read(b); err != nil {
					break
				}
			}
		}
	}
	_ = c.sock.Close()
}

var errNoAddress = errors.New("xmppload: the server has no address for that transport")

// escape and unescape are for attribute values and text.
var escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&apos;", `"`, "&quot;")
var unescaper = strings.NewReplacer("&lt;", "<", "&gt;", ">", "&apos;", "'", "&quot;", `"`, "&amp;", "&")

func escape(s string) string   { return escaper.Replace(s) }
func unescape(s string) string { return unescaper.Replace(s) }
