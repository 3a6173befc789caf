package bench

import (
	"errors"
	"flag"
	"fmt"
	"strings"

	"konzil/bench/clock"
	"konzil/bench/measure"
	"konzil/bench/xmppload"
)

// xmppScenario is load on an XMPP server.
func xmppScenario() measure.Scenario {
	return measure.Scenario{Name: "xmpp", Summary: "chat: sessions, logins, routing, rooms, presence, archives (-scenario)", Servers: []string{"konzil", "prosody", "ejabberd"}, Flags: xmppFlags}
}

// xmppOptions are the flags of `bench xmpp`; zero is the default of the scenario.
type xmppOptions struct {
	scenario, transport, mechanism string
	peer, peerDomain               string
	set                            xmppload.Config
}

func xmppFlags(fs *flag.FlagSet) func(*measure.Common) (*measure.Plan, error) {
	o := &xmppOptions{}
	var names strings.Builder
	for _, s := range xmppload.Scenarios {
		fmt.Fprintf(&names, "; %s: %s", s[0], s[1])
	}
	fs.StringVar(&o.scenario, "scenario", "route", "what is done"+names.String())
	fs.StringVar(&o.transport, "transport", "tcp", "tcp: STARTTLS; tls: direct TLS; ws: WebSocket")
	fs.StringVar(&o.mechanism, "sasl", "SCRAM-SHA-1", "SCRAM-SHA-1 or SCRAM-SHA-256")
	fs.IntVar(&o.set.Scale, "n", 0, "sessions (idle), accounts (login), pairs (route, mam, s2s), occupants (muc, join), contacts (presence)")
	fs.IntVar(&o.set.Under, "under-way", 0, "closed loop: messages under way for each pair, room or hub")
	fs.Float64Var(&o.set.Rate, "rate", 0, "route, s2s: open loop with this many messages per second in all")
	fs.IntVar(&o.set.Body, "body", 0, "bytes of text in a message")
	fs.IntVar(&o.set.Rooms, "rooms-used", 0, "muc: rooms")
	fs.IntVar(&o.set.Speakers, "speakers", 0, "muc: occupants that write, in turn")
	fs.IntVar(&o.set.At, "at-a-time", 0, "logins or joins at a time")
	fs.IntVar(&o.set.Hubs, "hubs", 0, "presence: people whose presence changes")
	fs.BoolVar(&o.set.SM, "sm", false, "stream management on")
	fs.BoolVar(&o.set.NoArchive, "no-archive", false, "clients ask the server not to archive for them (XEP-0313 §5)")
	fs.BoolVar(&o.set.Persistent, "persistent", false, "muc, join: rooms are persistent; konzil archives these, the peers all with mam=on")
	fs.StringVar(&o.peer, "peer", "", "s2s: host:port of the other server (STARTTLS), which has the same accounts; without it each server is started twice, and both count")
	fs.StringVar(&o.peerDomain, "peer-domain", "", "s2s: its domain")
	return o.plan
}

// config is the scenario's defaults with what the flags say.
func (o *xmppOptions) config() xmppload.Config {
	c := xmppload.DefaultConfig(o.scenario)
	for _, v := range []struct{ to, from *int }{{&c.Scale, &o.set.Scale}, {&c.Under, &o.set.Under}, {&c.Body, &o.set.Body}, {&c.Rooms, &o.set.Rooms},
		{&c.Speakers, &o.set.Speakers}, {&c.At, &o.set.At}, {&c.Hubs, &o.set.Hubs}} {
		if *v.from != 0 {
			*v.to = *v.from
		}
	}
	c.Transport, c.Mechanism, c.Rate, c.SM, c.NoArchive, c.Persistent = o.transport, o.mechanism, o.set.Rate, o.set.SM, o.set.NoArchive, o.set.Persistent
	if o.peer != "" {
		c.Peer = &measure.Target{Name: "peer", Domain: o.peerDomain, Addr: map[string]string{"xmpp": o.peer}}
	}
	return c
}

// idleIntervals is how many times -n sessions are added to an idle server at most, each with accounts of its own: more start over with a second
// session for each account.
const idleIntervals = 6

func (o *xmppOptions) plan(common *measure.Common) (*measure.Plan, error) {
	c := o.config()
	if err := c.Check(); err != nil {
		return nil, err
	}
	if (o.peer == "") != (o.peerDomain == "") {
		return nil, errors.New("-peer and -peer-domain belong together")
	}
	c.Clock = &clock.Clock{}
	if common.Fault != nil {
		c.Fault = common.Fault
	}
	what := map[string][2]string{"idle": {"sessions", "sessions"}, "login": {"logins", "accounts"}, "route": {"messages", "pairs"}, "muc": {"deliveries", "occupants"},
		"join": {"presences", "occupants"}, "presence": {"presences", "contacts"}, "mam": {"results", "pairs"}, "s2s": {"messages", "pairs"}}[c.Scenario]
	p := &measure.Plan{
		Clock: c.Clock,
		Load:  c.String(), Unit: what[0], ScaleName: what[1], Scale: c.Scale, Faults: true,
		Make: func(t *measure.Target, scale int) (measure.Load, error) { return xmppload.New(c, t, scale) },
		Gates: func(g *measure.Gates) {
			if c.Rate == 0 { // nobody waits for a time, so a busy generator only makes the loop slower
				g.Generator = closedGenerator
			}
		},
		Accounts: func(scale int) int {
			switch c.Scenario {
			case "idle":
				return scale * idleIntervals
			case "route", "mam":
				return 2 * scale
			case "muc":
				return scale * c.Rooms
			case "presence":
				return scale + c.Hubs
			}
			return scale
		},
	}
	p.Pair = c.Scenario == "s2s" && c.Peer == nil
	if c.Scenario == "mam" {
		p.Server = map[string]string{"mam": "on"}
	}
	if c.Scenario == "route" || c.Scenario == "s2s" {
		p.Null, p.NullSize = "tcp", c.Body
	}
	return p, nil
}

// closedGenerator is the share of its CPUs that the generator may use in a closed loop: what counts is what the server's CPU does, and the next message
// waits for the last one's arrival in any case.
const closedGenerator = 0.99
