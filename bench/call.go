package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"konzil/bench/meet"
)

// callOptions are the flags of `bench call`.
type callOptions struct {
	meet.Config
	n           int
	duration    time.Duration
	warmup      time.Duration
	timeout     time.Duration
	pid         int
	jsonPath    string
	height      int
	minDelivery float64
	screen      bool
	switchEvery time.Duration
	verbose     bool
}

// warmupDefault lets estimates and layers settle before counting.
const warmupDefault = 3 * time.Second

func callFlags(out io.Writer) (*flag.FlagSet, *callOptions) {
	o := &callOptions{}
	fs := flag.NewFlagSet("konzil bench call", flag.ContinueOnError)
	fs.SetOutput(out)
	fs.StringVar(&o.URL, "url", "wss://localhost:8443/xmpp-websocket", "XMPP WebSocket of the server")
	fs.StringVar(&o.Domain, "domain", "localhost", "XMPP domain")
	fs.StringVar(&o.Guest, "guest", "", "domain for anonymous users (default: guest.DOMAIN)")
	fs.StringVar(&o.MUC, "muc", "", "room service (default: conference.DOMAIN)")
	fs.StringVar(&o.Focus, "focus", "", "focus (default: focus.DOMAIN)")
	fs.StringVar(&o.Room, "room", "bench", "room name")
	fs.StringVar(&o.User, "user", "", "log in with SASL PLAIN as this user instead of anonymously")
	fs.StringVar(&o.Password, "password", "", "password of -user")
	fs.IntVar(&o.n, "n", 3, "participants")
	fs.DurationVar(&o.duration, "d", 10*time.Second, "measured time")
	fs.DurationVar(&o.warmup, "warmup", warmupDefault, "time between media and measurement")
	fs.DurationVar(&o.timeout, "timeout", 30*time.Second, "for all joins together")
	fs.IntVar(&o.pid, "pid", 0, "process id of the server, for its CPU time and memory")
	fs.StringVar(&o.jsonPath, "json", "", "write the report as JSON to this file, - for the output")
	fs.IntVar(&o.height, "height", 720, "lines that each client wants of each video, -1 unlimited, 0 none")
	fs.Float64Var(&o.minDelivery, "min-delivery", 0.999, "share of packets that must arrive for exit code 0")
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
	fs.BoolVar(&o.AnyTarget, "i-own-this-target", false, "allow a target that is not on this machine")
	fs.BoolVar(&o.Insecure, "insecure", true, "accept any certificate")
	fs.BoolVar(&o.verbose, "v", false, "log")
	return fs, o
}

func callMain(args []string, out io.Writer) int {
	fs, o := callFlags(out)
	if err := fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return 0
		}
		return 2
	}
	if err := o.check(); err != nil {
		fmt.Fprintln(out, "bench:", err)
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	r, err := runCall(ctx, o, out)
	if r != nil {
		r.table(out)
		if jerr := r.writeJSON(o.jsonPath, out); jerr != nil {
			fmt.Fprintln(out, "bench:", jerr)
			return 1
		}
	}
	if err != nil {
		fmt.Fprintln(out, "bench:", err)
		return 1
	}
	if len(r.Failed) > 0 {
		return 1
	}
	return 0
}

func (o *callOptions) check() error {
	if o.Guest == "" {
		o.Guest = "guest." + o.Domain
	}
	if o.n < 1 || o.duration <= 0 {
		return errors.New("-n and -d must be positive")
	}
	u, err := url.Parse(o.URL)
	if err != nil || u.Scheme != "ws" && u.Scheme != "wss" {
		return fmt.Errorf("-url %q is not a WebSocket URL", o.URL)
	}
	if !o.AnyTarget {
		if err := meet.Loopback(o.URL); err != nil {
			return fmt.Errorf("%w; if the target is yours, say -i-own-this-target", err)
		}
	}
	o.Constraints = meet.ReceiverConstraints{LastN: -1, Default: meet.Constraint{MaxHeight: o.height}}
	if o.verbose {
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return nil
}

// talkTurn is how long one participant speaks before the next one does.
const talkTurn = 4 * time.Second

// runCall does the run. A report may come with an error.
func runCall(ctx context.Context, o *callOptions, out io.Writer) (*Report, error) {
	r := &Report{Scenario: "call", Started: time.Now(), Machine: machine(), Participants: o.n, Target: o.URL, Duration: o.duration}
	clients, err := joinAll(ctx, o)
	defer leaveAll(clients, r)
	for _, c := range clients {
		s := c.Snapshot()
		r.Joins = append(r.Joins, Join{ID: s.ID, Steps: s.Steps})
	}
	if err != nil {
		for _, c := range clients {
			s := c.Snapshot()
			r.Notes = append(r.Notes, s.Notes...)
		}
		return r, err
	}
	if o.screen {
		if err := clients[0].ShareScreen(ctx); err != nil {
			return r, fmt.Errorf("share screen: %w", err)
		}
	}
	fmt.Fprintf(out, "%d participants have media; measuring for %v after %v\n", o.n, o.duration, o.warmup)
	if err := pause(ctx, clients, o.warmup); err != nil {
		return r, err
	}
	m := &measurement{o: o, clients: clients}
	if err := m.begin(); err != nil {
		return r, err
	}
	if o.switchEvery > 0 {
		stop := switching(clients, o)
		defer stop()
	}
	if err := pause(ctx, clients, o.duration); err != nil {
		return r, err
	}
	return r, m.end(r)
}

// joinAll lets the clients join at the same time and waits until all have media. The clients are returned with an error, too.
func joinAll(ctx context.Context, o *callOptions) ([]*meet.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, o.timeout)
	defer cancel()
	var mu sync.Mutex // guards clients and errs
	var clients []*meet.Client
	var errs []error
	var wg sync.WaitGroup
	for i := range o.n {
		wg.Go(func() {
			cfg := o.Config
			cfg.Nick = fmt.Sprintf("bench %d", i+1)
			cfg.Speaks = func(now time.Time) bool { return int(now.UnixNano()/int64(talkTurn))%o.n == i }
			c, err := meet.Join(ctx, cfg)
			if err == nil {
				mu.Lock()
				clients = append(clients, c)
				mu.Unlock()
				if o.n > 1 { // a focus invites from two participants on
					err = c.WaitMedia(ctx)
				}
			}
			if err != nil {
				mu.Lock()
				errs = append(errs, fmt.Errorf("participant %d: %w", i+1, err))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return clients, errors.Join(errs...)
}

// switching changes every client's wishes in turn until the returned function is called.
func switching(clients []*meet.Client, o *callOptions) (stop func()) {
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		t := time.NewTicker(o.switchEvery)
		defer t.Stop()
		for n := 0; ; n++ {
			select {
			case <-done:
				return
			case <-t.C:
			}
			h := o.height
			if n%2 == 0 {
				h = 180
			}
			for _, c := range clients {
				c.Constrain(meet.ReceiverConstraints{LastN: -1, Default: meet.Constraint{MaxHeight: h}})
			}
		}
	})
	return func() { close(done); wg.Wait() }
}

func leaveAll(clients []*meet.Client, r *Report) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var mu sync.Mutex // guards r.Notes
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() {
			if err := c.Leave(ctx); err != nil {
				mu.Lock()
				r.Notes = append(r.Notes, c.ID()+": leave: "+err.Error())
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// pause waits, unless the run is interrupted or a client ends.
func pause(ctx context.Context, clients []*meet.Client, d time.Duration) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	for _, c := range clients {
		stop := context.AfterFunc(clientContext{c}, func() { cancel(fmt.Errorf("%s ended: %w", c.ID(), c.Err())) })
		defer stop()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// clientContext makes a context of a client's end.
type clientContext struct{ c *meet.Client }

func (clientContext) Deadline() (time.Time, bool) { return time.Time{}, false }
func (clientContext) Value(any) any               { return nil }
func (c clientContext) Done() <-chan struct{}     { return c.c.Done() }
func (c clientContext) Err() error                { return c.c.Err() }
