package main

// gauges are the names of the numbers that tell what there is now; the others only grow.
var gauges = []string{
	"bridges",
	"certificate_seconds_remaining",
	"channels",
	"conferences",
	"connected",
	"endpoints",
	"gateways",
	"history_queue",
	"incoming",
	"joined",
	"lobbies",
	"log_bytes",
	"meetings",
	"nat_mapped",
	"occupants",
	"outgoing",
	"recorders",
	"rooms",
	"seats",
	"sessions",
	"sessions_hibernating",
	"streams_pending",
	"tcp_connections",
	"translator_channels",
	"translator_groups",
	"waiting",
	"write_queue",
}

// counters are the numbers of each part for the metrics page; docs/metrics.md says what each means.
func (s *server) counters() map[string]func() map[string]uint64 {
	c := map[string]func() map[string]uint64{
		"sfu":        s.sfu.Counters,
		"bridge":     s.bridge.Counters,
		"focus":      s.focus.Counters,
		"xmpp":       s.xmpp.Counters,
		"muc":        s.meetings.rooms.Counters,
		"roster":     s.roster.Counters,
		"offline":    s.offline.Counters,
		"archive":    s.archive.Counters,
		"ledger":     s.ledger.Counters,
		"component":  s.components.Counters,
		"mam":        s.mam.Counters,
		"pubsub":     s.pubsub.Counters,
		"push":       s.push.Counters,
		"brewery":    s.breweryCounters,
		"federation": s.federation.Counters,
		"store":      s.db.Stats,
		"certs":      s.certs.Stats,
		"auth":       s.logins,
	}
	if s.logFile != nil {
		c["log"] = s.logFile.Counters
	}
	if s.search != nil {
		c["search"] = s.search.Counters
	}
	if s.hooks != nil {
		c["webhook"] = s.hooks.Counters
	}
	if s.jwt != nil {
		c["tokens"] = s.jwt.Counters
	}
	for name, p := range s.meetings.parts {
		c[name] = p.Counters
	}
	s.sharing.counters(c)
	if s.turn != nil {
		c["turn"] = s.turn.Counters
	}
	if s.desktop != nil {
		c["desktop"] = s.desktop.Counters
	}
	if s.pool != nil {
		c["pool"] = s.pool.Counters
	}
	return c
}
