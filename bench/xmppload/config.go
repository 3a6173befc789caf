package xmppload

import (
	"crypto/tls"
	"fmt"
	"slices"
	"time"

	"konzil/bench/clock"
	"konzil/bench/measure"
)

// Config is a load on an XMPP server. DefaultConfig fills in what is zero.
type Config struct {
	Scenario  string // one of Scenarios
	Transport string // tcp: STARTTLS (RFC 6120 §5); tls: direct TLS (XEP-0368); ws: WebSocket (RFC 7395), wss:// or ws://
	Mechanism string // SCRAM-SHA-1 or SCRAM-SHA-256
	Password  string // of all accounts

	Scale    int           // sessions (idle), pairs (route, mam, s2s), occupants (muc, join), contacts of each roster (presence)
	Under    int           // stanzas under way: per pair (route), per room (muc), per hub (presence)
	Rate     float64       // route: messages per second in all, open loop; 0: closed loop
	Body     int           // bytes of text in a message, 32 or more
	Rooms    int           // muc
	Speakers int           // muc: occupants that write, in turn
	At       int           // logins or joins at a time
	Hubs     int           // presence: people who change their presence
	Settle   time.Duration // idle: between the last login and the reading of memory
	SM       bool          // stream management on, acknowledging every request (XEP-0198)

	Persistent bool          // muc, join: rooms are persistent; some servers archive no others
	NoArchive  bool          // each client asks the server not to archive for it (XEP-0313 §5)
	Drain      time.Duration // after the last was sent, for what is still under way

	// Fault damages what was received, to show that the gates notice; nil: nothing is damaged.
	Fault Fault
	// Clock ends the naps of closed loops; nil or one that was not started: there are none.
	Clock *clock.Clock
	// Peer is the other server of s2s; nil is the target's own (measure.Target.Other).
	Peer *measure.Target
}

// Fault is damage done on purpose.
type Fault interface {
	Lose() bool            // throw away the delivery at hand
	Corrupt(b []byte) bool // change something in it, perhaps
}

// Scenarios by name, with what they do.
var Scenarios = [][2]string{
	{"idle", "sessions that are logged in, available and silent: memory of each"},
	{"login", "connect, TLS, SCRAM, bind and close, many at a time"},
	{"route", "one-to-one messages between pairs"},
	{"muc", "room messages to all occupants"},
	{"join", "a whole room is entered: N² presences"},
	{"presence", "presence changes told to all contacts"},
	{"mam", "one-to-one messages that are archived, and then asked for"},
	{"s2s", "one-to-one messages from one server to another"},
}

// DefaultConfig is the load that docs and results speak of.
func DefaultConfig(scenario string) Config {
	c := Config{Scenario: scenario, Transport: "tcp", Mechanism: "SCRAM-SHA-1", Password: measure.AccountPassword,
		Scale: 100, Under: 10, Body: 80, Rooms: 1, Speakers: 10, At: 16, Hubs: 10, Settle: 3 * time.Second, Drain: 10 * time.Second}
	switch scenario {
	case "idle":
		c.Scale = 1000
	case "muc", "join":
		c.Scale, c.Under = 200, 8
	case "presence":
		c.Under = 2
	case "login":
		c.Scale = 500
	}
	return c
}

// String is the load in a few words.
func (c *Config) String() string {
	s := fmt.Sprintf("%s %d", c.Scenario, c.Scale)
	switch {
	case c.Rate > 0:
		s += fmt.Sprintf(", %g messages/s", c.Rate)
	case c.Scenario == "login" || c.Scenario == "join":
		s += fmt.Sprintf(", %d at a time", c.At)
	case c.Scenario != "idle" && c.Scenario != "mam":
		s += fmt.Sprintf(", %d under way", c.Under)
	}
	if c.Persistent {
		s += ", persistent"
	}
	return s + ", " + c.Transport
}

// Check says what cannot be.
func (c *Config) Check() error {
	if !slices.ContainsFunc(Scenarios, func(s [2]string) bool { return s[0] == c.Scenario }) {
		return fmt.Errorf("xmppload: no scenario %q", c.Scenario)
	}
	if !slices.Contains([]string{"tcp", "tls", "ws"}, c.Transport) {
		return fmt.Errorf("xmppload: no transport %q: tcp, tls or ws", c.Transport)
	}
	if c.Mechanism != "SCRAM-SHA-1" && c.Mechanism != "SCRAM-SHA-256" {
		return fmt.Errorf("xmppload: no mechanism %q: SCRAM-SHA-1 or SCRAM-SHA-256", c.Mechanism)
	}
	if c.Scale < 1 || c.Under < 1 || c.At < 1 || c.Rooms < 1 || c.Speakers < 1 || c.Hubs < 1 {
		return fmt.Errorf("xmppload: counts must be positive")
	}
	if c.Body < minBody || c.Body > maxBody {
		return fmt.Errorf("xmppload: bodies have %d to %d bytes", minBody, maxBody)
	}
	if c.Under > ring/2 {
		return fmt.Errorf("xmppload: at most %d under way", ring/2)
	}
	return nil
}

func (w *world) resolve() error {
	key := map[string]string{"tcp": "xmpp", "tls": "xmpps", "ws": "ws"}[w.cfg.Transport]
	addr := w.target.Addr[key]
	if addr == "" {
		return fmt.Errorf("%w: %s", errNoAddress, w.cfg.Transport)
	}
	w.useTLS, w.dial = true, addr
	if w.cfg.Transport == "ws" {
		var err error
		if w.dial, w.useTLS, err = wsAddr(addr); err != nil {
			return err
		}
	}
	w.tls = tlsConfig(w.target.Domain)
	if w.cfg.Transport == "tls" {
		w.tls.NextProtos = []string{"xmpp-client"}
	}
	w.tls.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256} // for TLS 1.2
	return nil
}
