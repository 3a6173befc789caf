package sfu

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"time"

	"konzil/bench/clock"
	"konzil/bench/measure"
	"konzil/bench/meet"
	"konzil/bench/rtc"
	"konzil/bench/sfuload"
	"konzil/bench/sfuload/galene"
	"konzil/bench/sfuload/janus"
	"konzil/bench/sfuload/jitsi"
	"konzil/bench/sfuload/jvb"
	"konzil/bench/sfuload/livekit"
)

// packetSize is that of the null relay's packets: those of video.
const packetSize = 1200

// joinSkipped is the share of packets that the generator may skip while it measures joins: what is counted are joins, and handshakes take its
// processor from the one that sends.
const joinSkipped = 0.02

// adapters makes the adapter of each server that there is one for.
func adapters(o *Options) map[string]func(t *measure.Target) (sfuload.Adapter, error) {
	return map[string]func(t *measure.Target) (sfuload.Adapter, error){
		"konzil":  func(t *measure.Target) (sfuload.Adapter, error) { return jitsi.New(t, o.NoRewriting) },
		"livekit": func(t *measure.Target) (sfuload.Adapter, error) { return livekit.New(t.Addr["ws"], t.Key, t.Secret) },
		"janus":   func(t *measure.Target) (sfuload.Adapter, error) { return janus.New(t.Addr["ws"]) },
		"galene":  func(t *measure.Target) (sfuload.Adapter, error) { return galene.New(t.Addr["ws"], t.Rooms) },
		"jvb":     func(t *measure.Target) (sfuload.Adapter, error) { return jvb.New(t.Addr["rest"]) },
	}
}

// Scenario is `konzil bench sfu`.
func Scenario() measure.Scenario {
	return measure.Scenario{Name: "sfu", Summary: "conferences through a forwarding server: packets per CPU second, delivery, latency, joins",
		Servers: []string{"konzil", "livekit", "janus", "galene", "jvb"}, Flags: flags}
}

func flags(fs *flag.FlagSet) func(*measure.Common) (*measure.Plan, error) {
	o := &Options{}
	local, cfg := "", rtc.Config{}
	var names []string
	for _, s := range scenarios() {
		names = append(names, s.name+" ("+s.what+")")
	}
	fs.StringVar(&o.Scenario, "scenario", "1xN", "`shape` of the load: "+strings.Join(names, "; "))
	fs.IntVar(&o.Scale, "n", 0, "N of the scenario; 0 is its own default")
	fs.IntVar(&o.Talkers, "talkers", talkersDefault, "microphones of the scenario talkers")
	fs.StringVar(&o.Trace, "trace", "", "`form` of the video: "+traceNames()+"; default is the scenario's")
	fs.DurationVar(&o.Apart, "apart", time.Second, "pause between the joins of the scenario join: long enough for what a server keeps for newcomers to be old")
	fs.IntVar(&o.Height, "height", 0, "lines that each receiver wants of each video; 0 is all")
	fs.StringVar(&o.Profile, "srtp", "AEAD_AES_128_GCM", "the one SRTP `profile` that is offered: "+profileNames())
	fs.IntVar(&o.Shards, "shards", 1, "threads of the generator's engine")
	fs.IntVar(&o.Joins, "joins", joinsDefault, "joins under way at a time")
	fs.BoolVar(&o.NoRewriting, "no-rewriting", false, "konzil: clients do not announce SSRC rewriting, as its own page")
	fs.StringVar(&local, "local", "127.0.0.1", "`address` of the generator's media sockets")
	fs.BoolVar(&cfg.OwnSockets, "own-sockets", false, "a socket for each client, also on 127.0.0.1, where they share one and have an address each; as beside servers that take no media on the loopback")
	fs.BoolVar(&cfg.NoTap, "no-tap", false, "read every packet from the sockets, also where a BPF program may note their headers in the kernel")
	return func(c *measure.Common) (*measure.Plan, error) { return plan(*o, local, cfg, c) }
}

func profileNames() string {
	var names []string
	for n := range rtc.Profiles {
		names = append(names, n)
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func plan(o Options, local string, cfg rtc.Config, c *measure.Common) (*measure.Plan, error) {
	if _, err := participants(&o); err != nil { // fills in the defaults
		return nil, err
	}
	if _, ok := rtc.Profiles[o.Profile]; !ok {
		return nil, fmt.Errorf("-srtp %q is not one of %s", o.Profile, profileNames())
	}
	ip, err := netip.ParseAddr(local)
	if err != nil {
		return nil, fmt.Errorf("-local: %w", err)
	}
	s, err := find(o.Scenario)
	if err != nil {
		return nil, err
	}
	cfg.Local = ip
	if c.Log != nil && c.Log.Enabled(context.Background(), slog.LevelInfo) {
		cfg.Logger = c.Log
	}
	if f := c.Fault; f != nil {
		cfg.Lose, cfg.Corrupt = f.Lose, f.Corrupt
	}
	cfg.Clock = &clock.Clock{}
	p := &measure.Plan{Load: fmt.Sprintf("%s, N=%d, %s, %s", o.Scenario, o.Scale, o.Trace, o.Profile), Unit: "packets", ScaleName: s.unit, Scale: o.Scale, Null: "udp",
		NullSize: packetSize, Faults: true,
		Make: func(t *measure.Target, scale int) (measure.Load, error) {
			o := o
			if scale > 0 {
				o.Scale = scale
			}
			a, err := adapter(&o, t, c.AnyTarget)
			if err != nil {
				return nil, err
			}
			cfg := cfg
			if ip, err := netip.ParseAddr(t.Addr["media"]); err == nil && cfg.Local.IsLoopback() {
				cfg.Local = ip // the server takes no media on the loopback
			}
			return New(o, a, cfg)
		},
		Clock: cfg.Clock, Threads: o.Shards}
	if o.Scenario == "storm" || o.Scenario == "join" {
		p.Unit, p.Null = "joins", ""
		p.Gates = func(g *measure.Gates) { g.Skipped = joinSkipped }
	}
	return p, nil
}

// adapter makes that of a target, if the target may be loaded.
func adapter(o *Options, t *measure.Target, any bool) (sfuload.Adapter, error) {
	f := adapters(o)[t.Name]
	if f == nil {
		return nil, fmt.Errorf("sfu: no adapter for %s", t.Name)
	}
	for _, k := range []string{"ws", "rest"} {
		if u := t.Addr[k]; u != "" && !any {
			if err := meet.Loopback(u); err != nil {
				return nil, errors.Join(err, errors.New("if it is yours, say -i-own-this-target"))
			}
		}
	}
	return f(t)
}
