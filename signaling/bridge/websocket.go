package bridge

import (
	"context"
	"crypto/subtle"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"konzil/signaling/bridgechan"
)

// WebSocketPath is where WebSocketHandler must be mounted.
const WebSocketPath = "/colibri-ws/"

// Close codes (RFC 6455 §7.4.1).
const (
	wsNormal    = websocket.StatusNormalClosure
	wsGoingAway = websocket.StatusGoingAway
)

const (
	// maxOut messages may wait for a slow client, some seconds of a busy conference. A full queue closes the connection: messages
	// must not be lost, and a client that connects anew is told everything again.
	maxOut = 1024
	// maxOutBytes bounds the same queue in bytes: a message may have a quarter of a megabyte.
	maxOutBytes = 4 << 20
	// wsWriteTimeout is for one message; longer means that the path is dead.
	wsWriteTimeout = 10 * time.Second
)

// wsConn is one WebSocket of a client. out is closed by nobody; stop ends the writer.
type wsConn struct {
	conn   *websocket.Conn
	out    chan []byte
	bytes  atomic.Int64 // in out
	stop   chan struct{}
	once   sync.Once // guards the fields below and the closing of stop
	code   websocket.StatusCode
	reason string
}

// send queues a message; false: the queue is full, and the connection closes.
func (w *wsConn) send(msg []byte) bool {
	if w.bytes.Add(int64(len(msg))) <= maxOutBytes {
		select {
		case w.out <- msg:
			return true
		default:
		}
	}
	w.close(websocket.StatusPolicyViolation, "too slow")
	return false
}

// close makes the writer close the connection; it does not wait.
func (w *wsConn) close(code websocket.StatusCode, reason string) {
	w.once.Do(func() {
		w.code, w.reason = code, reason
		close(w.stop)
	})
}

// WebSocketHandler serves /colibri-ws/<server-id>/<conference-id>/<endpoint-id>?pwd=.
func (b *Bridge) WebSocketHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		parts := strings.Split(strings.TrimPrefix(r.URL.Path, WebSocketPath), "/")
		if len(parts) != 3 || parts[0] != b.cfg.ServerID {
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
		conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true, CompressionMode: websocket.CompressionDisabled})
		if err != nil {
			return // Accept has answered
		}
		b.serve(r.Context(), conn, c, ep)
	})
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

// serve reads one connection until it ends; a second goroutine writes and pings.
func (b *Bridge) serve(ctx context.Context, conn *websocket.Conn, c *conference, ep *endpoint) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	conn.SetReadLimit(bridgechan.MaxMessage)
	w := &wsConn{conn: conn, out: make(chan []byte, maxOut), stop: make(chan struct{})}
	if !c.attach(ep, w) {
		conn.Close(wsGoingAway, "the endpoint is gone")
		return
	}
	b.count.wsOpened.Add(1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer cancel() // a dead writer ends the reader
		b.write(ctx, w)
	}()
	go b.ping(ctx, w)
	for {
		typ, msg, err := conn.Read(ctx)
		if err != nil {
			break
		}
		if typ == websocket.MessageText {
			c.received(ep.id, msg, w)
		}
	}
	c.do(func() {
		if ep.ws == w {
			ep.ws = nil
		}
	})
	w.close(wsNormal, "")
	<-done
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
		ep.ws.close(wsNormal, "replaced")
	}
	ep.ws, ep.viaWS = w, true
	c.tell(ep, bridgechan.ServerHello(c.b.cfg.Version))
	c.hello(ep)
	return true
}

// write sends what is queued until the connection is to close.
func (b *Bridge) write(ctx context.Context, w *wsConn) {
	for {
		select {
		case msg := <-w.out:
			wctx, cancel := context.WithTimeout(ctx, wsWriteTimeout)
			err := w.conn.Write(wctx, websocket.MessageText, msg)
			cancel()
			w.bytes.Add(-int64(len(msg)))
			if err != nil {
				w.close(wsNormal, "")
				w.conn.CloseNow()
				return
			}
		case <-w.stop:
			w.conn.Close(w.code, w.reason)
			return
		case <-ctx.Done():
			w.conn.CloseNow()
			return
		}
	}
}

// ping keeps proxies from closing an idle connection, and finds out dead ones: no answer for the rest of IdleTimeout closes it.
func (b *Bridge) ping(ctx context.Context, w *wsConn) {
	t := time.NewTicker(b.cfg.PingInterval)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			pctx, cancel := context.WithTimeout(ctx, b.cfg.IdleTimeout-b.cfg.PingInterval)
			err := w.conn.Ping(pctx)
			cancel()
			if err != nil {
				w.conn.CloseNow() // there is nobody to shake hands with
				return
			}
		case <-ctx.Done():
			return
		}
	}
}
