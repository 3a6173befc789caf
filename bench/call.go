package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"konzil/bench/measure"
	"konzil/bench/meet"
)

// callOptions are the flags of `bench call`.
type callOptions struct {
	meet.Config
	n           int
	height      int
	screen      bool
	switchEvery time.Duration
}

// Gates of call: its generator is built on pion/webrtc, whose jitter of ticks is that of a browser.
const (
	callDelivery = 0.999
	callSkipped  = 0.01
	callPacket   = 1100 // bytes of the null relay's packets: those of its video
)

// callScenario is n participants in one meeting, as Jitsi clients.
func callScenario() measure.Scenario {
	return measure.Scenario{Name: "call", Summary: "n participants in one meeting, as Jitsi clients: join times, delivery, latency, server CPU",
		Servers: []string{"konzil"}, Flags: callFlags}
}

func callFlags(fs *flag.FlagSet) func(*measure.Common) (*measure.Plan, error) {
	o := &callOptions{}
	fs.StringVar(&o.URL, "url", "wss://localhost:8443/xmpp-websocket", "XMPP WebSocket of a running server, when neither -target nor -vs is given")
	fs.StringVar(&o.Room, "room", "bench", "room name")
	fs.StringVar(&o.User, "user", "", "log in with SASL PLAIN as this user instead of anonymously")
	fs.StringVar(&o.Password, "password", "", "password of -user")
	fs.IntVar(&o.n, "n", 3, "participants")
	fs.IntVar(&o.height, "height", 720, "lines that each client wants of each video, -1 unlimited, 0 none")
	fs.Float64Var(&o.LossUp, "loss-up", 0, "share of packets that each client loses on the way to the server, 0..1")
	fs.Float64Var(&o.LossDown, "loss-down", 0, "share of packets that each client loses on the way from the server")
	fs.DurationVar(&o.switchEvery, "switch", 0, "change what each client wants (180 lines, -height) this often, so that layers switch")
	fs.BoolVar(&o.screen, "screen", false, "the first participant shares a screen, too")
	fs.BoolVar(&o.NoAudio, "no-audio", false, "send no audio")
	fs.BoolVar(&o.NoVideo, "no-video", false, "send no video")
	fs.BoolVar(&o.NoSimulcast, "no-simulcast", false, "send one video layer")
	fs.BoolVar(&o.NoRewriting, "no-rewriting", false, "do not announce SSRC rewriting")
	fs.BoolVar(&o.XMLSources, "xml-sources", false, "do not announce JSON sources")
	fs.BoolVar(&o.NoSM, "no-sm", false, "no stream management")
	fs.BoolVar(&o.Insecure, "insecure", true, "accept any certificate")
	return o.plan
}

func (o *callOptions) plan(c *measure.Common) (*measure.Plan, error) {
	if o.n < 1 {
		return nil, errors.New("-n must be positive")
	}
	if u, err := url.Parse(o.URL); err != nil || u.Scheme != "ws" && u.Scheme != "wss" {
		return nil, fmt.Errorf("-url %q is not a WebSocket URL", o.URL)
	}
	o.AnyTarget = c.AnyTarget
	if c.Log != nil && c.Log.Enabled(context.Background(), slog.LevelInfo) {
		o.Logger = c.Log
	}
	o.Constraints = meet.ReceiverConstraints{LastN: -1, Default: meet.Constraint{MaxHeight: o.height}}
	return &measure.Plan{Load: fmt.Sprintf("%d participants, %d lines", o.n, o.height), Unit: "packets", ScaleName: "participants", Scale: o.n, Null: "udp", NullSize: callPacket,
		Attach: &measure.Target{Name: "konzil", Version: "unknown (running already)", Addr: map[string]string{"ws": o.URL}},
		Gates:  func(g *measure.Gates) { g.Delivery, g.Skipped = callDelivery, callSkipped },
		Make: func(t *measure.Target, scale int) (measure.Load, error) {
			l := &callLoad{o: *o, n: scale}
			if scale == 0 {
				l.n = o.n
			}
			l.o.URL, l.o.Domain, l.o.Guest, l.o.MUC, l.o.Focus = t.Addr["ws"], t.Domain, t.Guest, t.Rooms, t.Focus
			if l.o.URL == "" {
				return nil, fmt.Errorf("%s has no XMPP over WebSocket", t.Name)
			}
			return l, nil
		}}, nil
}

// callLoad is one meeting. Its clients have goroutines of their own (package meet); all else is in the goroutine that calls it.
type callLoad struct {
	o callOptions
	n int

	mu      sync.Mutex // guards clients, which grows while Live may look
	clients []*meet.Client
}

// talkTurn is how long one participant speaks before the next one does.
const talkTurn = 4 * time.Second

// Prepare implements measure.Load: all join at the same time and wait until they have media.
func (l *callLoad) Prepare(ctx context.Context, progress func(string)) error {
	progress(fmt.Sprintf("%d participants join", l.n))
	var mu sync.Mutex // guards errs
	var errs []error
	var wg sync.WaitGroup
	for i := range l.n {
		wg.Go(func() {
			if err := l.join(ctx, i); err != nil {
				mu.Lock()
				errs = append(errs, fmt.Errorf("participant %d: %w", i+1, err))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if l.o.screen {
		if err := l.clients[0].ShareScreen(ctx); err != nil {
			return fmt.Errorf("share screen: %w", err)
		}
	}
	progress(fmt.Sprintf("%d participants have media", l.n))
	return nil
}

func (l *callLoad) join(ctx context.Context, i int) error {
	cfg := l.o.Config
	cfg.Nick = fmt.Sprintf("bench %d", i+1)
	cfg.Speaks = func(now time.Time) bool { return int(now.UnixNano()/int64(talkTurn))%l.n == i }
	c, err := meet.Join(ctx, cfg)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.clients = append(l.clients, c)
	l.mu.Unlock()
	if l.n == 1 { // a focus invites from two participants on
		return nil
	}
	return c.WaitMedia(ctx)
}

// Live implements measure.Load.
func (l *callLoad) Live() (sent, delivered uint64) {
	l.mu.Lock()
	clients := l.clients
	l.mu.Unlock()
	for _, c := range clients {
		s := c.Snapshot()
		sent += s.Sent.AudioPackets + s.Sent.VideoPackets
		for i := range s.Received {
			delivered += s.Received[i].Packets
		}
	}
	return sent, delivered
}

// Measure implements measure.Load: counters before and after.
func (l *callLoad) Measure(ctx context.Context, d time.Duration) (*measure.Sample, error) {
	began := time.Now()
	before := make(map[string]meet.Snapshot, len(l.clients))
	for _, c := range l.clients {
		before[c.ID()] = c.Snapshot()
	}
	if l.o.switchEvery > 0 {
		stop := l.switching()
		defer stop()
	}
	if err := pauseWith(ctx, l.clients, d); err != nil {
		return nil, err
	}
	elapsed := time.Since(began)
	after := make([]meet.Snapshot, len(l.clients))
	for i, c := range l.clients {
		after[i] = c.Snapshot()
	}
	s := l.sample(before, after, elapsed)
	s.Began = began
	return s, nil
}

// switching changes every client's wishes in turn until the returned function is called.
func (l *callLoad) switching() (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		t := time.NewTicker(l.o.switchEvery)
		defer t.Stop()
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			case <-t.C:
			}
			h := l.o.height
			if n%2 == 0 {
				h = 180
			}
			for _, c := range l.clients {
				c.Constrain(meet.ReceiverConstraints{LastN: -1, Default: meet.Constraint{MaxHeight: h}})
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

// leaveTimeout bounds the end of a meeting.
const leaveTimeout = 5 * time.Second

// Close implements measure.Load: all leave.
func (l *callLoad) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
	defer cancel()
	errs := make([]error, len(l.clients))
	var wg sync.WaitGroup
	for i, c := range l.clients {
		wg.Go(func() {
			if err := c.Leave(ctx); err != nil {
				errs[i] = fmt.Errorf("%s: leave: %w", c.ID(), err)
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

// pauseWith waits, unless the run is interrupted or a client ends.
func pauseWith(ctx context.Context, clients []*meet.Client, d time.Duration) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for _, c := range clients {
		stop := context.AfterFunc(clientContext{c}, func() { cancel(fmt.Errorf("%s ended: %w", c.ID(), c.Err())) })
		defer stop()
	}
	return measure.Pause(ctx, d)
}

// clientContext makes a context of a client's end.
type clientContext struct{ c *meet.Client }

func (clientContext) Deadline() (time.Time, bool) { return time.Time{}, false }
func (clientContext) Value(any) any               { return nil }
func (c clientContext) Done() <-chan struct{}     { return c.c.Done() }
func (c clientContext) Err() error                { return c.c.Err() }
