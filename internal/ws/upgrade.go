package ws

import (
	"crypto/sha1"
	"encoding/base64"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// errHandshake is a request that is no WebSocket handshake; it was answered.
var errHandshake = errors.New("ws: no WebSocket handshake")

// handshakeTimeout is for writing the answer.
const handshakeTimeout = 10 * time.Second

// Upgrade answers the opening handshake (RFC 6455 §4.2) and takes the connection over. subprotocol is accepted if the client offers it, else
// none is; Conn.Subprotocol tells. It looks at no Origin: callers know their clients by more than a cookie. writeTimeout is for each Write.
// With an error the request has been answered, or the connection is closed.
func Upgrade(w http.ResponseWriter, r *http.Request, subprotocol string, writeTimeout time.Duration) (*Conn, error) {
	key := r.Header.Get("Sec-WebSocket-Key")
	switch {
	case r.Method != http.MethodGet:
		w.Header().Set("Allow", http.MethodGet)
		http.Error(w, "WebSocket: GET is expected", http.StatusMethodNotAllowed)
		return nil, errHandshake
	case !r.ProtoAtLeast(1, 1) || r.ProtoMajor != 1 || !hasToken(r.Header, "Connection", "upgrade") || !hasToken(r.Header, "Upgrade", "websocket"):
		w.Header().Set("Connection", "Upgrade")
		w.Header().Set("Upgrade", "websocket")
		http.Error(w, "this is a WebSocket", http.StatusUpgradeRequired)
		return nil, errHandshake
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		w.Header().Set("Sec-WebSocket-Version", "13") // RFC 6455 §4.4
		http.Error(w, "WebSocket: version 13 is expected", http.StatusUpgradeRequired)
		return nil, errHandshake
	case key == "": // what it decodes to does not matter (§4.2.2): there are clients whose keys are longer
		http.Error(w, "WebSocket: a key is expected", http.StatusBadRequest)
		return nil, errHandshake
	}
	if subprotocol != "" && !hasToken(r.Header, "Sec-WebSocket-Protocol", subprotocol) {
		subprotocol = ""
	}
	conn, brw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, "WebSocket: this connection cannot change its protocol", http.StatusNotImplemented)
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	c := newConn(conn, subprotocol, writeTimeout)
	if n := brw.Reader.Buffered(); n > 0 { // a client that did not wait for the answer
		early, _ := brw.Reader.Peek(n)
		c.early = slices.Clone(early)
	}
	if err := c.accept(w.Header(), key); err != nil {
		_ = conn.Close()
		return nil, err
	}
	if s := socket(conn); s != nil && s.patient() {
		c.sock = s
	}
	return c, nil
}

// accept sends the answer, with the headers that were set before.
func (c *Conn) accept(h http.Header, key string) error {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11")) // RFC 6455 §1.3
	h = h.Clone()
	h.Set("Upgrade", "websocket")
	h.Set("Connection", "Upgrade")
	h.Set("Sec-WebSocket-Accept", base64.StdEncoding.EncodeToString(sum[:]))
	if c.subprotocol != "" {
		h.Set("Sec-WebSocket-Protocol", c.subprotocol)
	}
	var b strings.Builder
	b.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	_ = h.Write(&b) // a Builder does not fail
	b.WriteString("\r\n")
	_ = c.conn.SetWriteDeadline(time.Now().Add(handshakeTimeout))
	_, err := c.conn.Write([]byte(b.String()))
	_ = c.conn.SetWriteDeadline(time.Time{})
	return err
}

// hasToken looks for token in the comma-separated lists of a header; case does not matter.
func hasToken(h http.Header, name, token string) bool {
	for _, line := range h.Values(name) {
		for t := range strings.SplitSeq(line, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}

// RemoteAddr is the client's address, or its proxy's.
func (c *Conn) RemoteAddr() net.Addr { return c.conn.RemoteAddr() }
