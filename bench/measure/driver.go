package measure

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Config is a whole run: what is done, to whom, how often.
type Config struct {
	Scenario string
	Plan     *Plan
	Servers  []Server // one is measured; more are measured in alternating rounds and compared with the first

	Rounds    int           // of each server; 0 is 1
	Drop      int           // of them, the first ones, that do not count
	Intervals int           // measured in each round; 0 is 1
	Duration  time.Duration // of an interval
	Warmup    time.Duration // before the first interval of each round; 0 is none
	Timeout   time.Duration // for starting a server, and again for preparing the load; 0 is DefaultTimeout
	Fresh     bool          // servers that bench starts are started anew for each round, else once
	Gates     Gates
	Fault     *Fault
	Ramp      *Ramp // when set: rounds at growing scales, to find the knee
	CPUs      int   // that the generator may use; 0 is GOMAXPROCS
	Own       []int // CPUs that nobody but the generator uses; empty: that is not known
	Beside    []int // processes that run when CPUs are idle and keep them awake: they are none of the others

	// Null measures the path without a server; nil is no null relay. It is called before each round.
	Null func(ctx context.Context) (*hdrhistogram.Histogram, error)

	Settings map[string]string // for the report
	Command  []string          // for the report
	Progress func(Progress)    // called from several goroutines, one at a time; nil is nobody
}

// Server is one server under load.
type Server struct {
	Name  string
	Start func(ctx context.Context, accounts int) (*Target, error) // called for each round when Config.Fresh
	// Attached tells that Start only hands out a server that runs anyway.
	Attached bool
}

// DefaultTimeout bounds the start of a server, and the preparing of a load.
const DefaultTimeout = 5 * time.Minute

// Progress is what happens now.
type Progress struct {
	Stage         string // start, null, prepare, warm-up, measure, done
	Server        string
	Round, Rounds int
	Scale         int
	Text          string        // more, in words
	At, Of        time.Duration // within the stage; Of is 0 when unknown
	Unit          string
	Sent          float64            // per second
	Delivered     float64            // per second
	ServerCPU     float64            // CPU seconds per second
	GeneratorCPU  float64            // likewise
	RSS           int64              // bytes
	SoFar         map[string]float64 // medians so far of deliveries per second of server CPU, by server
}

// Run does the whole run. The report is valid with an error, too, as far as the run came; gates that were not kept are Report.Failed, no error.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	d := newDriver(cfg)
	if err := d.check(); err != nil {
		return d.report, err
	}
	defer d.stopAll()
	var err error
	if d.Ramp != nil {
		err = d.ramp(ctx)
	} else {
		err = d.rounds(ctx)
	}
	d.finish()
	return d.report, err
}

// driver is a run. All but the sampler's callbacks happens in the goroutine of Run.
type driver struct {
	Config
	report  *Report
	targets map[string]*Target // running ones, by server
	seen    map[string]*Target // the last one of each server, for the report
	knees   map[string]*Knee
	soFar   map[string][]float64
}

func newDriver(cfg Config) *driver {
	d := &driver{Config: cfg, targets: map[string]*Target{}, seen: map[string]*Target{}, knees: map[string]*Knee{}, soFar: map[string][]float64{}}
	d.Rounds, d.Intervals = max(d.Rounds, 1), max(d.Intervals, 1)
	if d.CPUs == 0 {
		d.CPUs = runtime.GOMAXPROCS(0)
	}
	if d.Timeout == 0 {
		d.Timeout = DefaultTimeout
	}
	p := cfg.Plan
	d.report = &Report{Schema: Schema, Scenario: cfg.Scenario, Command: cfg.Command, Started: time.Now(), Settings: cfg.Settings, Machine: machine(), Gates: cfg.Gates,
		Fault: cfg.Fault.String(), Failed: []string{}, Notes: []string{}, Servers: []ServerResult{}, Rounds: []Round{}}
	if p != nil {
		d.report.Load, d.report.Unit, d.report.Scale, d.report.PerScale = p.Load, p.Unit, p.Scale, p.ScaleName
	}
	return d
}

func (d *driver) check() error {
	switch {
	case d.Plan == nil || d.Plan.Make == nil:
		return errors.New("measure: no load")
	case len(d.Servers) == 0:
		return errors.New("measure: no server")
	case d.Rounds <= d.Drop:
		return fmt.Errorf("measure: %d rounds of which %d are dropped leave none", d.Rounds, d.Drop)
	case d.Fault.String() != "" && !d.Plan.Faults:
		return fmt.Errorf("measure: %s does not inject faults: the gates would seem to work", d.Scenario)
	}
	names := map[string]bool{}
	for _, s := range d.Servers {
		if names[s.Name] {
			return fmt.Errorf("measure: two servers are named %s", s.Name)
		}
		names[s.Name] = true
	}
	return nil
}

// rounds lets the servers take turns: A B A B ..., so that what drifts on the machine meets all alike.
func (d *driver) rounds(ctx context.Context) error {
	for n := 1; n <= d.Rounds; n++ {
		for _, s := range d.Servers {
			rs := d.round(ctx, s, n, d.Plan.Scale)
			for i := range rs {
				rs[i].Dropped = n <= d.Drop
			}
			d.add(rs)
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

// add takes rounds into the report.
func (d *driver) add(rs []Round) {
	for _, r := range rs {
		d.report.Rounds = append(d.report.Rounds, r)
		if v, ok := r.Figures[PerCPUSecond]; ok && r.counts() {
			d.soFar[r.Server] = append(d.soFar[r.Server], v)
		}
	}
}

// counts tells whether the figures of the round are to be used.
func (r *Round) counts() bool { return !r.Dropped && r.Error == "" && len(r.Failed) == 0 }

// round starts the server if need be, prepares the load, and measures. It gives one Round for each interval; one that has an Error when it
// came to none.
func (d *driver) round(ctx context.Context, s Server, n, scale int) []Round {
	base := Round{Server: s.Name, Number: n, Scale: scale, Started: time.Now()}
	out, err := d.tryRound(ctx, s, base)
	if err != nil {
		base.Error = err.Error()
		out = append(out, base)
	}
	return out
}

func (d *driver) tryRound(ctx context.Context, s Server, base Round) (out []Round, err error) {
	accounts := 0
	if d.Plan.Accounts != nil {
		accounts = d.Plan.Accounts(base.Scale)
	}
	t, err := d.start(ctx, s, base, accounts)
	if err != nil {
		return nil, fmt.Errorf("start: %w", err)
	}
	if d.Fresh {
		defer func() { err = errors.Join(err, d.stop(s.Name)) }()
	}
	if d.Null != nil {
		d.tell(base, Progress{Stage: "null"})
		h, err := d.Null(ctx)
		if err != nil {
			return nil, fmt.Errorf("null relay: %w", err)
		}
		base.Null = &Latency{h}
	}
	l, err := d.Plan.Make(t, base.Scale)
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := l.Close(); cerr != nil && err == nil {
			base.Notes = append(base.Notes, "close: "+cerr.Error())
		}
	}()
	if err := d.prepare(ctx, t, l, &base); err != nil {
		return nil, fmt.Errorf("prepare: %w", err)
	}
	if d.Warmup > 0 {
		d.tell(base, Progress{Stage: "warm-up", Of: d.Warmup})
		if _, err := l.Measure(ctx, d.Warmup); err != nil {
			return nil, fmt.Errorf("warm-up: %w", err)
		}
	}
	for i := 1; i <= d.Intervals; i++ {
		r := base
		r.Interval, r.Started = i, time.Now()
		if err := d.interval(ctx, t, l, &r); err != nil {
			return out, fmt.Errorf("measure: %w", err)
		}
		out = append(out, r)
	}
	return out, nil
}

// prepare brings the load up, and reads the memory before and after.
func (d *driver) prepare(ctx context.Context, t *Target, l Load, r *Round) error {
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	known := len(t.PIDs) > 0 || t.Cgroup != ""
	var idle, prepared Usage
	var err error
	if known {
		if idle, err = ReadUsage(t, true); err != nil {
			return err
		}
	}
	began := time.Now()
	if err := l.Prepare(ctx, func(text string) { d.tell(*r, Progress{Stage: "prepare", Text: text}) }); err != nil {
		return err
	}
	r.Memory.PrepareTime = time.Since(began).Seconds()
	if known {
		if err := Pause(ctx, d.Plan.Settle); err != nil {
			return err
		}
		if prepared, err = ReadUsage(t, true); err != nil {
			return err
		}
		r.Memory.IdleRSS, r.Memory.IdlePSS = idle.RSS, idle.PSS
		r.Memory.PreparedRSS, r.Memory.PreparedPSS = prepared.RSS, prepared.PSS
		r.Memory.PrepareCPU = (prepared.CPU - idle.CPU).Seconds()
	}
	return nil
}

// interval measures once.
func (d *driver) interval(ctx context.Context, t *Target, l Load, r *Round) error {
	debug.FreeOSMemory() // what preparing left behind would be collected within, 10 ms for 100 joins, and given back for seconds: both cost as much as a second of their load
	began := time.Now()
	lost0, corrupted0 := d.Fault.Done()
	sm, err := startSampler(t, l, d.Beside, d.Own, d.Plan.Clock, func(prev, now reading) {
		sec := now.at.Sub(prev.at).Seconds()
		if sec < minPoint.Seconds() {
			return
		}
		d.tell(*r, Progress{Stage: "measure", At: now.at.Sub(began), Of: d.Duration, Sent: float64(now.sent-prev.sent) / sec, Delivered: float64(now.delivered-prev.delivered) / sec,
			ServerCPU: (now.server.CPU - prev.server.CPU).Seconds() / sec, GeneratorCPU: (now.own - prev.own).Seconds() / sec, RSS: now.server.RSS})
	})
	if err != nil {
		return err
	}
	sample, err := l.Measure(context.WithValue(ctx, markKey{}, sm), d.Duration)
	readings, serr := sm.finish()
	if err = errors.Join(err, serr); err != nil {
		return err
	}
	iv := interval{sample: sample, generators: d.CPUs}
	iv.first, iv.last = window(readings, sample)
	r.Figures = iv.figures()
	r.Elapsed = sample.Elapsed.Seconds()
	r.Sent, r.Expected, r.Delivered, r.Bytes, r.Skipped = sample.Sent, sample.Expected, sample.Delivered, sample.Bytes, sample.Skipped
	r.Verified, r.Wrong, r.Labels, r.Tables = sample.Verified, sample.Wrong, sample.Labels, sample.Tables
	r.Latency, r.Steps, r.Series = wrap(sample.Latency), wrap(sample.Steps), series(readings, iv.first.at.Add(sample.Elapsed))
	if len(t.PIDs) > 0 || t.Cgroup != "" {
		if end, err := ReadUsage(t, true); err == nil {
			r.Memory.EndRSS, r.Memory.EndPSS = end.RSS, end.PSS
		}
		r.Memory.figures(r.Figures, r.Scale)
	}
	failed, notes := d.Gates.judge(sample, r.Figures)
	r.Failed = failed
	r.Notes = append(append(slices.Clone(r.Notes), sample.Notes...), notes...)
	if lost, corrupted := d.Fault.Done(); d.Fault.String() != "" {
		r.Notes = append(r.Notes, fmt.Sprintf("injected on purpose: %d lost, %d corrupted", lost-lost0, corrupted-corrupted0))
		if lost == lost0 && corrupted == corrupted0 {
			r.Failed = append(r.Failed, "no fault was injected: the gates were not tried")
		}
	}
	return nil
}

// start gives the running target of s, starting it when there is none.
func (d *driver) start(ctx context.Context, s Server, r Round, accounts int) (*Target, error) {
	if t := d.targets[s.Name]; t != nil {
		return t, nil
	}
	d.tell(r, Progress{Stage: "start"})
	ctx, cancel := context.WithTimeout(ctx, d.Timeout)
	defer cancel()
	t, err := s.Start(ctx, accounts)
	if err != nil {
		return nil, err
	}
	d.targets[s.Name], d.seen[s.Name] = t, t
	return t, nil
}

func (d *driver) stop(name string) error {
	t := d.targets[name]
	delete(d.targets, name)
	if t == nil || t.Stop == nil {
		return nil
	}
	if err := t.Stop(); err != nil {
		return fmt.Errorf("stop %s: %w", name, err)
	}
	return nil
}

func (d *driver) stopAll() {
	for _, name := range slices.Sorted(maps.Keys(d.targets)) {
		if err := d.stop(name); err != nil {
			d.report.Notes = append(d.report.Notes, err.Error())
		}
	}
}

func (d *driver) tell(r Round, p Progress) {
	if d.Progress == nil {
		return
	}
	p.Server, p.Round, p.Rounds, p.Scale, p.Unit = r.Server, r.Number, d.Rounds, r.Scale, d.Plan.Unit
	p.SoFar = make(map[string]float64, len(d.soFar))
	for name, v := range d.soFar {
		p.SoFar[name] = NewSpread(v).Median
	}
	d.Progress(p)
}
