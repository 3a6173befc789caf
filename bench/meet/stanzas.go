package meet

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// readLoop takes everything that the server sends.
func (c *Client) readLoop() {
	for {
		b, err := c.conn.frame(c.ctx)
		if err == nil && c.cfg.Media != nil && c.ofOthers(b) {
			c.conn.counted()
			continue
		}
		var e *Element
		if err == nil {
			e, err = element(b)
		}
		if err != nil {
			c.fail(fmt.Errorf("meet: stream: %w", err))
			return
		}
		switch e.Name.Local {
		case "iq", "presence", "message":
			c.conn.counted()
		}
		switch {
		case e.Name.Space == nsSM && e.Name.Local == "r":
			err = c.conn.ack(c.ctx)
		case e.Name.Local == "iq":
			err = c.gotIQ(e)
		case e.Name.Local == "presence":
			c.gotPresence(e)
		case e.Name.Space == nsFraming && e.Name.Local == "close":
			err = errors.New("meet: server closed the stream")
		case e.Name.Local == "error":
			err = fmt.Errorf("meet: stream error: %w", stanzaErrorOf(e))
		}
		if err != nil {
			c.fail(err)
			return
		}
	}
}

// ofOthers says whether a frame is a presence that tells nothing about the client itself. In a room of n there are n*n of them while it fills.
func (c *Client) ofOthers(b []byte) bool {
	return bytes.HasPrefix(b, []byte("<presence")) && !bytes.Contains(b, []byte("/"+c.id)) && !bytes.Contains(b, []byte("/focus")) &&
		!bytes.Contains(b, []byte("<error")) && !bytes.Contains(b, []byte("110"))
}

func (c *Client) gotIQ(e *Element) error {
	id, from := e.Attr("id"), e.Attr("from")
	if t := e.Attr("type"); t == "result" || t == "error" {
		c.mu.Lock()
		ch := c.pending[id]
		delete(c.pending, id)
		c.mu.Unlock()
		if ch != nil {
			ch <- e
		}
		return nil
	}
	reply := func(typ, body string) error {
		return c.conn.send(c.ctx, fmt.Sprintf("<iq xmlns='jabber:client' type='%s' id='%s' to='%s'>%s</iq>", typ, esc(id), esc(from), body))
	}
	if j := e.Child(nsJingle, "jingle"); j != nil {
		if from != c.cfg.room()+"/focus" { // peer-to-peer sessions are declined
			return reply("error", fmt.Sprintf("<error type='cancel'><service-unavailable xmlns='%s'/></error>", nsStanzaErr))
		}
		c.post(func(ctx context.Context) { c.jingle(ctx, from, j) })
		return reply("result", "")
	}
	if q := e.Child(nsDisco, "query"); q != nil {
		var b strings.Builder
		fmt.Fprintf(&b, "<query xmlns='%s'", nsDisco)
		if n := q.Attr("node"); n != "" {
			fmt.Fprintf(&b, " node='%s'", esc(n))
		}
		b.WriteString("><identity category='client' type='web' name='konzil-bench'/>")
		for _, f := range c.features() {
			fmt.Fprintf(&b, "<feature var='%s'/>", esc(f))
		}
		b.WriteString("</query>")
		return reply("result", b.String())
	}
	if e.Child(nsPing, "ping") != nil {
		return reply("result", "")
	}
	return reply("error", fmt.Sprintf("<error type='cancel'><service-unavailable xmlns='%s'/></error>", nsStanzaErr))
}

// iq sends a request and waits for its result; an error reply is returned as an error.
func (c *Client) iq(ctx context.Context, to, typ, body string) (*Element, error) {
	id := "m" + strconv.FormatUint(c.nextID.Add(1), 10)
	ch := make(chan *Element, 1)
	c.mu.Lock()
	c.pending[id] = ch
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.pending, id)
		c.mu.Unlock()
	}()
	if err := c.conn.send(ctx, fmt.Sprintf("<iq xmlns='jabber:client' type='%s' id='%s' to='%s'>%s</iq>", typ, id, esc(to), body)); err != nil {
		return nil, err
	}
	t := time.NewTimer(iqTimeout)
	defer t.Stop()
	select {
	case e := <-ch:
		if e.Attr("type") == "error" {
			return nil, stanzaError(e)
		}
		return e, nil
	case <-t.C:
		return nil, fmt.Errorf("no answer from %s within %v", to, iqTimeout)
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.ctx.Done():
		return nil, context.Cause(c.ctx)
	}
}

func stanzaError(e *Element) error {
	x := e.Child("", "error")
	if x == nil {
		return errors.New("error without a reason")
	}
	return stanzaErrorOf(x)
}

func stanzaErrorOf(x *Element) error {
	s := x.Attr("type")
	for _, ch := range x.Children {
		s += " " + ch.Name.Local
		if ch.Text != "" {
			s += " " + strconv.Quote(ch.Text)
		}
	}
	return errors.New(strings.TrimSpace(s))
}

// pingAfter is a time up to pingEvery.
func pingAfter(nick string) time.Duration {
	h := sha256.Sum256([]byte(nick))
	return time.Duration(binary.BigEndian.Uint64(h[:]) % uint64(pingEvery))
}

// keepAlive pings the server as lib-jitsi-meet does. The first one follows from the nick: clients that have joined together do not ping together.
func (c *Client) keepAlive() {
	t := time.NewTimer(pingAfter(c.cfg.Nick))
	defer t.Stop()
	for {
		select {
		case <-c.ctx.Done():
			return
		case <-t.C:
		}
		t.Reset(pingEvery)
		if _, err := c.iq(c.ctx, c.cfg.Domain, "get", fmt.Sprintf("<ping xmlns='%s'/>", nsPing)); err != nil && c.ctx.Err() == nil {
			c.note("ping: " + err.Error())
		}
	}
}
