package sfu

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"konzil/bench/measure"
	"konzil/bench/rtc"
	"konzil/bench/sfuload"
)

const (
	joinsDefault = 16
	// readyEvery is how often Prepare looks whether all have all sources.
	readyEvery = 100 * time.Millisecond
	// staleHold is a silence after which senders run for a while uncounted before an interval: servers let go of silent sources, Konzil after
	// 1.5 s. On a busy machine the silence before an interval may be as long by itself; it is tried maxSilences times.
	staleHold, settle, maxSilences = time.Second, time.Second, 5
	leaveMost                      = 10 * time.Second
)

// Load is one load on one server; it implements measure.Load.
type Load struct {
	o       Options
	adapter sfuload.Adapter
	cfg     rtc.Config
	log     *slog.Logger
	eng     *rtc.Engine
	members []*member
	held    bool
	since   time.Time // of the hold
	stage   int       // of switch: whose camera is looked at
}

// member is a participant that has joined.
type member struct {
	spec    *sfuload.Participant
	peer    *rtc.Peer
	session sfuload.Session
}

// New makes a load. cfg.Profile and cfg.Shards come from o.
func New(o Options, a sfuload.Adapter, cfg rtc.Config) (*Load, error) {
	if _, err := participants(&o); err != nil {
		return nil, err
	}
	if o.Joins <= 0 {
		o.Joins = joinsDefault
	}
	cfg.Profile, cfg.Shards = o.Profile, o.Shards
	l := &Load{o: o, adapter: a, cfg: cfg, log: cfg.Logger}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	var err error
	l.eng, err = rtc.New(cfg)
	return l, err
}

// Prepare implements measure.Load.
func (l *Load) Prepare(ctx context.Context, progress func(string)) error {
	ps, err := participants(&l.o)
	if err != nil {
		return err
	}
	if l.o.Scenario == "storm" || l.o.Scenario == "join" {
		ps = ps[:2] // the publisher, and one for whom it sends
	}
	pubs := 0
	for pubs < len(ps) && len(ps[pubs].Publish) > 0 {
		pubs++
	}
	if err := l.join(ctx, ps[:pubs], progress); err != nil {
		return err
	}
	if err := l.join(ctx, ps[pubs:], progress); err != nil {
		return err
	}
	if l.o.Scenario == "switch" {
		if err := l.look(ctx); err != nil {
			return err
		}
	}
	return l.ready(ctx, l.members, progress)
}

// join lets participants join, some at a time.
func (l *Load) join(ctx context.Context, ps []*sfuload.Participant, progress func(string)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	room := make(chan struct{}, l.o.Joins)
	var mu sync.Mutex // guards l.members and done
	done := 0
	var wg sync.WaitGroup
	for _, p := range ps {
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
		}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-room }()
			m, err := l.joinOne(ctx, p)
			if err != nil {
				cancel(fmt.Errorf("%s: %w", p.Name, err))
				return
			}
			mu.Lock()
			defer mu.Unlock()
			l.members = append(l.members, m)
			if done++; done%50 == 0 || done == len(ps) {
				progress(fmt.Sprintf("%d of %d joined", len(l.members), len(ps)))
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

func (l *Load) joinOne(ctx context.Context, p *sfuload.Participant) (*member, error) {
	p.Logger = l.log
	m := &member{spec: p, peer: l.eng.Peer(p)}
	var err error
	m.session, err = l.adapter.Join(ctx, p, m.peer)
	if err != nil {
		m.peer.Close()
	}
	return m, err
}

// ready waits until each of ms has all sources that it must have.
func (l *Load) ready(ctx context.Context, ms []*member, progress func(string)) error {
	t := time.NewTicker(readyEvery)
	defer t.Stop()
	for {
		s, err := l.eng.Snapshot(ctx)
		if err != nil {
			return err
		}
		lacking, first := 0, ""
		for _, m := range ms {
			if err := m.failed(); err != nil {
				return err
			}
			if want, got := l.sources(m), known(s.Peers[m.peer.Number]); got < want {
				if lacking++; first == "" {
					first = fmt.Sprintf("%s has %d of %d sources", m.spec.Name, got, want)
				}
			}
		}
		if lacking == 0 {
			return nil
		}
		progress(fmt.Sprintf("%d of %d wait for media", lacking, len(ms)))
		select {
		case <-ctx.Done():
			return fmt.Errorf("media do not come: %s, and %d others wait: %w", first, lacking-1, context.Cause(ctx))
		case <-t.C:
		}
	}
}

// failed is why a member cannot go on.
func (m *member) failed() error {
	if err := m.peer.Err(); err != nil {
		return err
	}
	select {
	case <-m.session.Done():
		return fmt.Errorf("%s: session ended: %w", m.spec.Name, errors.Join(m.session.Err()))
	default:
		return nil
	}
}

// sources is how many tracks of others a member must receive.
func (l *Load) sources(m *member) (n int) {
	for _, o := range l.members {
		if o == m || o.spec.Room != m.spec.Room {
			continue
		}
		for _, t := range o.spec.Publish {
			if l.wants(m, o, t) {
				n++
			}
		}
	}
	return n
}

func (l *Load) wants(m, o *member, t *sfuload.Track) bool {
	w := &m.spec.Want
	if t.Kind == sfuload.Audio {
		return !w.NoAudio
	}
	return !w.NoVideo && (w.Only == "" || w.Only == o.spec.Name)
}

func known(ps *rtc.PeerStats) int {
	type track struct {
		sender uint32
		track  uint8
	}
	seen := map[track]bool{}
	for _, s := range ps.Streams {
		if s.Known {
			seen[track{s.Sender, s.Track}] = true
		}
	}
	return len(seen)
}

// Measure implements measure.Load.
func (l *Load) Measure(ctx context.Context, d time.Duration) (*measure.Sample, error) {
	switch l.o.Scenario {
	case "storm":
		return l.storm(ctx)
	case "join":
		return l.oneByOne(ctx)
	case "switch":
		return l.interval(ctx, d, l.lookAround)
	}
	return l.interval(ctx, d, nil)
}

// interval counts between two silences. during runs while the senders do.
func (l *Load) interval(ctx context.Context, d time.Duration, during func(context.Context) error) (*measure.Sample, error) {
	a, err := l.fresh(ctx)
	if err != nil {
		return nil, err
	}
	measure.Mark(ctx)
	began := time.Now()
	if err := l.release(ctx); err != nil {
		return nil, err
	}
	if during == nil {
		back := l.eng.Alone()
		err = measure.Pause(ctx, d)
		back()
	} else {
		dctx, cancel := context.WithTimeout(ctx, d)
		err = during(dctx)
		cancel()
	}
	if err != nil {
		return nil, err
	}
	elapsed := time.Since(began)
	if err := l.hold(ctx); err != nil {
		return nil, err
	}
	measure.Mark(ctx)
	for _, m := range l.members {
		if err := m.failed(); err != nil {
			return nil, err
		}
	}
	b, err := l.eng.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	au, vi, sw, err := l.eng.Latencies(ctx)
	if err != nil {
		return nil, err
	}
	s := l.compare(a, b)
	s.Elapsed = elapsed
	s.Latency = map[string]*hdrhistogram.Histogram{}
	if au.TotalCount() > 0 {
		s.Latency["audio"] = au
	}
	if vi.TotalCount() > 0 {
		s.Latency["video"] = vi
	}
	s.Steps = l.steps(l.members)
	if sw.TotalCount() > 0 {
		s.Steps["layer switch"] = sw
	}
	return s, nil
}

// fresh holds the senders and gives the counters at the beginning of an interval, after a silence that is not too long.
func (l *Load) fresh(ctx context.Context) (a *rtc.Snapshot, err error) {
	for range maxSilences {
		if l.held && time.Since(l.since) > staleHold {
			if err := errors.Join(l.release(ctx), measure.Pause(ctx, settle)); err != nil {
				return nil, err
			}
		}
		if err := l.hold(ctx); err != nil {
			return nil, err
		}
		if a, err = l.eng.Snapshot(ctx); err != nil {
			return nil, err
		}
		if _, _, _, err = l.eng.Latencies(ctx); err != nil { // what came before
			return nil, err
		}
		if time.Since(l.since) <= staleHold {
			break
		}
	}
	return a, nil
}

// hold stops the senders, if they are not.
func (l *Load) hold(ctx context.Context) error {
	if l.held {
		return nil
	}
	at := time.Now()
	if err := l.eng.Hold(ctx); err != nil {
		return err
	}
	l.held, l.since = true, at
	return nil
}

func (l *Load) release(ctx context.Context) error {
	l.held = false
	return l.eng.Release(ctx)
}

// steps are the milestones of those who receive, as distributions.
func (l *Load) steps(ms []*member) map[string]*hdrhistogram.Histogram {
	out := map[string]*hdrhistogram.Histogram{}
	for _, m := range ms {
		if len(m.spec.Publish) > 0 && l.o.Scenario != "NxN" && l.o.Scenario != "rooms" {
			continue
		}
		for name, at := range m.peer.Steps() {
			if out[name] == nil {
				out[name] = measure.NewHistogram()
			}
			_ = out[name].RecordValue(int64(at)) // a join of over a minute has failed before
		}
	}
	return out
}

// Live implements measure.Load.
func (l *Load) Live() (sent, delivered uint64) { return l.eng.Live() }

// Close implements measure.Load.
func (l *Load) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), leaveMost)
	defer cancel()
	err := l.leave(ctx, l.members)
	l.eng.Close()
	return err
}

// leave ends sessions, some at a time.
func (l *Load) leave(ctx context.Context, ms []*member) error {
	room := make(chan struct{}, l.o.Joins)
	var mu sync.Mutex // guards failed and first
	failed := 0
	var first error
	var wg sync.WaitGroup
	for _, m := range ms {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			err := m.session.Leave(ctx)
			m.peer.Close()
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				if failed++; first == nil {
					first = fmt.Errorf("%s: leave: %w", m.spec.Name, err)
				}
			}
		})
	}
	wg.Wait()
	if failed > 1 {
		return fmt.Errorf("%w (and %d others)", first, failed-1)
	}
	return first
}
