package xmpp

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"konzil/internal/ws"
	"konzil/xmpp/sasl"
	"konzil/xmpp/stanza"
)

var (
	errNoCertificate = errors.New("xmpp: no certificate")
	errNotText       = errors.New("xmpp: binary WebSocket message")
)

// wire is a transport: it turns bytes into headers and elements and back. Reading is for the stream's own goroutine; writing
// is for one goroutine at a time.
type wire interface {
	readHeader() (*stanza.Header, error)
	next() (stanza.Item, error) // errAgain only after patient
	patient()                   // from now on next may say errAgain, and wait waits
	wait() error
	setLimits(stanza.Limits)
	readDeadline(time.Time)
	restart() // a new header is expected

	appendHeader(dst []byte, h header) []byte
	appendTrailer(dst []byte) []byte
	declares() bool // every element carries its own declarations (RFC 7395 §3.3.3)
	write(items []outItem) error

	endWrite() // after the trailer; ends a blocked read
	linger()   // after endWrite, by the reader
	abandon()  // at once; ends a blocked read or write
	secure() bool
	bindings() map[string][]byte
	remote() net.Addr
	holdOff(time.Duration) bool // for the reader; false: abandoned meanwhile
}

// header is what ours says.
type header struct{ from, to, id, lang string }

// bufferPool holds buffers of size bytes or more, newBuffer if that is 0.
type bufferPool struct {
	p    sync.Pool
	size int
}

const (
	newBuffer     = 4 << 10
	inputBuffer   = 16 << 10 // of one read from a socket: a TLS record is hardly ever longer
	maxKeptBuffer = 64 << 10 // a larger one does not go back
)

func (p *bufferPool) get() *[]byte {
	if b, ok := p.p.Get().(*[]byte); ok {
		return b
	}
	size := p.size
	if size == 0 {
		size = newBuffer
	}
	b := make([]byte, 0, size)
	return &b
}

// put takes back what get gave, now being b.
func (p *bufferPool) put(ptr *[]byte, b []byte) {
	if cap(b) <= maxKeptBuffer {
		*ptr = b[:0]
		p.p.Put(ptr)
	}
}

func (o *outItem) appendTo(dst []byte, declare bool) []byte {
	if o.st == nil {
		return append(dst, o.raw...)
	}
	return o.st.AppendXML(dst, stanza.NSClient, declare)
}

// tcpWire is RFC 6120 over TCP, with or without TLS.
type tcpWire struct {
	raw     *meteredConn
	tls     *tls.Conn // nil before STARTTLS
	rd      *stanza.Reader
	timeout time.Duration
	buffers *bufferPool
}

func (s *Server) newTCPWire(c *meteredConn) *tcpWire {
	l := &s.cfg.Limits
	c.direct()
	return &tcpWire{raw: c, rd: s.elements.NewReader(c, l.PreAuth), timeout: l.WriteTimeout, buffers: &s.buffers}
}

func (w *tcpWire) patient() { w.raw.waiting = w.raw.raw != nil }

// wait blocks until the socket has something. It is called where the stack is small, and nothing else is held meanwhile.
func (w *tcpWire) wait() error { return w.raw.fill() }

func (w *tcpWire) readHeader() (*stanza.Header, error) { return w.rd.Header() }
func (w *tcpWire) next() (stanza.Item, error)          { return w.rd.Next() }
func (w *tcpWire) setLimits(l stanza.Limits)           { w.rd.SetLimits(l) }
func (w *tcpWire) readDeadline(t time.Time)            { _ = w.raw.SetReadDeadline(t) }
func (w *tcpWire) declares() bool                      { return false }
func (w *tcpWire) secure() bool                        { return w.tls != nil }
func (w *tcpWire) remote() net.Addr                    { return w.raw.RemoteAddr() }
func (w *tcpWire) holdOff(d time.Duration) bool        { return w.raw.sleep(d) }
func (w *tcpWire) abandon()                            { _ = w.raw.Close() }

func (w *tcpWire) src() io.Reader {
	if w.tls != nil {
		return w.tls
	}
	return w.raw
}

func (w *tcpWire) restart() { w.rd.Reset(w.src(), true) }

// startTLS does the handshake; what the client sent in clear after <starttls/> would be taken for encrypted (RFC 6120 §5.4.3.3). White space is
// no harm: it is against §5.3.3, and go-xmpp, which bots and bridges are made of, sends a newline.
func (w *tcpWire) startTLS(ctx context.Context, cfg *tls.Config) error {
	w.rd.SkipSpace()
	if w.rd.Buffered() > 0 {
		return errors.New("xmpp: bytes before the TLS handshake")
	}
	w.tls = tls.Server(w.raw, cfg)
	if err := w.tls.HandshakeContext(ctx); err != nil {
		return err
	}
	w.rd.Reset(w.tls, false)
	return nil
}

func (w *tcpWire) appendHeader(dst []byte, h header) []byte {
	dst = append(dst, "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'"...)
	return append(appendHeaderAttrs(dst, h), '>')
}

func appendHeaderAttrs(dst []byte, h header) []byte {
	dst = stanza.AppendAttr(dst, "from", h.from)
	if h.to != "" {
		dst = stanza.AppendAttr(dst, "to", h.to)
	}
	dst = stanza.AppendAttr(dst, "id", h.id)
	dst = stanza.AppendAttr(dst, "version", "1.0")
	return stanza.AppendAttr(dst, "xml:lang", h.lang)
}

func (w *tcpWire) appendTrailer(dst []byte) []byte { return append(dst, "</stream:stream>"...) }

func (w *tcpWire) write(items []outItem) error {
	p := w.buffers.get()
	b := (*p)[:0]
	for i := range items {
		b = items[i].appendTo(b, false)
	}
	own := w.raw.raw == nil
	if own {
		_ = w.raw.SetWriteDeadline(time.Now().Add(w.timeout))
	}
	var err error
	if w.tls != nil {
		_, err = w.tls.Write(b)
	} else {
		_, err = w.raw.Write(b)
	}
	if own {
		_ = w.raw.SetWriteDeadline(time.Time{}) // what TLS itself answers later must not find a deadline of old
	}
	w.buffers.put(p, b)
	return err
}

const (
	lingerTime  = 500 * time.Millisecond // for a peer to close after our last words
	lingerBytes = 1 << 20                // read and dropped meanwhile
)

// endWrite sends TLS's close_notify, so that the peer can tell an end from a cut, and wakes the reader.
func (w *tcpWire) endWrite() {
	if w.tls != nil {
		_ = w.tls.CloseWrite()
	}
	if c, ok := w.raw.Conn.(interface{ CloseWrite() error }); ok {
		_ = c.CloseWrite()
	}
	_ = w.raw.SetReadDeadline(time.Now())
}

// linger waits a little for the peer to close: a socket closed with bytes unread is reset, and a reset takes back the stream error that
// was just written.
func (w *tcpWire) linger() {
	_ = w.raw.SetReadDeadline(time.Now().Add(lingerTime))
	_, _ = io.CopyN(io.Discard, w.raw.Conn, lingerBytes)
}

func (w *tcpWire) bindings() map[string][]byte {
	if w.tls == nil {
		return nil
	}
	cs := w.tls.ConnectionState()
	return sasl.Bindings(&cs, w.raw.endPoint)
}

// wsWire is RFC 7395: one element a message.
type wsWire struct {
	ws      *ws.Conn
	meter   meter
	lim     stanza.Limits
	safe    bool // TLS, or from the machine itself
	waits   bool // next says errAgain
	buffers *bufferPool
}

func (s *Server) newWSWire(c *ws.Conn, safe bool) *wsWire {
	w := &wsWire{ws: c, meter: s.newMeter(), lim: s.cfg.Limits.PreAuth, safe: safe, buffers: &s.buffers}
	c.OnRead = w.meter.meterRead
	return w
}

const nsFraming = "urn:ietf:params:xml:ns:xmpp-framing"

func (w *wsWire) readDeadline(t time.Time)     { w.ws.SetReadDeadline(t) }
func (w *wsWire) setLimits(l stanza.Limits)    { w.lim = l }
func (w *wsWire) restart()                     {}
func (w *wsWire) patient()                     { w.waits = true }
func (w *wsWire) wait() error                  { return w.ws.Wait() }
func (w *wsWire) declares() bool               { return true }
func (w *wsWire) secure() bool                 { return w.safe }
func (w *wsWire) remote() net.Addr             { return w.ws.RemoteAddr() }
func (w *wsWire) holdOff(d time.Duration) bool { return w.meter.sleep(d) }
func (w *wsWire) bindings() map[string][]byte  { return nil } // a proxy may end the TLS, and browsers cannot bind

func (w *wsWire) abandon() {
	w.meter.stop()
	_ = w.ws.Close()
}

// frame reads one message. Of one over the limit a byte more is known, which is enough for the error. White space alone is a keep-alive.
func (w *wsWire) frame() (stanza.Item, error) {
	for {
		kind, b, err := w.ws.Read(w.lim.Bytes)
		var ce *ws.CloseError
		switch {
		case err == ws.ErrAgain: // nobody wraps it
			if w.waits {
				return stanza.Item{}, errAgain
			}
			if err := w.ws.Wait(); err != nil {
				return stanza.Item{}, err
			}
			continue
		case errors.As(err, &ce) && ce.Sent:
			return stanza.Item{}, io.EOF
		case err != nil && !errors.Is(err, ws.ErrTooLong):
			return stanza.Item{}, err
		case kind != ws.Text:
			return stanza.Item{}, errNotText
		case len(bytes.TrimSpace(b)) == 0 && err == nil:
			continue
		}
		return stanza.ParseFrame(b, w.lim)
	}
}

func (w *wsWire) readHeader() (*stanza.Header, error) {
	it, err := w.frame()
	var je *stanza.JIDError
	if err != nil && !errors.As(err, &je) {
		return nil, err
	}
	if it.Elem == nil {
		return &stanza.Header{Name: stanza.Name{Space: stanza.NSClient}, Content: stanza.NSClient}, nil
	}
	if it.Elem.Space == nsFraming && it.Elem.Local == "close" {
		return nil, stanza.ErrStreamEnd
	}
	h := &stanza.Header{Name: it.Elem.Name, Content: stanza.NSClient, Attrs: it.Elem.Attrs}
	if h.Space == nsFraming && h.Local == "open" {
		h.Name = stanza.Name{Space: stanza.NSStream, Local: "stream"}
	}
	return h, nil
}

func (w *wsWire) next() (stanza.Item, error) {
	it, err := w.frame()
	if err == nil && it.Elem != nil && it.Elem.Space == nsFraming && it.Elem.Local == "close" {
		return it, stanza.ErrStreamEnd
	}
	return it, err
}

func (w *wsWire) appendHeader(dst []byte, h header) []byte {
	dst = append(dst, "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing'"...)
	return append(appendHeaderAttrs(dst, h), '/', '>')
}

func (w *wsWire) appendTrailer(dst []byte) []byte {
	return append(dst, "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>"...)
}

// write sends each item as its own message, as many of them in one write to the socket as fit a buffer that is kept: who enters a room of
// a hundred gets a hundred kilobytes.
func (w *wsWire) write(items []outItem) (err error) {
	p, q := w.buffers.get(), w.buffers.get()
	b, out := (*p)[:0], (*q)[:0]
	for i := range items {
		b = items[i].appendTo(b[:0], true)
		if len(out) > 0 && len(out)+len(b) > wsWriteBytes {
			if err = w.send(out); err != nil {
				break
			}
			out = out[:0]
		}
		out = ws.AppendFrame(out, ws.Text, b)
	}
	if err == nil {
		err = w.send(out)
	}
	w.buffers.put(p, b)
	w.buffers.put(q, out)
	return err
}

// wsWriteBytes is how much write collects: two TLS records, and with the way that buffers grow less than maxKeptBuffer.
const wsWriteBytes = 32 << 10

func (w *wsWire) send(b []byte) error {
	w.meter.count.writes.Add(1)
	w.meter.count.bytesOut.Add(int64(len(b)))
	return w.ws.Write(b)
}

// closeWait is how long a WebSocket client may take to answer the closing handshake.
const closeWait = time.Second

// endWrite begins the closing handshake of RFC 6455 §7 and wakes the reader, which lingers for the answer.
func (w *wsWire) endWrite() {
	_ = w.ws.SendClose(ws.StatusNormal, "")
	w.ws.SetReadDeadline(time.Now())
}

func (w *wsWire) linger() { w.ws.Linger(closeWait) }
