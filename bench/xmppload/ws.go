package xmppload

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
)

// wsConn is the client's side of RFC 6455 as far as RFC 7395 needs it: each Write is one text message; Read gives the payload of what comes,
// one message after the other.
type wsConn struct {
	upper
	head []byte // of a frame, incomplete
	left uint64 // of the frame's payload
	ctrl bool   // the frame is a ping or the like and is passed over
	buf  []byte // to read into
	raw  []byte // read and not used
	out  []byte
}

// upgrade does the HTTP part on a blocking connection.
func upgrade(c upper, u *url.URL) (*wsConn, error) {
	var key [16]byte
	_, _ = rand.Read(key[:]) // never fails
	path := u.RequestURI()
	req := "GET " + path + " HTTP/1.1\r\nHost: " + u.Host + "\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: xmpp\r\n" +
		"Sec-WebSocket-Key: " + base64.StdEncoding.EncodeToString(key[:]) + "\r\n\r\n"
	if _, err := io.WriteString(c, req); err != nil {
		return nil, err
	}
	br := bufio.NewReader(c)
	resp, err := http.ReadResponse(br, nil)
	if err != nil {
		return nil, err
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusSwitchingProtocols {
		return nil, fmt.Errorf("xmppload: WebSocket: %s", resp.Status)
	}
	w := &wsConn{upper: c, buf: make([]byte, 4<<10)}
	w.raw, _ = br.Peek(br.Buffered())
	return w, nil
}

// Write sends p as one masked text message; the mask is zero, which costs nothing and is legal.
func (w *wsConn) Write(p []byte) (int, error) {
	w.out = append(w.out[:0], 0x81)
	switch n := len(p); {
	case n < 126:
		w.out = append(w.out, 0x80|byte(n))
	case n < 1<<16:
		w.out = binary.BigEndian.AppendUint16(append(w.out, 0x80|126), uint16(n))
	default:
		w.out = binary.BigEndian.AppendUint64(append(w.out, 0x80|127), uint64(n))
	}
	w.out = append(append(w.out, 0, 0, 0, 0), p...)
	if _, err := w.upper.Write(w.out); err != nil {
		return 0, err
	}
	return len(p), nil
}

var errClose = errors.New("xmppload: the server closed the WebSocket")

func (w *wsConn) Read(p []byte) (int, error) {
	for {
		if len(w.raw) == 0 {
			n, err := w.upper.Read(w.buf)
			if n == 0 && err != nil {
				return 0, err
			}
			w.raw = w.buf[:n]
		}
		if w.left == 0 {
			if err := w.header(); err != nil {
				return 0, err
			}
			continue
		}
		n := min(uint64(len(w.raw)), w.left)
		k := int(n)
		if !w.ctrl {
			k = copy(p, w.raw[:n])
		}
		w.raw, w.left = w.raw[k:], w.left-uint64(k)
		if !w.ctrl && k > 0 {
			return k, nil
		}
	}
}

// header takes bytes until the frame's header is complete.
func (w *wsConn) header() error {
	w.head, w.raw = append(w.head, w.raw[0]), w.raw[1:]
	if len(w.head) < 2 {
		return nil
	}
	n := uint64(w.head[1] & 0x7f)
	switch {
	case w.head[1]&0x80 != 0:
		return errBroken
	case n == 126 && len(w.head) < 4, n == 127 && len(w.head) < 10:
		return nil
	case n == 126:
		n = uint64(binary.BigEndian.Uint16(w.head[2:]))
	case n == 127:
		n = binary.BigEndian.Uint64(w.head[2:])
	}
	op := w.head[0] & 0x0f
	w.head, w.left, w.ctrl = w.head[:0], n, op >= 8
	if op == 8 {
		return errClose
	}
	return nil
}
