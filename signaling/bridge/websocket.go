package bridge

import (
	"crypto/subtle"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"konzil/internal/ws"
	"konzil/signaling/bridgechan"
)

// WebSocketPath is where WebSocketHandler must be mounted.
const WebSocketPath = "/colibri-ws/"

const (
	// maxOut messages may wait for a slow client, some seconds of a busy conference. A full queue closes the connection: messages
	// must not be lost, and a client that connects anew is told everything again.
	maxOut = 1024
	// maxOutBytes bounds the same queue in bytes: a message may have a quarter of a megabyte.
	maxOutBytes = 4 << 20
	// wsWriteTimeout is for one write; longer means that the path is dead.
	wsWriteTimeout = 10 * time.Second
	// wsCloseWait is how long a client may take to answer the closing handshake.
	wsCloseWait = time.Second
	// wsWriteBytes is about how much goes into one write, and what its buffer has.
	wsWriteBytes = 16 << 10
)

// wsConn is one WebSocket of a client. A goroutine reads; another lives while there is something to write. Pings come by a timer.
type wsConn struct {
	conn   *ws.Conn
	ended  chan struct{} // closed when the closing handshake has begun, or writing failed
	cfg    *Config
	frames *sync.Pool

	mu      sync.Mutex // guards all below
	beats   *time.Timer
	out     [][]byte
	bytes   int // in out
	writing bool
	closing bool // nothing more is queued
	over    bool // ended is closed
	code    int
	reason  string
}

// send queues a message; false: the queue is full, and the connection closes.
func (w *wsConn) send(msg []byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closing {
		return true
	}
	if len(w.out) == maxOut || w.bytes+len(msg) > maxOutBytes {
		w.out, w.bytes = nil, 0
		w.closeLocked(ws.StatusPolicy, "too slow")
		return false
	}
	w.out = append(w.out, msg)
	w.bytes += len(msg)
	w.wake()
	return true
}

// close sends what is queued and begins the closing handshake; it does not wait.
func (w *wsConn) close(code int, reason string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closeLocked(code, reason)
}

func (w *wsConn) closeLocked(code int, reason string) {
	if !w.closing {
		w.closing, w.code, w.reason = true, code, reason
		w.wake()
	}
}

// wake makes the writer run; the caller holds mu.
func (w *wsConn) wake() {
	if !w.writing {
		w.writing = true
		go w.write()
	}
}

// write sends what is queued, many messages at once, and ends when there is no more.
func (w *wsConn) write() {
	p := w.frames.Get().(*[]byte)
	defer w.frames.Put(p)
	for {
		b, more := w.take((*p)[:0])
		if !more {
			return
		}
		if err := w.conn.Write(b); err != nil {
			w.close(ws.StatusNormal, "")
			w.finish()
			_ = w.conn.Close()
			return
		}
	}
}

// take makes frames of what is queued; false: there is nothing, and the writer is done.
func (w *wsConn) take(b []byte) ([]byte, bool) {
	w.mu.Lock()
	if len(w.out) == 0 && w.closing {
		w.mu.Unlock()
		_ = w.conn.SendClose(w.code, w.reason) // neither changes any more; a client that is gone needs none
		w.conn.SetReadDeadline(time.Now())     // wakes the reader, which lingers for the answer
		w.finish()
		return nil, false
	}
	defer w.mu.Unlock()
	n := 0
	for n < len(w.out) && (n == 0 || len(b)+len(w.out[n]) <= wsWriteBytes) {
		b = ws.AppendFrame(b, ws.Text, w.out[n])
		w.bytes -= len(w.out[n])
		n++
	}
	if w.out = w.out[n:]; len(w.out) == 0 {
		w.out = nil
	}
	w.writing = n > 0
	return b, w.writing
}

// finish tells the reader that nothing more will be written.
func (w *wsConn) finish() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.over {
		w.over = true
		close(w.ended)
	}
}

// beat keeps proxies from closing an idle connection, and finds out dead ones: IdleTimeout without a sign of life closes it.
func (w *wsConn) beat() {
	silent := time.Since(w.conn.Heard())
	if silent >= w.cfg.IdleTimeout || w.conn.Ping() != nil {
		_ = w.conn.Close() // there is nobody to shake hands with
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.beats.Reset(max(min(w.cfg.PingInterval, w.cfg.IdleTimeout-silent), time.Millisecond))
}

// WebSocketHandler serves /colibri-ws/<server-id>/<conference-id>/<endpoint-id>?pwd=.
func (b *Bridge) WebSocketHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parts, err := pathParts(r.URL)
		if err != nil || len(parts) != 3 || parts[0] != b.cfg.ServerID {
			b.count.wsRefused.Add(1)
			http.NotFound(w, r)
			return
		}
		c, ep := b.authorize(parts[1], parts[2], r.URL.Query().Get("pwd"))
		if ep == nil {
			b.count.wsRefused.Add(1)
			http.Error(w, "403 forbidden", http.StatusForbidden) // the same whatever was wrong
			return
		}
		// The origin is not looked at: the password in the URL came to the client over its own signalling.
		conn, err := ws.Upgrade(w, r, "", wsWriteTimeout)
		if err != nil {
			return // Upgrade has answered
		}
		if !b.run(func() { b.serve(conn, c, ep) }) { // net/http's goroutine has a large stack, and ends here
			_ = conn.Close()
		}
	})
}

// pathParts are what stands between the slashes behind WebSocketPath. An escaped slash belongs to an endpoint's id, which is a nick.
func pathParts(u *url.URL) (parts []string, err error) {
	for part := range strings.SplitSeq(strings.TrimPrefix(u.EscapedPath(), WebSocketPath), "/") {
		if part, err = url.PathUnescape(part); err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	return parts, nil
}

// run starts f as a goroutine that Close waits for; false: too late.
func (b *Bridge) run(f func()) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.wg.Go(f)
	}
	return !b.closed
}

// authorize finds the endpoint that a path and password are of.
func (b *Bridge) authorize(path, id, password string) (*conference, *endpoint) {
	b.mu.Lock()
	c := b.byPath[path]
	b.mu.Unlock()
	if c == nil {
		return nil, nil
	}
	ep := c.endpoint(id)
	if ep == nil || subtle.ConstantTimeCompare([]byte(ep.password), []byte(password)) != 1 {
		return nil, nil
	}
	return c, ep
}

// serve runs one connection until it ends.
func (b *Bridge) serve(conn *ws.Conn, c *conference, ep *endpoint) {
	defer conn.Close()
	w := &wsConn{conn: conn, ended: make(chan struct{}), cfg: &b.cfg, frames: &b.frames}
	if c.attach(ep, w) {
		b.count.wsOpened.Add(1)
		w.read(c, ep.id)
		w.beats.Stop()
		c.do(func() {
			if ep.ws == w {
				ep.ws = nil
			}
		})
	} else {
		w.close(ws.StatusGoingAway, "the endpoint is gone")
	}
	w.close(ws.StatusNormal, "")
	<-w.ended
	conn.Linger(wsCloseWait)
}

// read hands on what the client says until the connection ends. It waits here, so that the stack of a connection that waits is small.
func (w *wsConn) read(c *conference, id string) {
	for {
		kind, msg, err := w.conn.Read(bridgechan.MaxMessage)
		switch {
		case err == ws.ErrAgain: // nobody wraps it
			if err = w.conn.Wait(); err != nil {
				return
			}
		case errors.Is(err, ws.ErrTooLong):
			w.close(ws.StatusTooBig, "")
			return
		case err != nil:
			return
		case kind == ws.Text && !utf8.Valid(msg):
			w.close(ws.StatusBadPayload, "text that is not UTF-8") // RFC 6455 §8.1
			return
		case kind == ws.Text:
			c.received(id, msg, w)
		}
	}
}

// attach makes w the client's WebSocket and greets it. An older one is closed.
func (c *conference) attach(ep *endpoint, w *wsConn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ep.gone {
		return false
	}
	if ep.ws != nil {
		c.b.count.wsReplaced.Add(1)
		ep.ws.close(ws.StatusNormal, "replaced")
	}
	ep.ws, ep.viaWS = w, true
	w.mu.Lock()
	w.beats = time.AfterFunc(c.b.cfg.PingInterval, w.beat)
	w.mu.Unlock()
	c.tell(ep, bridgechan.ServerHello(c.b.cfg.Version))
	c.hello(ep)
	return true
}
