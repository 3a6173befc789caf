package bench

import (
	"crypto/tls"
	"flag"
	"fmt"
	"net"
	"net/netip"
	"time"

	"konzil/bench/clock"
	"konzil/bench/measure"
	"konzil/bench/turnload"
)

// turnScenario is load on a TURN server.
func turnScenario() measure.Scenario {
	return measure.Scenario{Name: "turn", Summary: "relaying: packets per CPU second, loss, latency, memory of allocations", Servers: []string{"konzil", "coturn"}, Flags: turnFlags}
}

// turnAddress is the key of the server's address by transport, see measure.Target.
var turnAddress = map[string]string{"udp": "turn", "tcp": "turn-tcp", "tls": "turns"}

type turnOptions struct {
	set  turnload.Config
	gso  bool
	peer string
}

// Windows of the closed loop: over streams what is under way must fit into what servers keep for a slow client.
const (
	windowUDP    = 1024
	windowStream = 128
)

// turnSettle is how long after the last allocation their memory is read.
const turnSettle = 2 * time.Second

func turnFlags(fs *flag.FlagSet) func(*measure.Common) (*measure.Plan, error) {
	o := &turnOptions{}
	fs.StringVar(&o.set.Network, "transport", "udp", "of the clients: udp, tcp, tls")
	fs.StringVar(&o.set.Direction, "dir", "up", "up: from clients to the peer; down: back; both: in turn")
	fs.IntVar(&o.set.Allocations, "n", 50, "allocations, each with a socket or connection of its own")
	fs.IntVar(&o.set.Payload, "size", 1200, "bytes of a packet without TURN's head")
	fs.BoolVar(&o.set.Indications, "indications", false, "Send and Data indications instead of channel data")
	fs.IntVar(&o.set.Burst, "burst", 1, "packets of one allocation that are sent together")
	fs.BoolVar(&o.gso, "gso", true, "over UDP a burst is one message with UDP_SEGMENT, as a network card hands it over that coalesces; else packet by packet")
	fs.IntVar(&o.set.Rate, "rate", 0, "packets a second in all; 0 is a closed loop")
	fs.IntVar(&o.set.Window, "window", 0, fmt.Sprintf("closed loop: packets under way (default %d over UDP, %d over streams)", windowUDP, windowStream))
	fs.StringVar(&o.set.Username, "user", "", "static user; default: credentials of -secret, a user for each allocation")
	fs.StringVar(&o.set.Password, "password", "", "of -user")
	fs.BoolVar(&o.set.NoTap, "no-tap", false, "over UDP: read every packet from the sockets, also where a BPF program may count them in the kernel")
	fs.StringVar(&o.peer, "peer-ip", "", "address of the peer's socket (default: the one that the system sends to the server from)")
	return o.plan
}

func (o *turnOptions) plan(common *measure.Common) (*measure.Plan, error) {
	c := o.set
	c.Runs = o.gso
	if c.Window == 0 {
		c.Window = windowStream
		if c.Network == "udp" {
			c.Window = windowUDP
		}
	}
	c.Fault, c.Clock = common.Fault, &clock.Clock{}
	if o.peer != "" {
		ip, err := netip.ParseAddr(o.peer)
		if err != nil {
			return nil, fmt.Errorf("-peer-ip: %w", err)
		}
		c.Peer = ip
	}
	if err := c.Check(); err != nil {
		return nil, err
	}
	p := &measure.Plan{Load: c.String(), Settle: turnSettle, Unit: "packets", ScaleName: "allocations", Scale: c.Allocations, Null: "udp", NullSize: c.Payload, Faults: true, Clock: c.Clock,
		Make: func(t *measure.Target, scale int) (measure.Load, error) { return turnLoad(c, t, scale) },
		Gates: func(g *measure.Gates) {
			g.Generator = 1.5 // its thread asks for packets all the time, so that the server wakes nobody up
			if c.Rate > 0 {   // or until the next one is due; what it cannot keep up with it skips, for which there is a gate of its own
				g.Generator = 0.95
			}
		}}
	if c.Network != "udp" {
		p.Null = "tcp"
	}
	return p, nil
}

func turnLoad(c turnload.Config, t *measure.Target, scale int) (measure.Load, error) {
	at := t.Addr[turnAddress[c.Network]]
	if at == "" {
		return nil, fmt.Errorf("turn: %s has no address for %s", t.Name, c.Network)
	}
	u, err := net.ResolveUDPAddr("udp", at)
	if err != nil {
		return nil, fmt.Errorf("turn: %w", err)
	}
	c.Server = u.AddrPort()
	c.Server = netip.AddrPortFrom(c.Server.Addr().Unmap(), c.Server.Port())
	c.TLS = &tls.Config{InsecureSkipVerify: true} // what is measured is often a server with a certificate of its own
	if c.Username == "" {
		c.Secret = t.Secret
	}
	if scale > 0 {
		c.Allocations = scale
	}
	return turnload.New(c)
}
