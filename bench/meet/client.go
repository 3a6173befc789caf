package meet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// Limits of a client.
const (
	iqTimeout = 10 * time.Second // as lib-jitsi-meet
	workQueue = 256              // session events that wait for the session goroutine; overflow ends the client
	maxNotes  = 50               // remarks kept; more are dropped
	pingEvery = 10 * time.Second
)

// Step is one milestone of a join, and when it was reached after the start.
type Step struct {
	Name string
	At   time.Duration
}

// Client is one participant. Join makes it; all methods may be called from any goroutine.
type Client struct {
	cfg    Config
	log    *slog.Logger
	conn   *conn
	jid    string // full JID
	id     string // endpoint id and nick
	number uint32 // id as a number, for stamps

	ctx     context.Context
	cancel  context.CancelCauseFunc
	wg      sync.WaitGroup
	started time.Time
	work    chan func(context.Context)
	nextID  atomic.Uint64
	sent    sentCounter
	joined  chan error    // self presence or refusal
	left    chan struct{} // own unavailable presence came back
	channel chan struct{} // bridge channel is open
	call    *call         // owned by the session goroutine

	mu         sync.Mutex // guards all below
	pending    map[string]chan *Element
	steps      []Step
	occupants  map[string]bool
	focusSeen  bool
	streams    map[uint32]*recvStream
	source     map[uint32]Source
	messages   map[string]int
	forwarded  []string
	dominant   string
	downlink   uint64
	senderMax  map[string]int
	bridgeSend func([]byte) error
	screen     bool
	terminated int
	notes      []string
	isLeft     bool
}

// Join enters a meeting. It returns when the room has let the client in; media follow when the focus invites (see WaitMedia).
func Join(ctx context.Context, cfg Config) (*Client, error) {
	c := &Client{cfg: cfg, log: cfg.Logger, started: time.Now(), work: make(chan func(context.Context), workQueue), joined: make(chan error, 1),
		left: make(chan struct{}), channel: make(chan struct{}), pending: make(map[string]chan *Element), occupants: make(map[string]bool),
		streams: make(map[uint32]*recvStream), source: make(map[uint32]Source), messages: make(map[string]int), senderMax: make(map[string]int)}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	c.ctx, c.cancel = context.WithCancelCause(context.Background())
	if err := c.login(ctx); err != nil {
		c.Close()
		return nil, err
	}
	c.wg.Go(c.readLoop)
	c.wg.Go(c.session)
	c.wg.Go(c.keepAlive)
	if err := c.enter(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// step notes a milestone the first time that it is reached.
func (c *Client) step(name string) {
	at := time.Since(c.started)
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.steps {
		if s.Name == name {
			return
		}
	}
	c.steps = append(c.steps, Step{name, at})
	if c.cfg.Step != nil {
		c.cfg.Step(name)
	}
}

func (c *Client) note(s string) {
	c.log.Info("note", "client", c.id, "what", s)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.notes) < maxNotes {
		c.notes = append(c.notes, s)
	}
}

func (c *Client) fail(err error) { c.cancel(err) }

func (c *Client) speaks(now time.Time) bool { return c.cfg.Speaks == nil || c.cfg.Speaks(now) }

func (c *Client) stream(ssrc uint32, kind string) *recvStream {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.streams[ssrc]
	if s == nil {
		s = &recvStream{}
		s.r.SSRC, s.r.Kind = ssrc, kind
		c.streams[ssrc] = s
	}
	return s
}

// maxHeight is the bridge's constraint on an own source, -1 before it said any.
func (c *Client) maxHeight(source string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h, ok := c.senderMax[source]; ok {
		return h
	}
	return -1
}

// ID is the endpoint id.
func (c *Client) ID() string { return c.id }

// WaitMedia waits until the bridge channel is open, which is the last thing to come.
func (c *Client) WaitMedia(ctx context.Context) error {
	select {
	case <-c.channel:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("meet: no media: %w", ctx.Err())
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
}

// Done is closed when the client has ended, and Err says why.
func (c *Client) Done() <-chan struct{} { return c.ctx.Done() }

// Err is why the client has ended, nil while it has not.
func (c *Client) Err() error { return context.Cause(c.ctx) }

// Leave ends the session, leaves the room, closes the stream, and waits for all goroutines.
func (c *Client) Leave(ctx context.Context) error {
	defer c.Close()
	done := make(chan struct{})
	c.post(func(ctx context.Context) {
		defer close(done)
		if c.call == nil {
			return
		}
		body := fmt.Sprintf("<jingle xmlns='%s' action='session-terminate' initiator='%s' sid='%s'><reason><success/></reason><bridge-session xmlns='%s' id='%s' restart='false'/></jingle>",
			nsJingle, esc(c.call.s.Initiator), esc(c.call.s.SID), nsFocus, esc(c.call.s.BridgeID))
		if _, err := c.iq(ctx, c.cfg.room()+"/focus", "set", body); err != nil {
			c.note("session-terminate: " + err.Error())
		}
		c.closeCall(c.call)
		c.call = nil
	})
	select {
	case <-done:
	case <-ctx.Done():
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
	if err := c.conn.send(ctx, fmt.Sprintf("<presence xmlns='jabber:client' to='%s/%s' type='unavailable'/>", esc(c.cfg.room()), c.id)); err != nil {
		return err
	}
	select {
	case <-c.left:
	case <-ctx.Done():
		return fmt.Errorf("meet: leave: no own unavailable presence: %w", ctx.Err())
	case <-c.ctx.Done():
		return context.Cause(c.ctx)
	}
	if err := c.conn.send(ctx, fmt.Sprintf("<close xmlns='%s'/>", nsFraming)); err != nil {
		return err
	}
	return nil
}

// errClosed is Err after Close.
var errClosed = errors.New("meet: closed")

// Close drops the connection without saying goodbye, as a crashed browser does, and waits for all goroutines.
func (c *Client) Close() {
	c.cancel(errClosed)
	if c.conn != nil {
		_ = c.conn.ws.CloseNow() // nobody is left to tell
	}
	c.wg.Wait()
}
