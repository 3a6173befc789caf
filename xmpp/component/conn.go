package component

import (
	"crypto/sha1" // XEP-0114 §3 names it
	"crypto/subtle"
	"encoding/hex"
	"errors"
	"net"
	"strings"
	"sync"
	"time"

	"konzil/internal/random"
	"konzil/xmpp"
	"konzil/xmpp/stanza"
)

// conn is one connection of a component.
type conn struct {
	s   *Service
	raw net.Conn
	rd  *stanza.Reader
	k   *Component // once the handshake is done
	in  *xmpp.Inbound

	mu     sync.Mutex // guards all below
	queue  []*stanza.Stanza
	bytes  int
	closed bool
	wake   chan struct{} // capacity 1: something is in the queue
}

// serve runs the connection from its first byte to its last.
func (c *conn) serve() {
	err := c.login()
	c.s.loggedIn()
	if err == nil {
		err = c.loop()
	}
	if errors.Is(err, stanza.ErrStreamEnd) {
		_ = c.write([]byte("</stream:stream>"))
	}
	c.end(stanza.StreamErrorOf(err))
	if c.k != nil {
		c.in.Drain()
		c.k.gone(c)
	}
}

// login is the header and the handshake (XEP-0114 §3).
func (c *conn) login() error {
	_ = c.raw.SetReadDeadline(time.Now().Add(loginTime))
	h, err := c.rd.Header()
	if err != nil {
		return err
	}
	id := random.ID() // the handshake is worth what it is
	var k *Component
	for _, x := range c.s.list {
		if h.Attr("to") == x.cfg.Domain {
			k = x
		}
	}
	from := h.Attr("to")
	if k == nil {
		from = c.s.srv.Domain()
	}
	b := []byte("<?xml version='1.0'?><stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams'")
	b = stanza.AppendAttr(stanza.AppendAttr(b, "from", from), "id", id)
	if err := c.write(append(b, '>')); err != nil {
		return err
	}
	switch {
	case h.Space != stanza.NSStream || h.Local != "stream" || h.Content != nsAccept:
		return stanza.NewStreamError("invalid-namespace", "components speak jabber:component:accept")
	case k == nil:
		return stanza.NewStreamError("host-unknown", "")
	}
	it, err := c.rd.Next()
	if err != nil {
		return err
	}
	sum := sha1.Sum([]byte(id + k.cfg.Secret))
	if it.Elem == nil || it.Elem.Local != "handshake" ||
		subtle.ConstantTimeCompare([]byte(strings.ToLower(strings.TrimSpace(it.Elem.Text()))), []byte(hex.EncodeToString(sum[:]))) != 1 {
		c.s.count.refused.Add(1)
		c.s.log.Warn("a component does not know its secret", "component", k.cfg.Domain, "address", c.raw.RemoteAddr().String())
		return stanza.NewStreamError("not-authorized", "")
	}
	_ = c.raw.SetReadDeadline(time.Time{})
	c.rd.SetLimits(stanzaLimits)
	c.k, c.in = k, c.s.srv.NewInbound(nil)
	k.mu.Lock()
	old := k.conn
	k.conn = c // before it is told: what comes for it from now on waits for the handshake alone
	k.mu.Unlock()
	if err := c.write([]byte("<handshake/>")); err != nil {
		return err
	}
	k.connected(c, old)
	return nil
}

// connected begins to write to c. The connection from before ends: the component has proved itself, and knows better which of its connections works.
func (k *Component) connected(c, old *conn) {
	if old != nil {
		old.end(stanza.NewStreamError("conflict", "replaced by a new connection"))
	}
	k.s.count.accepted.Add(1)
	k.s.log.Info("component connected", "component", k.cfg.Domain)
	k.s.wg.Go(c.writeAll)
	k.announce()
}

// gone takes k off the air, unless it has another connection; what waited comes back to its senders.
func (k *Component) gone(c *conn) {
	k.mu.Lock()
	if k.conn == c {
		k.conn = nil
		k.s.log.Info("component disconnected", "component", k.cfg.Domain)
	}
	k.mu.Unlock()
	c.mu.Lock()
	left := c.queue
	c.queue, c.bytes = nil, 0
	c.mu.Unlock()
	for _, st := range left {
		k.HandleStanza(st) // to the new connection, if there is one
	}
}

// loop reads stanzas until the stream ends.
func (c *conn) loop() error {
	for {
		it, err := c.rd.Next()
		var je *stanza.JIDError
		switch {
		case err != nil && !errors.As(err, &je):
			return err
		case it.Stanza == nil && it.Elem != nil && it.Elem.Name == stanza.Name{Space: stanza.NSStream, Local: "error"}:
			return stanza.ErrStreamEnd
		case it.Stanza == nil:
			return stanza.NewStreamError("unsupported-stanza-type", "")
		case je != nil && je.Attr == "to":
			c.refuse(it.Stanza.WithTo(c.k.jid), stanza.ErrJIDMalformed)
			continue
		}
		st := it.Stanza
		if je == nil && st.From.IsZero() { // from the component itself, as programs that were clients before have it
			st = st.WithFrom(c.k.jid)
		}
		switch {
		case je != nil || st.From.Domain() != c.k.cfg.Domain:
			c.s.count.forged.Add(1)
			return stanza.NewStreamError("invalid-from", "a component speaks for its domain") // XEP-0114 §3: the server checks
		case st.To.IsZero():
			c.refuse(st, stanza.ErrBadRequest.With("Stanzas of components say whom they are for"))
			continue
		}
		c.s.count.in.Add(1)
		if !c.k.privileged(st) && !c.k.nested(st) && !c.k.delegated(st) {
			c.in.Take(st)
		}
	}
}

// refuse answers a stanza of the component's that goes nowhere.
func (c *conn) refuse(st *stanza.Stanza, e *stanza.Error) {
	if r := st.ErrorReply(e); r != nil {
		c.k.send(r)
	}
}

// push queues st; false: the connection has ended.
func (c *conn) push(st *stanza.Stanza) bool {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return false
	}
	c.queue = append(c.queue, st)
	c.bytes += st.Size()
	full := len(c.queue) > maxQueue || c.bytes > maxQueueBytes
	c.mu.Unlock()
	if full {
		c.s.count.overflow.Add(1)
		c.s.log.Warn("a component does not read; it is disconnected", "component", c.k.cfg.Domain)
		c.abandon()
		return true // gone gives it back
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return true
}

// writeAll writes what is queued until the connection ends.
func (c *conn) writeAll() {
	var b []byte
	for range c.wake {
		for {
			c.mu.Lock()
			batch := c.queue
			c.queue, c.bytes = nil, 0
			closed := c.closed
			c.mu.Unlock()
			if len(batch) == 0 {
				if closed {
					return
				}
				break
			}
			b = b[:0]
			for _, st := range batch {
				b = st.AppendXML(b, nsAccept, false)
			}
			if err := c.write(b); err != nil {
				c.abandon()
				for _, st := range batch { // nobody knows how much of it arrived
					c.s.bounce(st, &stanza.Error{Type: "wait", Condition: "service-unavailable", Text: "The service is not connected"})
				}
				return
			}
			c.s.count.out.Add(uint64(len(batch)))
		}
	}
}

func (c *conn) write(b []byte) error {
	_ = c.raw.SetWriteDeadline(time.Now().Add(writeTime))
	_, err := c.raw.Write(b)
	return err
}

// end says why, if there is a reason, and closes.
func (c *conn) end(se *stanza.StreamError) {
	if se != nil {
		_ = c.raw.SetWriteDeadline(time.Now().Add(time.Second))
		_, _ = c.raw.Write(se.Closing(nsAccept))
	}
	c.abandon()
}

// abandon closes the socket and refuses what comes; reads and writes end.
func (c *conn) abandon() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	_ = c.raw.Close()
	select {
	case c.wake <- struct{}{}:
	default:
	}
}
