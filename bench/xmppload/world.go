package xmppload

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"konzil/bench/measure"
)

// world is one load: its clients, its loop and what was counted.
type world struct {
	cfg    Config
	target *measure.Target
	dial   string
	useTLS bool
	tls    *tls.Config
	keys   keyCache
	first  *world // whose failure ours is: the other server of s2s has a world of its own; else nil
	run    uint32 // part of each id: what an earlier run left behind does not count
	loop   *loop
	play   scenario

	mu      sync.Mutex // guards clients, err
	clients []*client
	err     error // the first that ended the run

	sent, delivered atomic.Uint64 // for Live
}

// scenario is what differs between loads. All of it but prepare and measure runs on the loop.
type scenario interface {
	prepare(ctx context.Context, progress func(string)) error
	measure(ctx context.Context, d time.Duration) (*measure.Sample, error)
}

// New makes the load. It is a measure.Maker but for cfg; scale 0 is cfg.Scale.
func New(cfg Config, t *measure.Target, scale int) (measure.Load, error) {
	if scale > 0 {
		cfg.Scale = scale
	}
	if err := cfg.Check(); err != nil {
		return nil, err
	}
	w := &world{cfg: cfg, target: t}
	var id [4]byte
	_, _ = rand.Read(id[:]) // never fails
	w.run = binary.BigEndian.Uint32(id[:])
	if err := w.resolve(); err != nil {
		return nil, err
	}
	switch cfg.Scenario {
	case "idle":
		w.play = &idle{w: w}
	case "login":
		w.play = &storm{w: w}
	case "route":
		w.play = &route{w: w}
	case "muc":
		w.play = &fanout{w: w}
	case "join":
		w.play = &joining{w: w}
	case "presence":
		w.play = &contacts{w: w}
	case "mam":
		w.play = &archive{w: w}
	case "s2s":
		if w.cfg.Peer == nil {
			w.cfg.Peer = t.Other
		}
		if w.cfg.Peer == nil {
			return nil, errors.New("xmppload: s2s needs another server")
		}
		w.play = &route{w: w}
	}
	return w, nil
}

// ErrAbsent is why a load cannot be: the server lacks what it is about. It is no failure of the server.
var ErrAbsent = errors.New("xmppload: the server does not have that")

// beside is the world of another server, on the same loop and in the same run.
func (w *world) beside(t *measure.Target) (*world, error) {
	o := &world{cfg: w.cfg, target: t, run: w.run, loop: w.loop, first: w}
	return o, o.resolve()
}

// Prepare implements measure.Load.
func (w *world) Prepare(ctx context.Context, progress func(string)) (err error) {
	if w.loop, err = newLoop(w.cfg.Clock); err != nil {
		return err
	}
	if err := w.play.prepare(ctx, progress); err != nil {
		return err
	}
	return w.failure()
}

// Measure implements measure.Load.
func (w *world) Measure(ctx context.Context, d time.Duration) (*measure.Sample, error) {
	s, err := w.play.measure(ctx, d)
	return s, errors.Join(err, w.failure())
}

// Live implements measure.Load.
func (w *world) Live() (sent, delivered uint64) { return w.sent.Load(), w.delivered.Load() }

// Close implements measure.Load.
func (w *world) Close() error {
	w.mu.Lock()
	if w.err == nil {
		w.err = net.ErrClosed // what ends from now on is no failure
	}
	w.mu.Unlock()
	if w.loop != nil {
		w.loop.close()
	}
	return nil
}

// failed notes what ends the run.
func (w *world) failed(err error) {
	if w.first != nil {
		w.first.failed(err)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}

func (w *world) failure() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// account is the localpart of account i; a target with fewer accounts gets a further session of one.
func (w *world) account(i int) string { return w.target.AccountName(i) }

// each runs f for 0..n-1, w.cfg.At at a time, until one fails.
func (w *world) each(ctx context.Context, n int, f func(i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next atomic.Int64
	var wg sync.WaitGroup
	for range min(n, w.cfg.At) {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := f(i); err != nil {
					cancel(err)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// loginAll logs in accounts from..from+n-1 and hands them to the loop. Available: initial presence is sent.
func (w *world) loginAll(ctx context.Context, from, n int, progress func(string), handle func(c *client, el *elem, now time.Time)) ([]*client, error) {
	out := make([]*client, n)
	var done atomic.Int64
	err := w.each(ctx, n, func(i int) error {
		c, _, err := w.login(ctx, from+i, w.account(from+i), fmt.Sprintf("bench%d", from+i))
		if err != nil {
			return err
		}
		out[i] = c
		if err := c.start(); err != nil {
			return err
		}
		if k := done.Add(1); progress != nil && k%100 == 0 {
			progress(fmt.Sprintf("%d of %d logged in", k, n))
		}
		return w.loop.adopt(c, handle)
	})
	for _, c := range out {
		if err != nil && c != nil && c.sock.fd < 0 {
			c.bye(false)
		}
	}
	w.mu.Lock()
	for _, c := range out {
		if c != nil {
			w.clients = append(w.clients, c)
		}
	}
	w.mu.Unlock()
	return out, err
}

// start sends what a client sends once it is bound.
func (c *client) start() error {
	if c.w.cfg.SM {
		if err := c.send("<enable xmlns='urn:xmpp:sm:3' resume='true'/>"); err != nil {
			return err
		}
	}
	if c.w.cfg.NoArchive {
		if err := c.send("<iq type='set' id='prefs'><prefs xmlns='" + nsMAM + "' default='never'><always/><never/></prefs></iq>"); err != nil {
			return err
		}
	}
	return c.send("<presence/>")
}

// wait blocks until done is closed, the run has failed, ctx ends or limit has passed; false: not done.
func (w *world) wait(ctx context.Context, done <-chan struct{}, limit time.Duration) bool {
	t := time.NewTimer(limit)
	defer t.Stop()
	poll := time.NewTicker(50 * time.Millisecond)
	defer poll.Stop()
	for {
		select {
		case <-done:
			return true
		case <-ctx.Done():
			return false
		case <-t.C:
			return false
		case <-poll.C:
			if w.failure() != nil {
				return false
			}
		}
	}
}

func wsAddr(raw string) (host string, secure bool, err error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", false, err
	}
	secure = u.Scheme == "wss"
	if host = u.Host; u.Port() == "" {
		host = net.JoinHostPort(u.Hostname(), map[bool]string{true: "443", false: "80"}[secure])
	}
	return host, secure, nil
}
