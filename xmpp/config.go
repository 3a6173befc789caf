package xmpp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/url"
	"slices"
	"time"

	"konzil/internal/ledger"
	"konzil/xmpp/stanza"
)

// Config is what the messaging room needs to know. DefaultConfig fills in everything but Domain and TLS.
type Config struct {
	// Domain is the main domain: people with accounts live here.
	Domain string
	// GuestDomain is where SASL ANONYMOUS lets everybody in with a name made up by us; "" for none.
	GuestDomain string
	// AnonymousOnMain offers ANONYMOUS also to WebSocket clients that open a stream to Domain, which is what a Jitsi page without an
	// anonymous domain in its settings does. They are bound to an address of GuestDomain all the same.
	AnonymousOnMain bool
	// GuestDoors are further domains that guests may open streams to, and are bound to an address of GuestDomain all the same: the visitor nodes of
	// Jitsi. They are the server under another name.
	GuestDoors []string
	// GuestName, if set, is the name that a guest was promised; "": it gets a new one.
	GuestName func(l Login) string
	// Services are domains of accounts that are parts of the installation; ServiceLogin checks their passwords. See service.go.
	Services     []string
	ServiceLogin func(account stanza.JID, password string) bool
	// TLS is for STARTTLS and direct TLS. Without it TCP streams are refused.
	TLS *tls.Config
	// StrictChannelBinding refuses the SCRAM gs2 flag "y" always where -PLUS is offered (RFC 5802 §6). Without it, a stream that has
	// just tried a channel-binding type we do not have may go on with "y": slixmpp up to 1.8 knows tls-unique only, which TLS 1.3
	// does not have, and could not get in with SCRAM. The price: somebody between who can speak TLS as us can do the same.
	StrictChannelBinding bool

	// Tokens keeps what clients log in with instead of a password (XEP-0484); nil: none.
	Tokens Tokens
	// ClientCAs vouch for certificates by which clients log in (XEP-0178 §2); nil: none do, and none are asked for.
	ClientCAs *x509.CertPool
	// Upgrades takes keys for more mechanisms from clients (XEP-0480); nil: none are wanted.
	Upgrades Upgrades

	// Admit, if set, is asked about everybody who has passed SASL, before success is said. The error's text is shown to the user, with the condition
	// not-allowed. attach, which may be nil, is called for the session before the hooks for bound or resumed ones. It may wait until ctx ends.
	Admit func(ctx context.Context, l Login) (attach func(*Session), err error)

	// Ledger remembers sessions over a restart and a kill; nil: they end with the program.
	Ledger *ledger.Ledger

	Limits Limits
}

// Login is somebody who is about to be let in.
type Login struct {
	Bare   stanza.JID
	Guest  bool       // by ANONYMOUS
	Domain string     // that the stream was opened to: guests have an address of another
	Params url.Values // arguments of the WebSocket's URL that are kept; see Session.Param
}

// Limits is what one peer may cost (XEP-0205). Zero means no limit only where said.
type Limits struct {
	PreAuth  stanza.Limits // before authentication: a login needs little, and strangers get no more
	PostAuth stanza.Limits

	RateBytes int // bytes per second a stream may send for long; reading is delayed, nothing is dropped
	RateBurst int // bytes it may send at once

	FanoutRate  int // stanzas per second that a session may cause for others for long, by what goes to all who watch it; reading is delayed
	FanoutBurst int // and at once

	NegotiationTimeout time.Duration // from connect to bound
	WriteTimeout       time.Duration // one write may block that long: a slow reader is cut off
	AuthAttempts       int           // wrong passwords on one stream
	Pending            int           // streams at one time that have not logged in yet
	PendingPerPeer     int           // of these, from one address (an IPv6 /64): nobody takes all; 0: no limit

	Sessions           int // of all together
	SessionsPerAccount int // bound resources of an account; guests have one name each
	DirectedPresences  int // targets of directed presence remembered per session

	OutboxStanzas int // waiting for one session, above which it is closed
	OutboxBytes   int

	ResumeTimeout      time.Duration // how long a broken session waits for its client (XEP-0198 §5)
	GuestResumeTimeout time.Duration // the same for guests; Jitsi clients try for 65 s
	UnackedStanzas     int           // sent, not acknowledged (XEP-0198): above, or above OutboxBytes, the session is closed
	AckTimeout         time.Duration // an <r/> without answer for that long: the stream is dead
	AckDelay           time.Duration // stanzas fewer than AckEvery wait that long before we ask
	AckEvery           int           // ask at once after that many
}

// DefaultConfig has the limits that suit a campus: Prosody's and ejabberd's sizes, and what Jitsi's clients need.
func DefaultConfig() Config {
	return Config{
		Limits: Limits{
			PreAuth:  stanza.Limits{Bytes: 10_000, Depth: 8, Elements: 32, Attrs: 32, Bindings: 16},
			PostAuth: stanza.Limits{Bytes: 256 << 10, Depth: 64, Elements: 10_000, Attrs: 128, Bindings: 64},

			RateBytes: 128 << 10, RateBurst: 512 << 10,

			FanoutRate: 2000, FanoutBurst: 20_000, // a presence to the largest contact list once a second

			NegotiationTimeout: 60 * time.Second,
			WriteTimeout:       30 * time.Second,
			AuthAttempts:       3,
			Pending:            2000,
			PendingPerPeer:     500, // a lecture hall behind one NAT that reconnects: a login takes well below a second

			Sessions:           50_000, // at 50 kB each about 2.5 GB
			SessionsPerAccount: 20,
			DirectedPresences:  500,

			// a join to a room of a thousand is a thousand presences of about 2 kB at once
			OutboxStanzas: 10_000, OutboxBytes: 16 << 20,

			ResumeTimeout: 10 * time.Minute, GuestResumeTimeout: 75 * time.Second,
			UnackedStanzas: 5000,
			AckTimeout:     90 * time.Second, AckDelay: 2 * time.Second, AckEvery: 5,
		},
	}
}

func (c *Config) check() error {
	for _, d := range append([]string{c.Domain, c.GuestDomain}, c.GuestDoors...) {
		if d == "" {
			continue
		}
		if j, err := stanza.ParseJID(d); err != nil || j.String() != d || j.Local() != "" || !j.IsBare() {
			return errors.New("xmpp: " + d + " is not a domain in its canonical form")
		}
	}
	switch {
	case c.Domain == "":
		return errors.New("xmpp: no domain set")
	case c.Domain == c.GuestDomain:
		return errors.New("xmpp: the guest domain must differ from the main domain")
	case len(c.GuestDoors) > 0 && (c.GuestDomain == "" || slices.Contains(c.GuestDoors, c.Domain) || slices.Contains(c.GuestDoors, c.GuestDomain)):
		return errors.New("xmpp: doors for guests need a guest domain, and differ from it and the main domain")
	case c.Limits.OutboxStanzas <= 0 || c.Limits.OutboxBytes <= 0 || c.Limits.UnackedStanzas <= 0:
		return errors.New("xmpp: queues need a bound: start from DefaultConfig")
	case c.Limits.RateBytes <= 0 || c.Limits.RateBurst < 4096:
		return errors.New("xmpp: the read rate needs a bound (burst 4096 bytes or more)")
	case c.Limits.FanoutRate <= 0 || c.Limits.FanoutBurst <= 0:
		return errors.New("xmpp: what one stanza causes needs a bound")
	case c.Limits.NegotiationTimeout <= 0 || c.Limits.WriteTimeout <= 0 || c.Limits.AckTimeout <= 0:
		return errors.New("xmpp: timeouts must be positive")
	}
	return nil
}
