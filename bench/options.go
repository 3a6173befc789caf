package bench

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"konzil/bench/measure"
	"konzil/bench/meet"
	"konzil/bench/peers"
)

// Defaults of the common flags.
const (
	roundsAlone    = 1               // one server
	roundsCompared = 5               // several: an interval of confidence needs some
	warmupDefault  = 3 * time.Second // lets estimates, layers and caches settle before counting
	durationDef    = 10 * time.Second
	corruptionDef  = 0.05 // of -inject-corruption without a value; loads that look into every 64th packet only must find some in seconds
)

// options are the flags that all scenarios have.
type options struct {
	scenario measure.Scenario
	fs       *flag.FlagSet
	setup    func(*measure.Common) (*measure.Plan, error)

	target, vs, pids, cgroup             string
	domain, guest, rooms, focus          string
	secret, key, cpus, genCPUs, progress string
	jsonPath, htmlPath                   string
	accounts, nRounds, drop, intervals   int
	rampStart                            int
	duration, warmup, timeout, maxP99    time.Duration
	minDelivery, maxRatio, loss          float64
	corruption                           shareFlag
	fresh, ramp, null, awake             bool
	anyTarget, debug                     bool

	allCPUs, serverCPUs, generatorCPUs []int
	sharedFault                        *measure.Fault
}

// shareFlag is a share that may be given without a value.
type shareFlag float64

func (f *shareFlag) String() string   { return strconv.FormatFloat(float64(*f), 'g', -1, 64) }
func (f *shareFlag) IsBoolFlag() bool { return true }
func (f *shareFlag) Set(s string) error {
	switch s {
	case "true":
		*f = corruptionDef
	case "false":
		*f = 0
	default:
		v, err := strconv.ParseFloat(s, 64)
		if err != nil {
			return err
		}
		*f = shareFlag(v)
	}
	return nil
}

// errShown is an error that the flag package has printed already.
var errShown = errors.New("shown")

func newOptions(s measure.Scenario, out io.Writer) *options {
	o := &options{scenario: s, fs: flag.NewFlagSet("konzil bench "+s.Name, flag.ContinueOnError)}
	fs := o.fs
	fs.SetOutput(out)
	fs.StringVar(&o.target, "target", "", "`server` to measure: a name to start it ("+words(s.Servers)+"), with options as NAME:key=value;key=value; or NAME=URL of a running one; or URL")
	fs.StringVar(&o.vs, "vs", "", "two or more servers, separated by commas, in alternating rounds; the first one is what the others are compared with. ALIAS=NAME:... names a variant")
	fs.StringVar(&o.pids, "pid", "", "process `ids` of running servers, separated by commas, in the order of the servers; several of one server are joined by +")
	fs.StringVar(&o.cgroup, "cgroup", "", "cgroup v2 directory of the running server, instead of -pid")
	fs.StringVar(&o.domain, "domain", "", "XMPP domain or TURN realm of a running server")
	fs.StringVar(&o.guest, "guest", "", "its domain for anonymous users (default: guest.DOMAIN)")
	fs.StringVar(&o.rooms, "muc", "", "its room service (default: conference.DOMAIN)")
	fs.StringVar(&o.focus, "focus", "", "its focus (default: focus.DOMAIN)")
	fs.StringVar(&o.secret, "secret", "", "its TURN REST or API secret")
	fs.StringVar(&o.key, "key", "", "its API key")
	fs.IntVar(&o.accounts, "accounts", 0, "how many accounts bench0, bench1, ... with the password "+measure.AccountPassword+" it has")
	fs.DurationVar(&o.duration, "d", durationDef, "measured time of each interval")
	fs.DurationVar(&o.warmup, "warmup", warmupDefault, "load before the first interval of each round")
	fs.DurationVar(&o.timeout, "timeout", measure.DefaultTimeout, "for the start of a server, and again for the preparing of the load")
	fs.IntVar(&o.nRounds, "rounds", 0, fmt.Sprintf("rounds of each server (default %d, with -vs %d)", roundsAlone, roundsCompared))
	fs.IntVar(&o.drop, "drop", 0, "of them, the first ones, that do not count")
	fs.IntVar(&o.intervals, "intervals", 1, "measured intervals in each round")
	fs.BoolVar(&o.fresh, "fresh", true, "start servers anew for each round")
	fs.BoolVar(&o.ramp, "ramp", false, "look for the knee: double the scale until a gate is not kept, then bisect")
	fs.IntVar(&o.rampStart, "ramp-start", 0, "first scale of -ramp (default: that of the other flags)")
	fs.Float64Var(&o.minDelivery, "min-delivery", measure.DefaultGates().Delivery, "gate: share of deliveries that must come")
	fs.DurationVar(&o.maxP99, "max-p99", 0, "gate: most that the 99th percentile of the latency may be; 0 is any")
	fs.Float64Var(&o.maxRatio, "max-generator", 0, "gate: most CPU time of the generator per CPU time of the server; 0 is any")
	fs.BoolVar(&o.null, "null", true, "measure the path without a server in each round, and take its latency off")
	fs.Float64Var(&o.loss, "inject-loss", 0, "throw away this share of what arrives, to see that the gate rejects the run")
	fs.Var(&o.corruption, "inject-corruption", "change a bit in this `share` of what arrives, to see that the run is rejected")
	fs.StringVar(&o.cpus, "cpus", "auto", "CPUs of servers that are started, such as 0 or 0-3,8; auto: the first half; none: any")
	fs.StringVar(&o.genCPUs, "gen-cpus", "auto", "CPUs of the generator; auto: those that the server does not have")
	fs.BoolVar(&o.awake, "awake", true, "keep idle CPUs from halting: what a CPU costs after a halt differs from second to second")
	fs.StringVar(&o.jsonPath, "json", "", "write the report as JSON to this `file`, - for the output")
	fs.StringVar(&o.htmlPath, "html", "", "write the report as one self-contained page to this `file`")
	fs.StringVar(&o.progress, "progress", "auto", "line (rewrites itself), plain, none; auto: line on a terminal, else plain")
	fs.BoolVar(&o.anyTarget, "i-own-this-target", false, "allow a target that is not on this machine")
	fs.BoolVar(&o.debug, "v", false, "log")
	o.setup = s.Flags(fs)
	return o
}

// parse reads the flags and makes the plan.
func (o *options) parse(args []string) (*measure.Plan, error) {
	if err := o.fs.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, errShown
	}
	switch {
	case o.fs.NArg() > 0:
		return nil, fmt.Errorf("unexpected %q", o.fs.Arg(0))
	case o.duration <= 0 || o.warmup < 0 || o.timeout <= 0:
		return nil, errors.New("-d and -timeout must be positive")
	case o.nRounds < 0 || o.drop < 0 || o.intervals < 1:
		return nil, errors.New("-rounds, -drop and -intervals must be positive")
	case o.loss < 0 || o.loss > 1 || o.corruption < 0 || o.corruption > 1:
		return nil, errors.New("-inject-loss and -inject-corruption are shares from 0 to 1")
	case o.vs != "" && o.target != "":
		return nil, errors.New("-target and -vs exclude each other")
	}
	plan, err := o.setup(&measure.Common{Fault: o.fault(), AnyTarget: o.anyTarget, Log: o.logger()})
	if err != nil {
		return nil, err
	}
	if o.ramp && plan.Scale < 1 && o.rampStart < 1 {
		return nil, errors.New("-ramp needs a scale to start from: -ramp-start")
	}
	return plan, nil
}

func (o *options) logger() *slog.Logger {
	if o.debug {
		return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	return slog.New(slog.DiscardHandler)
}

// fault is shared by the load and the driver, which reports what was done.
func (o *options) fault() *measure.Fault {
	if o.loss == 0 && o.corruption == 0 {
		return nil
	}
	if o.sharedFault == nil {
		o.sharedFault = &measure.Fault{Loss: o.loss, Corruption: float64(o.corruption)}
	}
	return o.sharedFault
}

// config makes the driver's configuration of flags and plan.
func (o *options) config(plan *measure.Plan, command []string) (measure.Config, error) {
	cfg := measure.Config{Scenario: o.scenario.Name, Plan: plan, Rounds: o.nRounds, Drop: o.drop, Intervals: o.intervals, Duration: o.duration, Warmup: o.warmup,
		Timeout: o.timeout, Fresh: o.fresh, Gates: o.gates(plan), Fault: o.fault(), Command: command}
	servers, started, err := o.servers(plan)
	if err != nil {
		return cfg, err
	}
	cfg.Servers = servers
	if cfg.Rounds == 0 {
		if cfg.Rounds = roundsAlone; len(servers) > 1 {
			cfg.Rounds = roundsCompared
		}
	}
	if o.ramp {
		cfg.Ramp = &measure.Ramp{Start: o.rampStart}
	}
	if !started { // of a running server's CPUs nothing is known
		o.serverCPUs = nil
		if o.genCPUs == "auto" {
			o.generatorCPUs = nil
		}
	}
	if err := peers.PinSelf(o.generatorCPUs); err != nil {
		return cfg, err
	}
	if cfg.CPUs = runtime.NumCPU(); len(o.generatorCPUs) > 0 {
		cfg.CPUs = len(o.generatorCPUs)
		if len(o.serverCPUs) > 0 && !slices.ContainsFunc(o.serverCPUs, func(c int) bool { return slices.Contains(o.generatorCPUs, c) }) {
			cfg.Own = o.generatorCPUs
		}
		runtime.GOMAXPROCS(cfg.CPUs)
	}
	debug.SetGCPercent(gcPercent)
	if o.null && plan.Null != "" {
		relay := measure.NullRelay{Network: plan.Null, Size: plan.NullSize, Command: ownCommand("echo"), Start: startPinned(o.serverCPUs)}
		cfg.Null = func(ctx context.Context) (*hdrhistogram.Histogram, error) { return relay.Measure(ctx) }
	}
	cfg.Settings = o.settings(plan)
	return cfg, nil
}

// gcPercent lets the generator's heap grow to five times what is live before garbage is collected: its memory is not measured, its CPU time is.
const gcPercent = 400

// keepAwake keeps the CPUs from halting, until sleep is called, and starts the clock that the load wants.
func (o *options) keepAwake(plan *measure.Plan, cfg *measure.Config) (sleep func() error, err error) {
	if !o.awake {
		return func() error { return nil }, nil
	}
	a, err := peers.KeepAwake(ownCommand("awake"), o.allCPUs)
	if err != nil {
		return nil, err
	}
	cfg.Settings["CPUs kept awake"] = a.How
	if a.PID != 0 {
		cfg.Beside = append(cfg.Beside, a.PID)
	}
	if plan.Clock != nil && len(cfg.Own) >= max(plan.Threads, 1) {
		plan.Clock.Start()
		cfg.Settings["generator's clock"] = "looked at by its threads when they are idle"
	}
	return a.Stop, nil
}

// gates are the defaults, as changed by the plan, as changed by the user.
func (o *options) gates(plan *measure.Plan) measure.Gates {
	g := measure.DefaultGates()
	if plan.Gates != nil {
		plan.Gates(&g)
	}
	o.fs.Visit(func(f *flag.Flag) {
		switch f.Name {
		case "min-delivery":
			g.Delivery = o.minDelivery
		case "max-p99":
			g.LatencyP99 = o.maxP99
		case "max-generator":
			g.Ratio = o.maxRatio
		}
	})
	return g
}

// settings is every flag with its value, and what the plan says besides. Secrets are left out: reports are sent around.
func (o *options) settings(plan *measure.Plan) map[string]string {
	m := map[string]string{"cpus of servers": cpuList(o.serverCPUs), "cpus of the generator": cpuList(o.generatorCPUs)}
	o.fs.VisitAll(func(f *flag.Flag) {
		switch f.Name {
		case "json", "html", "progress", "v", "secret", "key", "password", "cpus", "gen-cpus":
		default:
			if v := f.Value.String(); v != "" {
				m["-"+f.Name] = v
			}
		}
	})
	maps.Copy(m, plan.Settings)
	return m
}

// spec is one server as the flags name it: ALIAS=NAME:key=value;key=value, or NAME=URL.
type spec struct {
	alias, peer, url string
	options          map[string]string
}

func parseSpec(text, otherwise string) (spec, error) {
	s := spec{peer: text, options: map[string]string{}}
	if i := strings.IndexByte(text, '='); i >= 0 && !strings.Contains(text[:i], ":") {
		s.alias, s.peer = text[:i], text[i+1:]
	}
	if strings.Contains(s.peer, "://") {
		s.url, s.peer = s.peer, s.alias
		if s.peer == "" {
			s.peer = otherwise
		}
	} else if name, opts, ok := strings.Cut(s.peer, ":"); ok {
		s.peer = name
		for kv := range strings.SplitSeq(opts, ";") {
			k, v, ok := strings.Cut(kv, "=")
			if !ok {
				return s, fmt.Errorf("%q: options are key=value, separated by ;", text)
			}
			s.options[k] = v
		}
	}
	if s.alias == "" {
		if s.alias = text; s.url != "" {
			s.alias = s.peer
		}
	}
	return s, nil
}

// servers makes the servers of -target or -vs. Started tells whether bench starts all of them.
func (o *options) servers(plan *measure.Plan) (list []measure.Server, started bool, err error) {
	o.allCPUs = peers.Allowed()
	if o.serverCPUs, o.generatorCPUs, err = splitCPUs(o.cpus, o.genCPUs, o.allCPUs); err != nil {
		return nil, false, err
	}
	var pids []string
	if o.pids != "" {
		pids = strings.Split(o.pids, ",")
	}
	names := strings.Split(o.vs, ",")
	if o.vs == "" {
		names = []string{o.target}
		if o.target == "" {
			if plan.Attach != nil {
				t, err := o.attached(*plan.Attach, pids, 0)
				return []measure.Server{{Name: t.Name, Attached: true, Start: hand(t)}}, false, err
			}
			names[0] = o.scenario.Servers[0]
		}
	}
	started = true
	for i, text := range names {
		s, err := parseSpec(strings.TrimSpace(text), o.scenario.Servers[0])
		if err != nil {
			return nil, false, err
		}
		if !slices.Contains(o.scenario.Servers, s.peer) {
			return nil, false, fmt.Errorf("%s cannot drive %q: there are %s", o.scenario.Name, s.peer, words(o.scenario.Servers))
		}
		if s.url == "" {
			list = append(list, measure.Server{Name: s.alias, Start: o.starter(s, plan)})
			continue
		}
		started = false
		t, err := targetOf(s)
		if err != nil {
			return nil, false, err
		}
		if t, err = o.attached(t, pids, i); err != nil {
			return nil, false, err
		}
		list = append(list, measure.Server{Name: s.alias, Attached: true, Start: hand(t)})
	}
	return list, started, nil
}

func hand(t measure.Target) func(context.Context, int) (*measure.Target, error) {
	return func(context.Context, int) (*measure.Target, error) { return &t, nil }
}

// starter starts a peer with the options of the plan, and those of the user over them.
func (o *options) starter(s spec, plan *measure.Plan) func(context.Context, int) (*measure.Target, error) {
	return func(ctx context.Context, accounts int) (*measure.Target, error) {
		settings := maps.Clone(s.options)
		for k, v := range plan.Server {
			if _, ok := settings[k]; !ok && peers.Has(s.peer, k) {
				settings[k] = v
			}
		}
		start := peers.Start
		if plan.Pair {
			start = peers.StartPair
		}
		return start(ctx, s.peer, peers.Options{Accounts: accounts, CPUs: o.serverCPUs, Settings: settings, Log: o.logger()})
	}
}

// targetOf makes a target of a URL.
func targetOf(s spec) (measure.Target, error) {
	scheme, rest, _ := strings.Cut(s.url, "://")
	t := measure.Target{Name: s.peer, Addr: map[string]string{}, Version: "unknown (running already)"}
	switch scheme {
	case "ws", "wss":
		t.Addr["ws"] = s.url
	case "http", "https":
		t.Addr["rest"] = s.url
	case "xmpp", "xmpps", "turn", "turns", "turn-tcp":
		t.Addr[scheme] = rest
	default:
		return t, fmt.Errorf("%q: the scheme is one of ws, wss, http, https, xmpp, xmpps, turn, turn-tcp, turns", s.url)
	}
	return t, nil
}

// attached completes a running target from the flags. Index is its place among the servers.
func (o *options) attached(t measure.Target, pids []string, index int) (measure.Target, error) {
	set := func(to *string, value, otherwise string) {
		if value != "" {
			*to = value
		} else if *to == "" {
			*to = otherwise
		}
	}
	set(&t.Domain, o.domain, "localhost")
	set(&t.Guest, o.guest, "guest."+t.Domain)
	set(&t.Rooms, o.rooms, "conference."+t.Domain)
	set(&t.Focus, o.focus, "focus."+t.Domain)
	set(&t.Secret, o.secret, "")
	set(&t.Key, o.key, "")
	t.Accounts, t.Cgroup = o.accounts, o.cgroup
	if index < len(pids) {
		for p := range strings.SplitSeq(pids[index], "+") {
			n, err := strconv.Atoi(strings.TrimSpace(p))
			if err != nil || n < 0 {
				return t, fmt.Errorf("-pid: %q is no process id", p)
			}
			if n > 0 {
				t.PIDs = append(t.PIDs, n)
			}
		}
	}
	if o.anyTarget {
		return t, nil
	}
	for _, a := range t.Addr {
		if !strings.Contains(a, "://") {
			a = "x://" + a
		}
		if err := meet.Loopback(a); err != nil {
			return t, fmt.Errorf("%w; if the target is yours, say -i-own-this-target", err)
		}
	}
	return t, nil
}

// isKonzil tells whether this program is the server's own, which has Main.
func isKonzil() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && info.Path == "konzil"
}
