package ws

import (
	"encoding/binary"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Status codes (RFC 6455 §7.4.1).
const (
	StatusNormal        = 1000
	StatusGoingAway     = 1001
	StatusProtocolError = 1002
	StatusNoStatus      = 1005 // never sent: no code was given
	StatusBadPayload    = 1007
	StatusPolicy        = 1008
	StatusTooBig        = 1009
	StatusTryAgainLater = 1013
)

// ErrTooLong is a message over the limit. What follows of it may only be lingered for.
var ErrTooLong = errors.New("ws: the message is too long")

// Conn is one WebSocket. Read, Wait and Linger are for one goroutine; the others may be called by any.
type Conn struct {
	conn        net.Conn
	sock        patientConn // nil: Read blocks, and Wait does not
	subprotocol string
	timeout     time.Duration // of a write

	// OnRead, if set before the first Read, hears of each portion of n bytes and may hold it back; an error ends the reading.
	OnRead func(n int) error

	// of the reader
	early []byte  // came with the handshake
	in    []byte  // out of TLS and not parsed yet; of *held
	held  *[]byte // nil while nothing is under way
	p     parser

	heard atomic.Int64 // when something came from the peer, Unix ns

	mu     sync.Mutex // guards writing
	closed bool       // a close frame was sent
}

func newConn(conn net.Conn, subprotocol string, timeout time.Duration) *Conn {
	c := &Conn{conn: conn, subprotocol: subprotocol, timeout: timeout}
	c.heard.Store(time.Now().UnixNano())
	return c
}

// Subprotocol is the one agreed on, "" for none.
func (c *Conn) Subprotocol() string { return c.subprotocol }

// Heard is when the peer last sent anything.
func (c *Conn) Heard() time.Time { return time.Unix(0, c.heard.Load()) }

// SetReadDeadline ends Read and Wait with a timeout at t; the zero time is never. Reading may go on after it.
func (c *Conn) SetReadDeadline(t time.Time) { _ = c.conn.SetReadDeadline(t) }

// Read gives the next message, of at most limit bytes, and its kind (Text or Binary); the caller owns it. ErrAgain: wait, then ask again.
// That text is UTF-8 is the caller's to check (RFC 6455 §8.1), whose parser does anyway. ErrTooLong comes with the first limit+1 bytes. A *CloseError is the end, and has been answered.
func (c *Conn) Read(limit int) (kind byte, msg []byte, err error) {
	for {
		if len(c.in) == 0 {
			if err := c.more(); err != nil {
				return 0, nil, err
			}
		}
		n, op, over, err := c.p.feed(c.in, limit)
		c.used(n)
		switch {
		case over:
			return op, c.message(), ErrTooLong
		case err != nil:
		case op == 0:
			continue
		case op == opPing:
			err = c.Write(AppendFrame(nil, opPong, c.p.ctl))
		case op == opPong:
		case op == opClose:
			err = closing(c.p.ctl)
		default:
			return op, c.message(), nil
		}
		c.p.ctl = nil
		if ce := (*CloseError)(nil); errors.As(err, &ce) {
			c.answerClose(ce)
		}
		if err != nil {
			c.used(len(c.in))
			return 0, nil, err
		}
	}
}

// message takes the message out of the parser.
func (c *Conn) message() []byte {
	m := c.p.msg
	c.p.msg = nil
	return m
}

// more reads what has come.
func (c *Conn) more() error {
	if c.early != nil {
		c.in, c.early = c.early, nil
		return nil
	}
	p := inputs.Get().(*[]byte)
	n, err := c.conn.Read(*p)
	if n > 0 {
		c.in, c.held = (*p)[:n], p
		c.heard.Store(time.Now().UnixNano())
		if c.OnRead != nil {
			return c.OnRead(n)
		}
		return nil
	}
	inputs.Put(p)
	return err
}

// used drops the first n bytes of the input.
func (c *Conn) used(n int) {
	if c.in = c.in[n:]; len(c.in) == 0 {
		if c.held != nil {
			inputs.Put(c.held)
		}
		c.in, c.held = nil, nil
	}
}

// Wait blocks until there may be something to read. It is called where the stack is small.
func (c *Conn) Wait() error {
	if c.sock == nil {
		return nil
	}
	return c.sock.wait()
}

// Next is Read that waits.
func (c *Conn) Next(limit int) (kind byte, msg []byte, err error) {
	for {
		kind, msg, err = c.Read(limit)
		if err != ErrAgain { // nobody wraps it
			return kind, msg, err
		}
		if err = c.Wait(); err != nil {
			return 0, nil, err
		}
	}
}

// Write sends frames that AppendFrame made, in one piece. It fails when the peer takes none of it for the time that Upgrade was given.
func (c *Conn) Write(frames []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return net.ErrClosed
	}
	return c.write(frames)
}

// write sends; the caller holds mu.
func (c *Conn) write(b []byte) error {
	_ = c.conn.SetWriteDeadline(time.Now().Add(c.timeout))
	_, err := c.conn.Write(b)
	_ = c.conn.SetWriteDeadline(time.Time{}) // what TLS itself answers later must not find a deadline of old
	return err
}

// Ping asks the peer for a sign of life, which Heard will show.
func (c *Conn) Ping() error { return c.Write(AppendFrame(nil, opPing, nil)) }

// SendClose sends a close frame, once; nothing can be written after it. The connection stays open for the peer's answer.
func (c *Conn) SendClose(code int, reason string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil
	}
	c.closed = true
	var b []byte
	if code != StatusNoStatus {
		b = binary.BigEndian.AppendUint16(nil, uint16(code))
		b = append(b, reason[:min(len(reason), maxControl-2)]...)
	}
	return c.write(AppendFrame(nil, opClose, b))
}

// answerClose sends the close frame back that has come (RFC 6455 §5.5.1), or says what was wrong.
func (c *Conn) answerClose(e *CloseError) {
	text := e.Text
	if e.Sent {
		text = ""
	}
	_ = c.SendClose(e.Code, text) // a peer that is gone needs none
}

// Linger reads on for at most d, until the peer has answered the close frame: a socket closed with bytes unread is reset, and a reset takes
// back what was just written.
func (c *Conn) Linger(d time.Duration) {
	c.SetReadDeadline(time.Now().Add(d))
	for total := 0; total < lingerBytes; {
		_, msg, err := c.Next(lingerBytes)
		if err != nil {
			return
		}
		total += len(msg) + 1
	}
}

// lingerBytes are read and dropped while a connection ends.
const lingerBytes = 1 << 20

// Close closes the connection at once; it ends Read and Wait.
func (c *Conn) Close() error { return c.conn.Close() }
