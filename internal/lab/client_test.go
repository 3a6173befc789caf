package lab

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"konzil/xmpp/stanza"
)

const nsSM = "urn:xmpp:sm:3"

// client is a chat client that keeps its promises: it acknowledges, resumes, and sends again what was not acknowledged (XEP-0198).
type client struct {
	user, resource string
	zone           zone
	take           func(*client, *stanza.Stanza) // gets what comes, on the reading goroutine
	up             func(*client)                 // called after a new session, not a resumed one

	mu       sync.Mutex // guards all below
	conn     net.Conn   // nil: none
	smid     string
	got      uint32    // stanzas received in this session
	sent     []unacked // of this session, and before
	acked    uint32    // of the server
	sessions int       // new ones
	resumed  int
	ack      func(id string)
}

type unacked struct{ id, xml string }

func (c *client) jid() string { return c.user + "@" + c.zone.domain }

// run keeps the client connected until ctx ends.
func (c *client) run(ctx context.Context) {
	for ctx.Err() == nil {
		if err := c.session(ctx); err != nil && ctx.Err() == nil {
			pause(20 * time.Millisecond)
		}
	}
}

// session is one connection from its beginning to its end.
func (c *client) session(ctx context.Context) error {
	d := tls.Dialer{NetDialer: &net.Dialer{Timeout: time.Second}, Config: roots()}
	d.Config.ServerName = c.zone.domain
	conn, err := d.DialContext(ctx, "tcp", c.zone.addr+":5223")
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	rd := stanza.NewReader(conn, stanza.Limits{})
	_ = conn.SetDeadline(time.Now().Add(patience))
	if err := c.login(conn, rd); err != nil {
		return err
	}
	fresh, err := c.begin(conn, rd)
	if err != nil {
		return err
	}
	_ = conn.SetDeadline(time.Time{})
	if fresh && c.up != nil {
		c.up(c)
	}
	defer func() {
		c.mu.Lock()
		if c.conn == conn {
			c.conn = nil
		}
		c.mu.Unlock()
	}()
	for {
		it, err := rd.Next()
		if err != nil {
			return err
		}
		if err := c.item(conn, it); err != nil {
			return err
		}
	}
}

func (c *client) login(conn net.Conn, rd *stanza.Reader) error {
	header := fmt.Sprintf("<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='%s' version='1.0'>", c.zone.domain)
	if err := open(conn, rd, header); err != nil {
		return err
	}
	auth := base64.StdEncoding.EncodeToString([]byte("\x00" + c.user + "\x00" + password(c.user)))
	if _, err := fmt.Fprintf(conn, "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>%s</auth>", auth); err != nil {
		return err
	}
	it, err := rd.Next()
	if err != nil {
		return err
	}
	if it.Elem == nil || it.Elem.Local != "success" {
		return errors.New("login refused")
	}
	rd.Reset(conn, true)
	return open(conn, rd, header)
}

func open(conn net.Conn, rd *stanza.Reader, header string) error {
	if _, err := io.WriteString(conn, header); err != nil {
		return err
	}
	if _, err := rd.Header(); err != nil {
		return err
	}
	_, err := rd.Next() // features
	return err
}

// begin resumes the session or makes a new one; fresh tells which.
func (c *client) begin(conn net.Conn, rd *stanza.Reader) (fresh bool, err error) {
	c.mu.Lock()
	smid, got := c.smid, c.got
	c.mu.Unlock()
	if smid != "" {
		if _, err := fmt.Fprintf(conn, "<resume xmlns='%s' h='%d' previd='%s'/>", nsSM, got, smid); err != nil {
			return false, err
		}
		it, err := rd.Next()
		if err != nil {
			return false, err
		}
		if it.Elem == nil {
			return false, errors.New("no answer to resume")
		}
		if err := c.acknowledged(it.Elem); err != nil {
			return false, err
		}
		if it.Elem.Local == "resumed" {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.smid != smid { // it was lost meanwhile
				return false, errors.New("lost")
			}
			c.conn = conn
			c.resumed++
			for _, u := range c.sent {
				if _, err := io.WriteString(conn, u.xml); err != nil {
					return false, err
				}
			}
			return false, nil
		}
	}
	if _, err := io.WriteString(conn, "<iq type='set' id='bind'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>"+c.resource+"</resource></bind></iq>"); err != nil {
		return false, err
	}
	if it, err := rd.Next(); err != nil || it.Stanza == nil || it.Stanza.Type != "result" {
		return false, errors.Join(errors.New("not bound"), err)
	}
	if _, err := fmt.Fprintf(conn, "<enable xmlns='%s' resume='true'/>", nsSM); err != nil {
		return false, err
	}
	for {
		it, err := rd.Next()
		if err != nil {
			return false, err
		}
		if it.Stanza != nil && c.take != nil { // a message to the full address need not wait for anything that a client says
			c.take(c, it.Stanza)
		}
		if it.Elem == nil || it.Elem.Local != "enabled" {
			continue
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		c.conn, c.smid, c.got, c.acked = conn, it.Elem.Attr("id"), 0, 0
		c.sessions++
		old := c.sent
		c.sent = nil
		for _, u := range append([]unacked{{"", "<presence/>"}}, old...) {
			c.sent = append(c.sent, u)
			if _, err := io.WriteString(conn, u.xml); err != nil {
				return false, err
			}
		}
		return true, nil
	}
}

// acknowledged takes an h of the server, where e has one.
func (c *client) acknowledged(e *stanza.Element) error {
	v := e.Attr("h")
	if v == "" {
		return nil
	}
	h, err := strconv.ParseUint(v, 10, 32)
	if err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := uint32(h) - c.acked
	if n > uint32(len(c.sent)) {
		return fmt.Errorf("%s: the server has %d, and %d of %d were sent", c.user, h, len(c.sent), c.acked)
	}
	for _, u := range c.sent[:n] {
		if c.ack != nil && u.id != "" {
			c.ack(u.id)
		}
	}
	c.sent = c.sent[n:]
	c.acked = uint32(h)
	return nil
}

func (c *client) item(conn net.Conn, it stanza.Item) error {
	switch {
	case it.Stanza != nil:
		if c.take != nil {
			c.take(c, it.Stanza)
		}
		c.mu.Lock()
		c.got++
		c.mu.Unlock()
	case it.Elem.Space == nsSM && it.Elem.Local == "r":
		c.mu.Lock()
		defer c.mu.Unlock()
		_, err := fmt.Fprintf(conn, "<a xmlns='%s' h='%d'/>", nsSM, c.got)
		return err
	case it.Elem.Space == nsSM && it.Elem.Local == "a":
		if err := c.acknowledged(it.Elem); err != nil {
			c.lose()
			return err
		}
	}
	return nil
}

// send sends a stanza now or with the next connection. id is what is told when it is acknowledged.
func (c *client) send(id, xml string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sent = append(c.sent, unacked{id, xml})
	if c.conn != nil {
		_, _ = io.WriteString(c.conn, xml) // what a broken connection loses goes again
	}
}

// ask asks for an acknowledgement.
func (c *client) ask() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		_, _ = fmt.Fprintf(c.conn, "<r xmlns='%s'/>", nsSM)
	}
}

func (c *client) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.sent)
}

// cut breaks the connection; the client comes back by itself.
func (c *client) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		if t, ok := c.conn.(*tls.Conn).NetConn().(*net.TCPConn); ok {
			_ = t.SetLinger(0)
			_ = t.Close()
		}
	}
}

// lose is cut, and the client forgets its session and what it wanted to send, as one that was killed does. It gives what it forgot.
func (c *client) lose() (forgot []string) {
	c.cut()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.smid = ""
	for _, u := range c.sent {
		if u.id != "" {
			forgot = append(forgot, u.id)
		}
	}
	c.sent = nil
	return forgot
}

// nick is the client's name in rooms.
func (c *client) nick() string { return c.user + c.zone.domain[:1] }
