package sfu

import (
	"slices"

	"konzil/sfu/translator"
)

// OpenTranslator makes a group whose channels get each other's media as they are, each on ports of its own (see package translator). The
// workers start with the first group; most servers never have one. Errors: ErrClosed, and those of package translator.
func (s *SFU) OpenTranslator(id string, ev translator.Events) (*translator.Group, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, ErrClosed
	}
	if s.translator == nil {
		t, err := translator.New(s.translatorConfig(), s.log)
		if err != nil {
			return nil, err
		}
		s.translator = t
	}
	return s.translator.Open(id, ev)
}

func (s *SFU) translatorConfig() translator.Config {
	c := translator.DefaultConfig()
	for _, a := range s.addrs {
		if !slices.Contains(c.Listen, a.Addr()) {
			c.Listen = append(c.Listen, a.Addr())
		}
	}
	c.PortMin, c.PortMax = s.cfg.ChannelPorts[0], s.cfg.ChannelPorts[1]
	c.Identity, c.Workers, c.NoOffload, c.MaxGroups = s.identity, len(s.shards), s.cfg.NoOffload, s.cfg.MaxConferences
	return c
}

// translatorCounters adds those of translators to out, by the names that they have here.
func (s *SFU) translatorCounters(out map[string]uint64) {
	s.mu.Lock()
	t := s.translator
	s.mu.Unlock()
	var now map[string]uint64
	if t != nil {
		now = t.Counters()
	}
	for _, name := range translator.Names {
		out["translator_"+name] = now[name]
	}
}
