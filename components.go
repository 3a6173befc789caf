package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"konzil/internal/oops"
	"konzil/xmpp/component"
	"konzil/xmpp/ext"
)

// ComponentConfig is one external component.
type ComponentConfig struct {
	Domain   string            `yaml:"domain" doc:"The domain that it serves, such as irc.example.org."`
	Secret   string            `yaml:"secret" doc:"What it proves to know."`
	Name     string            `yaml:"name" doc:"Shown to people who look for services; empty: its domain."`
	Roster   string            `yaml:"roster" doc:"What it may do with contact lists: get, set or both (XEP-0356)."`
	Message  bool              `yaml:"message" doc:"It may send messages as an account."`
	Presence string            `yaml:"presence" doc:"Which presences it gets: managed_entity, those of accounts; roster, those of their contacts, too."`
	IQ       map[string]string `yaml:"iq" doc:"Namespaces of requests that it may make as an account, each with get, set or both."`
	Delegate []string          `yaml:"delegate" doc:"Namespaces that it answers instead of the server (XEP-0355); attributes that a request must have follow after spaces."`
}

// ComponentsConfig is where and which.
type ComponentsConfig struct {
	Port   int               `yaml:"port" doc:"TCP port for components, unencrypted; 0 is off. It is open only while there are components in the list."`
	Listen []string          `yaml:"listen" doc:"IP addresses for it: this machine, or a network that is trusted."`
	List   []ComponentConfig `yaml:"list" doc:"Each with domain and secret, and what it may do: name; roster (get, set, both), message (true), presence (managed_entity, roster), iq (namespace: get, set, both) by XEP-0356; delegate (namespaces) by XEP-0355."`
}

func (c *ComponentsConfig) check() error {
	for _, a := range c.Listen {
		if _, err := netip.ParseAddr(a); err != nil {
			return fmt.Errorf("xmpp.components.listen: %q is no IP address", a)
		}
	}
	seen := map[string]bool{}
	for i, k := range c.List {
		at := fmt.Sprintf("xmpp.components.list: entry %d (%s)", i+1, k.Domain)
		switch {
		case k.Domain == "" || strings.ContainsAny(k.Domain, "/@ :") || seen[k.Domain]:
			return fmt.Errorf("%s: give each component a domain of its own", at)
		case len(k.Secret) < 8:
			return fmt.Errorf("%s: the secret is too short: give at least 8 characters", at)
		case !slices.Contains([]string{"", "get", "set", "both"}, k.Roster):
			return fmt.Errorf("%s: roster: %q is none of get, set, both", at, k.Roster)
		case !slices.Contains([]string{"", "managed_entity", "roster"}, k.Presence):
			return fmt.Errorf("%s: presence: %q is none of managed_entity, roster", at, k.Presence)
		}
		for ns, typ := range k.IQ {
			if !slices.Contains([]string{"get", "set", "both"}, typ) {
				return fmt.Errorf("%s: iq: %s: %q is none of get, set, both", at, ns, typ)
			}
		}
		seen[k.Domain] = true
	}
	return nil
}

// openComponents makes the components; their port opens with the clients'.
func (s *server) openComponents(disco *ext.Disco) (err error) {
	var list []component.Config
	for _, c := range s.cfg.XMPP.Components.List {
		k := component.Config{Domain: c.Domain, Secret: c.Secret, Roster: c.Roster, Message: c.Message, Presence: c.Presence}
		for ns, typ := range c.IQ {
			k.IQ = append(k.IQ, component.IQPermission{Namespace: ns, Type: typ})
		}
		for _, d := range c.Delegate {
			if f := strings.Fields(d); len(f) > 0 {
				k.Delegate = append(k.Delegate, component.Delegation{Namespace: f[0], Attributes: f[1:]})
			}
		}
		list = append(list, k)
		name := c.Name
		if name == "" {
			name = c.Domain
		}
		disco.ItemWhile(func() bool { return s.components.Connected(c.Domain) }, c.Domain, name)
	}
	if s.components, err = component.New(list, s.xmpp, s.log.With("part", "component")); err != nil {
		return err
	}
	s.roster.Pushed(s.components.Pushed)
	disco.Delegate(s.components.Nested)
	s.components.Changed(disco.Reseal)
	s.onStop(func(ctx context.Context) { _ = s.components.Shutdown(ctx) })
	return nil
}

// listenComponents opens their port.
func (s *server) listenComponents(context.Context) error {
	c := s.cfg.XMPP.Components
	if c.Port == 0 || len(c.List) == 0 {
		return nil
	}
	var addrs []netip.AddrPort
	for _, a := range c.Listen {
		addrs = append(addrs, netip.AddrPortFrom(netip.MustParseAddr(a), uint16(c.Port)))
	}
	for _, a := range s.present(addrs) {
		ln, err := net.Listen("tcp", a.String())
		if err != nil {
			return oops.Listen("components", net.JoinHostPort(a.Addr().String(), strconv.Itoa(c.Port)), "xmpp.components.port", err)
		}
		go func() { _ = s.components.Serve(ln) }()
	}
	return nil
}
