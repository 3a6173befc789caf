package main

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"konzil/xmpp/s2s"
	"konzil/xmpp/stanza"
)

// check finds settings that cannot work, or not together, before anything is opened. The error says what to write instead. Parts with files of their own are
// checked there.
func (c *Config) check() error {
	for _, check := range []func() error{
		c.checkAddresses, c.checkPorts, c.checkLeast, c.TLS.check, c.Log.check, c.XMPP.check, c.Media.check, c.TURN.check,
		c.Bridge.check, c.checkServices, c.Auth.Validate, c.TLS.ACME.Validate,
		func() error { return c.Tokens.Validate("tokens") }, c.checkTokens,
		func() error { return c.API.Validate("api") },
		func() error { return c.Webhook.Validate("webhook") },
		func() error { _, err := c.Retention.rules(); return err },
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

// checkAddresses looks at names and addresses.
func (c *Config) checkAddresses() error {
	j, err := stanza.ParseJID(c.Domain)
	if err != nil || strings.ContainsAny(c.Domain, "/@ :") {
		return fmt.Errorf("domain: %q is no domain: give one such as example.org", c.Domain)
	}
	c.Domain = j.Domain() // as addresses have it: in small letters, IDNA's U-labels
	if len(c.Listen) == 0 {
		return errors.New("listen: no address: give at least one, such as 0.0.0.0")
	}
	isAddress := func(a string) bool { _, err := netip.ParseAddr(a); return err == nil }
	isAddressPort := func(a string) bool { _, err := netip.ParseAddrPort(a); return err == nil }
	isNetwork := func(a string) bool { _, err := netip.ParsePrefix(a); return err == nil }
	isHostPort := func(a string) bool { _, port, err := net.SplitHostPort(a); return err == nil && port != "" }
	isPerson := func(a string) bool { j, err := stanza.ParseJID(a); return err == nil && j.Local() != "" && j.IsBare() }
	var resolver []string
	if c.Resolver != "" {
		resolver = []string{c.Resolver}
	}
	for _, l := range []struct {
		setting string
		list    []string
		fine    func(string) bool
		what    string
	}{
		{"listen", c.Listen, isAddress, "no IP address"},
		{"media.advertise", c.Media.Advertise, isAddress, "no IP address"},
		{"media.stun", c.Media.STUN, isHostPort, "no host with a port: write it like stun.example.org:3478"},
		{"turn.allow", c.TURN.Allow, isNetwork, "no network: write it like 10.1.0.0/16"},
		{"turn.deny", c.TURN.Deny, isNetwork, "no network: write it like 10.1.0.0/16"},
		{"xmpp.admins", c.XMPP.Admins, isPerson, "no address of a person: write it like admin@example.org"},
		{"about.reports_to", c.About.ReportsTo, isPerson, "no address of a person: write it like abuse@example.org"},
		{"http.admin", c.HTTP.Admin, isAddressPort, "no address with a port: write it like 127.0.0.1:9090"},
		{"resolver", resolver, isAddressPort, "no address with a port: write it like 127.0.0.1:53"},
	} {
		for _, a := range l.list {
			if !l.fine(a) {
				return fmt.Errorf("%s: %q is %s", l.setting, a, l.what)
			}
		}
	}
	return nil
}

// checkLeast looks at numbers that have a least value.
func (c *Config) checkLeast() error {
	for _, n := range []struct {
		setting      string
		value, least int
	}{
		{"xmpp.max_stanza_bytes", c.XMPP.MaxStanzaBytes, 10_000}, // RFC 6120 §13.12
		{"xmpp.rate_bytes_per_second", c.XMPP.RateBytesPerSec, 1000},
		{"xmpp.federation.rate_bytes_per_second", c.XMPP.Federation.RateBytesPerSec, 1000},
		{"xmpp.sessions_per_user", c.XMPP.SessionsPerUser, 1},
		{"xmpp.fanout_per_second", c.XMPP.FanoutPerSecond, 100},
		{"proxy.max_streams", c.Proxy.MaxStreams, 1},
		{"proxy.streams_per_user", c.Proxy.PerAccount, 1},
		{"rooms.history", c.Rooms.History, 0},
		{"rooms.max_rooms", c.Rooms.MaxRooms, 1},
		{"rooms.max_occupants", c.Rooms.MaxOccupants, 2},
		{"rooms.messages_per_second", c.Rooms.Rate, 1},
		{"meetings.min_participants", c.Meetings.MinParticipants, 1},
		{"meetings.visitors", c.Meetings.Visitors, 0},
		{"meetings.max_visitors", c.Meetings.MaxVisitors, 1},
		{"media.shards", c.Media.Shards, 0},
		{"turn.allocations_per_user", c.TURN.PerUser, 1},
		{"turn.allocations_per_address", c.TURN.PerSource, 1},
		{"turn.bytes_per_second", c.TURN.Bandwidth, 0},
	} {
		if n.value < n.least {
			return fmt.Errorf("%s: %d is too small: give at least %d", n.setting, n.value, n.least)
		}
	}
	return nil
}

// checkTokens looks at whom tokens keep out.
func (c *Config) checkTokens() error {
	switch {
	case !c.Meetings.RequireToken:
		return nil
	case !c.Tokens.Enabled():
		return errors.New("meetings.require_token: no tokens are believed: set tokens.secret, key_server or jwks")
	case c.Tokens.AllowEmpty:
		return errors.New("meetings.require_token: tokens.allow_empty lets everybody in: give one of them")
	}
	return nil
}

func (c *TLSConfig) check() error {
	if (c.Cert == "") != (c.Key == "") {
		return errors.New("tls: cert and key go together: give both, or neither for a self-signed one")
	}
	if c.ACME.Enabled() && c.Cert != "" {
		return errors.New("tls: there are certificate files and acme.email: give one of them")
	}
	return nil
}

func (c *LogConfig) check() error {
	if !slices.Contains([]string{"debug", "info", "warn", "error"}, c.Level) {
		return fmt.Errorf("log.level: %q: debug, info, warn or error", c.Level)
	}
	if c.Format != "text" && c.Format != "json" {
		return fmt.Errorf("log.format: %q: text or json", c.Format)
	}
	if c.MaskAfter > 0 && c.MaskAfter < time.Minute {
		return fmt.Errorf("log.mask_after: %v: a minute at least, or 0", c.MaskAfter)
	}
	if c.MaskAfter > 0 && c.File == "" {
		return errors.New("log.mask_after: set log.file too: what went to standard error cannot be masked any more")
	}
	return nil
}

func (c *XMPPConfig) check() error {
	if m := c.Federation.Mode; !slices.Contains([]string{"", s2s.Open, s2s.Listed, s2s.Closed}, m) {
		return fmt.Errorf("xmpp.federation.mode: %q is none of open, listed, closed", m)
	}
	if c.ResumeTime < 0 {
		return fmt.Errorf("xmpp.resume_time: %v is no time to wait", c.ResumeTime)
	}
	return c.Components.check()
}

func (c *MediaConfig) check() error {
	if c.Port == 0 {
		return errors.New("media.port: media cannot be off: give a UDP port")
	}
	if (c.ChannelMin == 0) != (c.ChannelMax == 0) || c.ChannelMin < 0 || c.ChannelMax > 65535 || c.ChannelMin > c.ChannelMax {
		return fmt.Errorf("media.channel_port_min, channel_port_max: %d to %d are no ports: give both, from 1 to 65535, or neither", c.ChannelMin, c.ChannelMax)
	}
	return nil
}

func (c *TURNConfig) check() error {
	for i, u := range c.Users {
		if name, password, ok := strings.Cut(u, ":"); !ok || name == "" || password == "" {
			return fmt.Errorf("turn.users: entry %d is not name:password", i+1)
		}
	}
	if c.RelayMin < 1024 || c.RelayMax > 65535 || c.RelayMin > c.RelayMax {
		return fmt.Errorf("turn.relay_port_min, relay_port_max: %d to %d is no range of ports above 1023", c.RelayMin, c.RelayMax)
	}
	if c.Lifetime < time.Second || c.Lifetime > time.Hour {
		return fmt.Errorf("turn.max_lifetime: %v is not within 1s and 1h", c.Lifetime)
	}
	return nil
}
