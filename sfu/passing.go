package sfu

import (
	"net/netip"
	"slices"

	"konzil/sfu/opaque"
)

// OpenRelay makes a relay for media that must not be opened: channels without a DTLS fingerprint, each on ports of its own (see opaque). Its
// workers start with the first relay; most servers never have one. Errors: ErrClosed, and those of package opaque.
func (s *SFU) OpenRelay(id string, ev opaque.Events) (*opaque.Relay, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	if s.opaque == nil {
		o, err := opaque.New(s.opaqueConfig(), s.log)
		if err != nil {
			return nil, err
		}
		s.opaque = o
	}
	return s.opaque.Open(id, ev)
}

func (s *SFU) opaqueConfig() opaque.Config {
	c := opaque.DefaultConfig()
	for _, a := range s.addrs {
		if !slices.Contains(c.Listen, a.Addr()) {
			c.Listen = append(c.Listen, a.Addr())
		}
	}
	c.PortMin, c.PortMax = s.cfg.RelayPorts[0], s.cfg.RelayPorts[1]
	c.Workers, c.NoOffload, c.MaxRelays = len(s.shards), s.cfg.NoOffload, s.cfg.MaxConferences
	return c
}

// RelayAddrs are the addresses that channels of relays can be allocated on.
func (s *SFU) RelayAddrs() []netip.Addr { return s.opaqueConfig().Listen }

// opaqueCounters adds those of relays to out, by the names that they have here.
func (s *SFU) opaqueCounters(out map[string]uint64) {
	s.mu.Lock()
	o := s.opaque
	s.mu.Unlock()
	var now map[string]uint64
	if o != nil {
		now = o.Counters()
	}
	for _, name := range opaque.Names {
		out["opaque_"+name] = now[name]
	}
}
