package meet

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// login opens the stream up to a bound resource with stream management.
func (c *Client) login(ctx context.Context) error {
	if err := c.cfg.checkURL(c.cfg.URL); err != nil {
		return err
	}
	sep := "?"
	if strings.Contains(c.cfg.URL, "?") {
		sep = "&"
	}
	var err error
	if c.conn, err = dial(ctx, c.cfg.URL+sep+"room="+strings.ToLower(c.cfg.Room), c.cfg.Insecure); err != nil {
		return err
	}
	c.step("dial")
	to := c.cfg.Domain
	if c.cfg.User == "" {
		to = or(c.cfg.Guest, c.cfg.Domain)
	}
	f, err := c.conn.open(ctx, to)
	if err != nil {
		return err
	}
	if err = c.conn.auth(ctx, f, c.cfg.User, c.cfg.Password); err != nil {
		return err
	}
	if f, err = c.conn.open(ctx, to); err != nil {
		return err
	}
	c.step("sasl")
	if err = c.bind(ctx); err != nil {
		return err
	}
	c.step("bind")
	if f.Child(nsSM, "sm") == nil || c.cfg.NoSM {
		return nil
	}
	return c.manage(ctx)
}

// bind gets an address (RFC 6120 §7) and the endpoint id of it.
func (c *Client) bind(ctx context.Context) error {
	if err := c.conn.send(ctx, fmt.Sprintf("<iq xmlns='jabber:client' type='set' id='bind'><bind xmlns='%s'/></iq>", nsBind)); err != nil {
		return err
	}
	for c.jid == "" {
		e, err := c.conn.read(ctx)
		if err != nil {
			return err
		}
		switch {
		case e.Name.Local == "iq" && e.Attr("id") == "bind":
			j := e.Child(nsBind, "bind").Child(nsBind, "jid")
			if e.Attr("type") != "result" || j == nil {
				return fmt.Errorf("meet: bind: %w", stanzaError(e))
			}
			c.jid = j.Text
		case e.Name.Local == "message": // services pushed before the result
		default:
			return fmt.Errorf("meet: <%s> while binding", e.Name.Local)
		}
	}
	return c.chooseID()
}

// manage turns stream management on (XEP-0198).
func (c *Client) manage(ctx context.Context) error {
	if err := c.conn.send(ctx, fmt.Sprintf("<enable xmlns='%s' resume='true'/>", nsSM)); err != nil {
		return err
	}
	for {
		e, err := c.conn.read(ctx)
		if err != nil {
			return err
		}
		if e.Name.Space == nsSM {
			if e.Name.Local != "enabled" {
				return fmt.Errorf("meet: <%s> instead of <enabled>", e.Name.Local)
			}
			c.conn.smOn = true
			return nil
		}
	}
}

// chooseID makes the endpoint id as lib-jitsi-meet does: the first 8 characters of an anonymous account, else 8 random hex digits.
func (c *Client) chooseID() error {
	if c.cfg.User == "" && len(c.jid) > 8 {
		c.id = c.jid[:8]
		if n, err := strconv.ParseUint(c.id, 16, 32); err == nil {
			c.number = uint32(n)
			return nil
		}
		c.note("anonymous account does not begin with 8 hex digits: " + c.jid)
	}
	var b [4]byte
	if _, err := rand.Read(b[:]); err != nil {
		return err
	}
	c.id = hex.EncodeToString(b[:])
	n, err := strconv.ParseUint(c.id, 16, 32)
	c.number = uint32(n)
	return err
}

// enter does what lib-jitsi-meet does between binding and being in the room.
func (c *Client) enter(ctx context.Context) error {
	if _, err := c.iq(ctx, c.cfg.Domain, "get", fmt.Sprintf("<services xmlns='%s'/>", nsExtdisco)); err != nil {
		c.note("extdisco: " + err.Error()) // no TURN then
	}
	if _, err := c.iq(ctx, c.cfg.Domain, "get", fmt.Sprintf("<query xmlns='%s'/>", nsDisco)); err != nil {
		c.note("disco#info: " + err.Error()) // lib-jitsi-meet goes on without the optional components
	}
	c.step("disco")
	if err := c.request(ctx); err != nil {
		return err
	}
	c.step("conference")
	if err := c.conn.send(ctx, c.presence(true)); err != nil {
		return err
	}
	select {
	case err := <-c.joined:
		if err != nil {
			return fmt.Errorf("meet: join: %w", err)
		}
	case <-ctx.Done():
		return fmt.Errorf("meet: join: no self presence: %w", ctx.Err())
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
	c.step("joined")
	return nil
}

// request asks the focus for the conference until it is ready.
func (c *Client) request(ctx context.Context) error {
	machine := make([]byte, 16)
	if _, err := rand.Read(machine); err != nil {
		return err
	}
	body := fmt.Sprintf("<conference xmlns='%s' room='%s' machine-uid='%x'><property name='rtcstatsEnabled' value='false'/><property name='visitors-version' value='1'/></conference>",
		nsFocus, esc(c.cfg.room()), machine)
	for wait := time.Second; ; wait *= 2 {
		e, err := c.iq(ctx, c.cfg.focus(), "set", body)
		if err != nil {
			return fmt.Errorf("meet: conference request: %w", err)
		}
		if e.Child(nsFocus, "conference").attrOf("ready") == "true" {
			return nil
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
