package s2s

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"konzil/xmpp/stanza"
)

// conn is one stream's transport. Reading is for one goroutine, writing for any.
type conn struct {
	raw     net.Conn
	tls     *tls.Conn // nil before TLS
	rd      *stanza.Reader
	timeout time.Duration

	mu sync.Mutex // serialises writes
}

func (s *Service) newConn(c net.Conn) *conn {
	c = &meteredConn{Conn: c, ctx: s.ctx, lim: rate.NewLimiter(rate.Limit(s.cfg.Limits.RateBytes), s.cfg.Limits.RateBurst)}
	return &conn{raw: c, rd: stanza.NewReader(c, s.cfg.Limits.PreAuth), timeout: s.cfg.Limits.WriteTimeout}
}

// meteredConn reads no faster than allowed.
type meteredConn struct {
	net.Conn
	ctx context.Context
	lim *rate.Limiter
}

func (c *meteredConn) Read(b []byte) (int, error) {
	if len(b) > c.lim.Burst() {
		b = b[:c.lim.Burst()]
	}
	n, err := c.Conn.Read(b)
	if n > 0 {
		if werr := c.lim.WaitN(c.ctx, n); werr != nil {
			return 0, werr
		}
	}
	return n, err
}

func (c *conn) write(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.raw.SetWriteDeadline(time.Now().Add(c.timeout))
	var err error
	if c.tls != nil {
		_, err = c.tls.Write(b)
	} else {
		_, err = c.raw.Write(b)
	}
	_ = c.raw.SetWriteDeadline(time.Time{})
	return err
}

// secure puts t under the stream once its handshake is done. What came in clear before would be taken for encrypted (RFC 6120 §5.4.3.3).
func (c *conn) secure(ctx context.Context, t *tls.Conn) error {
	c.rd.SkipSpace()
	if c.rd.Buffered() > 0 {
		return errors.New("s2s: bytes before the TLS handshake")
	}
	if err := t.HandshakeContext(ctx); err != nil {
		return err
	}
	c.tls = t
	c.rd.Reset(t, false)
	return nil
}

// restart begins a new stream on the connection.
func (c *conn) restart() {
	var src io.Reader = c.raw
	if c.tls != nil {
		src = c.tls
	}
	c.rd.Reset(src, true)
}

// close ends the connection with a word; reads end.
func (c *conn) close(words string) {
	if words != "" {
		_ = c.write([]byte(words))
		if c.tls != nil {
			_ = c.tls.CloseWrite()
		}
	}
	_ = c.raw.Close()
}

// acknowledge tells how many stanzas were handled (XEP-0198 §4).
func (c *conn) acknowledge(h uint32) {
	if err := c.write(element(stanza.NewElement(nsSM, "a", "h", strconv.FormatUint(uint64(h), 10)))); err != nil {
		_ = c.raw.Close()
	}
}

// say is an answer of dialback (XEP-0220 §2); e, which may be nil, is why it is none.
func (c *conn) say(local string, p pair, id, typ string, e *stanza.Error) error {
	b := []byte("<db:" + local)
	b = stanza.AppendAttr(stanza.AppendAttr(b, "from", p.local), "to", p.remote)
	if id != "" {
		b = stanza.AppendAttr(b, "id", id)
	}
	b = stanza.AppendAttr(b, "type", typ)
	if e == nil {
		return c.write(append(b, '/', '>'))
	}
	b = e.Element().AppendXML(append(b, '>'), stanza.NSClient)
	return c.write(append(b, "</db:"+local+">"...))
}

// header is the start of a stream of ours; id only when we answer.
func header(from, to, id string) []byte {
	b := []byte("<?xml version='1.0'?><stream:stream xmlns='jabber:server' xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback'")
	b = stanza.AppendAttr(b, "from", from)
	if to != "" {
		b = stanza.AppendAttr(b, "to", to)
	}
	if id != "" {
		b = stanza.AppendAttr(b, "id", id)
	}
	b = stanza.AppendAttr(b, "version", "1.0")
	return append(b, " xml:lang='en'>"...)
}

const trailer = "</stream:stream>"

// readStreamError makes an error of the peer's.
func readStreamError(e *stanza.Element) error {
	out := stanza.NewStreamError("undefined-condition", "")
	for _, c := range e.Children() {
		if c.Space == stanza.NSStreams {
			if c.Local == "text" {
				out.Text = c.Text()
			} else {
				out.Condition = c.Local
			}
		}
	}
	return out
}

// element appends e as it is written on a stream of servers.
func element(e *stanza.Element) []byte { return e.AppendXML(nil, stanza.NSServer) }
