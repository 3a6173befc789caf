package auth

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-ldap/ldap/v3"
)

const (
	// downFor is how long a server that did not answer is passed over while another does.
	downFor = 30 * time.Second
	// idleFor is how long an unused connection is kept: directories close idle ones, and finding out costs a failed login.
	idleFor = time.Minute
)

// pool holds at most cap(slots) connections, each used by one login at a time, all bound as the searching account when
// they are handed out.
type pool struct {
	cfg   LDAPConfig
	tls   *tls.Config
	log   *slog.Logger
	slots chan struct{}

	mu     sync.Mutex // guards the fields below; never held over network input or output
	idle   []idleConn
	down   map[string]time.Time // URL to the time until which it is passed over
	closed bool
}

type idleConn struct {
	conn  *ldap.Conn
	since time.Time
}

var errPoolClosed = errors.New("auth: directory connections are closed")

func newPool(cfg LDAPConfig, log *slog.Logger) (*pool, error) {
	t, err := cfg.tlsConfig()
	if err != nil {
		return nil, err
	}
	return &pool{cfg: cfg, tls: t, log: log, slots: make(chan struct{}, cfg.Connections), down: map[string]time.Time{}}, nil
}

// with runs fn with a connection. fn says whether it left the connection bound as the searching account and sound; otherwise it
// is closed. An idle connection that turns out to be dead is replaced once.
func (p *pool) with(ctx context.Context, fn func(*ldap.Conn) (keep bool, err error)) error {
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return ctx.Err()
	}
	for {
		conn, reused, err := p.get(ctx)
		if ctx.Err() != nil { // whatever else it says, it was cut off
			if conn != nil {
				p.put(conn, false)
			}
			return ctx.Err()
		}
		if err != nil {
			return err
		}
		stop := context.AfterFunc(ctx, func() { conn.Close() }) // go-ldap knows no contexts
		keep, err := fn(conn)
		if !stop() {
			keep = false
		}
		p.put(conn, keep)
		if err != nil && reused && ctx.Err() == nil && ldap.IsErrorWithCode(err, ldap.ErrorNetwork) {
			continue // it may have died while idle; idle ones run out, so this ends
		}
		if err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		return err
	}
}

func (p *pool) get(ctx context.Context) (c *ldap.Conn, reused bool, err error) {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, false, errPoolClosed
	}
	var old []*ldap.Conn
	for len(p.idle) > 0 && c == nil {
		last := p.idle[len(p.idle)-1]
		p.idle = p.idle[:len(p.idle)-1]
		if time.Since(last.since) < idleFor && !last.conn.IsClosing() {
			c = last.conn
		} else {
			old = append(old, last.conn)
		}
	}
	p.mu.Unlock()
	for _, o := range old {
		o.Close()
	}
	if c != nil {
		return c, true, nil
	}
	c, err = p.dialAny(ctx)
	return c, false, err
}

func (p *pool) put(c *ldap.Conn, keep bool) {
	p.mu.Lock()
	if keep && !p.closed && !c.IsClosing() {
		p.idle = append(p.idle, idleConn{c, time.Now()})
		c = nil
	}
	p.mu.Unlock()
	if c != nil {
		c.Close()
	}
}

// dialAny connects to the first server that answers: those not known to be down first, then the others.
func (p *pool) dialAny(ctx context.Context) (*ldap.Conn, error) {
	var errs []error
	for _, raw := range p.order(time.Now()) {
		c, err := p.dial(ctx, raw)
		p.mu.Lock()
		if err == nil {
			delete(p.down, raw)
		} else {
			p.down[raw] = time.Now().Add(downFor)
		}
		p.mu.Unlock()
		if err == nil {
			return c, nil
		}
		p.log.Warn("directory server does not answer", "url", raw, "err", err)
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("auth: no directory server answers: %w", errors.Join(errs...))
}

func (p *pool) order(now time.Time) []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var up, down []string
	for _, u := range p.cfg.URLs {
		if now.Before(p.down[u]) {
			down = append(down, u)
		} else {
			up = append(up, u)
		}
	}
	return append(up, down...)
}

// dial connects, secures and binds as the searching account.
func (p *pool) dial(ctx context.Context, raw string) (*ldap.Conn, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, err
	}
	tc := p.tls.Clone()
	tc.ServerName = u.Hostname()
	d := &net.Dialer{Timeout: p.cfg.Timeout}
	c, err := ldap.DialURL(raw, ldap.DialWithTLSConfig(tc), ldap.DialWithDialer(d))
	if err != nil {
		return nil, err
	}
	c.SetTimeout(p.cfg.Timeout)
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	if strings.EqualFold(u.Scheme, "ldap") && p.cfg.StartTLS {
		if err := c.StartTLS(tc); err != nil {
			c.Close()
			return nil, fmt.Errorf("StartTLS: %w", err)
		}
	}
	if err := p.bindSearcher(c); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// bindSearcher makes the connection the searching account's (again).
func (p *pool) bindSearcher(c *ldap.Conn) error {
	if p.cfg.BindDN == "" {
		// The only bind without password in this package: the anonymous one of RFC 4513 §5.1.1, with an empty name too.
		return c.UnauthenticatedBind("")
	}
	if err := c.Bind(p.cfg.BindDN, p.cfg.BindPassword); err != nil {
		return fmt.Errorf("bind as auth.ldap.bind_dn %s: %w", p.cfg.BindDN, err)
	}
	return nil
}

func (p *pool) close() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.closed = nil, true
	p.mu.Unlock()
	for _, i := range idle {
		i.conn.Close()
	}
}
