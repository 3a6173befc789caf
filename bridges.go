package main

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"konzil/internal/random"
	"konzil/signaling/brewery"
	"konzil/signaling/bridge"
	"konzil/signaling/colibri"
	"konzil/signaling/colibri1"
	"konzil/signaling/pool"
	"konzil/signaling/rest"
	"konzil/xmpp/muc"
	"konzil/xmpp/stanza"
)

// BridgeConfig is this server's bridge for focuses elsewhere, and bridges elsewhere for its focus.
type BridgeConfig struct {
	Accounts []string `yaml:"accounts" doc:"Local accounts of other bridges (konzil bridge, or JVB). They find this server's focus in the room jvbbrewery@internal.DOMAIN, which nobody else may enter. Empty: meetings are on this server's own bridge alone."`
	Own      string   `yaml:"own" doc:"When meetings are on this server's own bridge though there are others: equal (by load, as the others), last (while no other is there) or never."`

	Desktop bool   `yaml:"desktop" doc:"The video bridge that Jitsi Desktop finds at jitsi-videobridge.DOMAIN (XEP-0340), for people with an account. Its channels have UDP ports of their own, media.channel_port_min and _max."`
	Region  string `yaml:"region" doc:"Region of this bridge, for the focus to choose by. Empty: none."`
	RelayID string `yaml:"relay_id" doc:"Name of this bridge for other bridges, konzil's of the same version, when a conference is on several. Empty: made up at each start; none: it works alone."`

	MaxEndpoints int `yaml:"max_endpoints" doc:"How many participants of one conference a bridge gets while there are others for it: then the conference is on several."`

	REST      string `yaml:"rest" doc:"COLIBRI2 over HTTP, as JVB has it (/colibri/v2/conferences): off, admin (where health and metrics are: http.admin, or for clients of this machine) or token (on the HTTPS port, with bridge.rest_token)."`
	RESTToken string `yaml:"rest_token" doc:"What requests to bridge.rest need in the header Authorization: Bearer TOKEN; at least 16 characters."`

	Join []BridgeAccount `yaml:"join" doc:"Rooms on XMPP servers, this one or others, where the bridge offers itself to a focus (jicofo or konzil). Each entry has server (host:port, empty: the account's domain), account, password, room (such as jvbbrewery@internal.example.org), nick (empty: made up) and any_certificate (true: the server's certificate is not looked at)."`
}

// BridgeAccount is one room that the bridge joins.
type BridgeAccount struct {
	Server         string `yaml:"server"`
	Account        string `yaml:"account"`
	Password       string `yaml:"password"`
	Room           string `yaml:"room"`
	Nick           string `yaml:"nick"`
	AnyCertificate bool   `yaml:"any_certificate"`
}

// check says what is wrong with the settings.
func (c BridgeConfig) check() error {
	if c.MaxEndpoints < 1 {
		return fmt.Errorf("bridge.max_endpoints: %d is less than one", c.MaxEndpoints)
	}
	switch c.Own {
	case "equal", "last", "never":
	default:
		return fmt.Errorf("bridge.own: %q is none of equal, last, never", c.Own)
	}
	switch c.REST {
	case "off", "admin":
	case "token":
		if len(c.RESTToken) < minToken {
			return fmt.Errorf("bridge.rest_token: it has less than %d characters", minToken)
		}
	default:
		return fmt.Errorf("bridge.rest: %q is none of off, admin, token", c.REST)
	}
	return nil
}

// minToken keeps tokens that can be guessed away.
const minToken = 16

// orphanTime is how long what a focus on another machine has forgotten is kept, as every Jitsi bridge does.
const orphanTime = time.Minute

// openREST serves COLIBRI2 over HTTP where the settings say.
func (s *server) openREST() {
	c := rest.Config{Speakers: func(id string) ([]string, bool) {
		x := s.sfu.Explain(id)
		if len(x) == 0 {
			return nil, false
		}
		return x[0].Speakers, true
	}}
	mount := s.http.HandlePrivate
	switch s.cfg.Bridge.REST {
	case "off":
		return
	case "token":
		c.Token, mount = s.cfg.Bridge.RESTToken, s.http.Handle
	}
	api := rest.New(s.bridge, c, s.log.With("part", "rest"))
	mount(rest.Path, api)
	mount(rest.Path+"/", api)
	s.http.AddMetrics("rest", api.Counters)
}

// openBridge makes the bridge on the sfu.
func (s *server) openBridge(context.Context) error {
	switch s.relayID = s.cfg.Bridge.RelayID; s.relayID {
	case "":
		s.relayID = "konzil-" + random.Hex(8)
	case "none":
		s.relayID = ""
	}
	c := bridge.Config{WebSocketURL: s.webSocketURL("colibri-ws"), Version: version(), RelayID: s.relayID}
	if len(s.cfg.Bridge.Join) > 0 || s.cfg.Bridge.REST != "off" {
		c.ExpireAfter = orphanTime
	}
	s.bridge = bridge.New(s.sfu, c, s.log.With("part", "bridge"))
	s.onStop(func(context.Context) { s.bridge.Close() })
	return nil
}

// openBrewery makes the room where bridges elsewhere offer themselves, and the pool that chooses among them.
func (s *server) openBrewery(context.Context) (err error) {
	c := s.cfg.Bridge
	if len(c.Accounts) == 0 {
		return nil
	}
	domain := "internal." + s.cfg.Domain
	self := stanza.MustJID("bridges." + s.cfg.Domain + "/focus")
	may := map[stanza.JID]bool{self.Bare(): true}
	for _, a := range c.Accounts {
		j, err := stanza.NewJID(a, s.cfg.Domain, "")
		if err != nil {
			return fmt.Errorf("bridge.accounts: %q is no account's name", a)
		}
		may[j] = true
	}
	log := s.log.With("part", "pool")
	rooms, err := muc.New(muc.Config{Domain: domain, Name: "Internal", Create: muc.CreateAnyone, HideRooms: true}, s.xmpp, nil, log)
	if err != nil {
		return err
	}
	rooms.Guard(func(j muc.Join) (v muc.Verdict) {
		if !may[j.Real.Bare()] {
			v.Refuse = stanza.ErrForbidden
		}
		return v
	})
	s.xmpp.Mount(domain, rooms)
	s.onStop(func(ctx context.Context) { rooms.Shutdown(ctx) })
	p := pool.Config{Self: self, Room: stanza.MustJID("jvbbrewery@" + domain), Region: c.Region, LocalStress: s.load.stress, LocalLast: c.Own == "last",
		LocalRelayID: s.relayID, Version: version(), MaxPerBridge: c.MaxEndpoints}
	if c.Own != "never" {
		p.Local = s.bridge
	}
	if s.pool, err = pool.New(p, s.xmpp, log); err != nil {
		return err
	}
	s.xmpp.Mount(self.Domain(), s.pool)
	s.pool.Enter()
	s.onStop(func(context.Context) { s.pool.Close() })
	return nil
}

// desktopBridge is the address of the bridge for Jitsi Desktop.
func (c *Config) desktopBridge() string { return "jitsi-videobridge." + c.Domain }

// openDesktop makes the bridge that clients drive themselves.
func (s *server) openDesktop(context.Context) (err error) {
	if !s.cfg.Bridge.Desktop {
		return nil
	}
	c := colibri1.Config{
		Domain:  s.cfg.desktopBridge(),
		Allowed: func(user stanza.JID) bool { return user.Domain() == s.cfg.Domain && s.authenticated(user) },
	}
	for _, a := range s.cfg.Media.Advertise {
		c.Advertise = append(c.Advertise, netip.MustParseAddr(a))
	}
	if s.desktop, err = colibri1.New(c, s.sfu, s.xmpp, s.log.With("part", "desktop")); err != nil {
		return err
	}
	s.xmpp.Mount(c.Domain, s.desktop)
	s.onStop(func(context.Context) { s.desktop.Close() })
	return nil
}

// bridges is what carries the focus' meetings.
func (s *server) bridges() colibri.Bridge {
	if s.pool != nil {
		return s.pool
	}
	return s.bridge
}

// joinBreweries offers the bridge where the operator says.
func (s *server) joinBreweries(context.Context) error {
	for i, a := range s.cfg.Bridge.Join {
		m, err := brewery.New(s.bridge, brewery.Config{
			Account: brewery.Account{Server: a.Server, JID: a.Account, Password: a.Password, Room: a.Room, Nick: a.Nick, AnyCertificate: a.AnyCertificate},
			Stats:   s.bridgeStats, Version: version(), Region: s.cfg.Bridge.Region, RelayID: s.relayID,
		}, s.log.With("part", "brewery"))
		if err != nil {
			return fmt.Errorf("bridge.join: entry %d: %w", i+1, err)
		}
		s.bridge.AddListener(m)
		s.breweries = append(s.breweries, m)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() {
			defer close(done)
			m.Run(ctx)
		}()
		s.onStop(func(context.Context) {
			cancel()
			<-done
		})
	}
	return nil
}

// breweryCounters are those of all rooms together.
func (s *server) breweryCounters() map[string]uint64 {
	sum := map[string]uint64{}
	for _, m := range s.breweries {
		for k, v := range m.Counters() {
			sum[k] += v
		}
	}
	return sum
}
