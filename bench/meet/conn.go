package meet

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"sync"

	"github.com/coder/websocket"
)

// maxFrame bounds one frame from the server: the presence of a room comes in single stanzas, a session-initiate for hundreds of
// sources is the largest.
const maxFrame = 4 << 20

// conn is an XMPP stream over WebSocket (RFC 7395).
type conn struct {
	ws *websocket.Conn

	mu   sync.Mutex // guards in
	in   uint32     // stanzas received since <enable/>, XEP-0198 §4
	smOn bool
}

func dial(ctx context.Context, url string, insecure bool) (*conn, error) {
	ws, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{HTTPClient: httpClient(insecure), Subprotocols: []string{"xmpp"}})
	if err != nil {
		return nil, err
	}
	if ws.Subprotocol() != "xmpp" {
		_ = ws.CloseNow()
		return nil, fmt.Errorf("meet: %s does not speak the xmpp sub-protocol", url)
	}
	ws.SetReadLimit(maxFrame)
	return &conn{ws: ws}, nil
}

func (c *conn) send(ctx context.Context, s string) error {
	return c.ws.Write(ctx, websocket.MessageText, []byte(s))
}

func (c *conn) read(ctx context.Context) (*Element, error) {
	b, err := c.frame(ctx)
	if err != nil {
		return nil, err
	}
	return element(b)
}

func (c *conn) frame(ctx context.Context) ([]byte, error) {
	typ, b, err := c.ws.Read(ctx)
	if err == nil && typ != websocket.MessageText {
		err = errors.New("meet: binary frame")
	}
	return b, err
}

func element(b []byte) (*Element, error) {
	e, err := parseElement(b)
	if err != nil {
		return nil, fmt.Errorf("meet: %w in %.200q", err, b)
	}
	return e, nil
}

// open starts a stream and returns its features.
func (c *conn) open(ctx context.Context, to string) (*Element, error) {
	if err := c.send(ctx, fmt.Sprintf("<open xmlns='%s' to='%s' version='1.0'/>", nsFraming, esc(to))); err != nil {
		return nil, err
	}
	e, err := c.read(ctx)
	if err != nil {
		return nil, err
	}
	if e.Name.Local != "open" || e.Name.Space != nsFraming {
		return nil, fmt.Errorf("meet: <%s> instead of <open>", e.Name.Local)
	}
	if e, err = c.read(ctx); err != nil {
		return nil, err
	}
	if e.Name.Local != "features" {
		return nil, fmt.Errorf("meet: <%s> instead of features", e.Name.Local)
	}
	return e, nil
}

// auth does SASL (RFC 6120 §6): PLAIN (RFC 4616) with a user, else ANONYMOUS (RFC 4505).
func (c *conn) auth(ctx context.Context, features *Element, user, password string) error {
	mech, initial := "ANONYMOUS", ""
	if user != "" {
		mech = "PLAIN"
		initial = base64.StdEncoding.EncodeToString([]byte("\x00" + user + "\x00" + password))
	}
	offered := false
	for _, m := range features.Child(nsSASL, "mechanisms").All("", "mechanism") {
		offered = offered || m.Text == mech
	}
	if !offered {
		return fmt.Errorf("meet: server does not offer SASL %s", mech)
	}
	if err := c.send(ctx, fmt.Sprintf("<auth xmlns='%s' mechanism='%s'>%s</auth>", nsSASL, mech, initial)); err != nil {
		return err
	}
	e, err := c.read(ctx)
	if err != nil {
		return err
	}
	if e.Name.Local != "success" {
		reason := e.Name.Local
		for _, ch := range e.Children {
			reason += " " + ch.Name.Local + " " + ch.Text
		}
		return fmt.Errorf("meet: SASL %s: %s", mech, reason)
	}
	return nil
}

// counted notes a received stanza for stream management.
func (c *conn) counted() {
	c.mu.Lock()
	c.in++
	c.mu.Unlock()
}

// ack answers a request for acknowledgement (XEP-0198 §4).
func (c *conn) ack(ctx context.Context) error {
	c.mu.Lock()
	n := c.in
	c.mu.Unlock()
	return c.send(ctx, fmt.Sprintf("<a xmlns='%s' h='%d'/>", nsSM, n))
}
