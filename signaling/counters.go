package signaling

import "sync/atomic"

// counters of a focus since its start.
type counters struct {
	stanzas, overflow                  atomic.Uint64
	requests, refused                  atomic.Uint64
	started, ended                     atomic.Uint64
	joins, leaves                      atomic.Uint64
	invites, accepts, inviteErrors     atomic.Uint64
	restarts, restartsRefused, lost    atomic.Uint64
	iceRestarts                        atomic.Uint64
	sourceAdds, sourceRemoves, badSrc  atomic.Uint64
	mutes, bridgeErrors, discoTimeouts atomic.Uint64
	idle, iqTimeouts                   atomic.Uint64
	recordings, dials                  atomic.Uint64
}

// Counters are totals since the start, by name; meetings is the number there are now.
func (f *Focus) Counters() map[string]uint64 {
	f.mu.Lock()
	meetings := len(f.meetings)
	f.mu.Unlock()
	c := &f.count
	return map[string]uint64{
		"meetings":              uint64(meetings),
		"stanzas_total":         c.stanzas.Load(),
		"queue_overflow_total":  c.overflow.Load(),
		"requests_total":        c.requests.Load(),
		"requests_refused":      c.refused.Load(),
		"meetings_started":      c.started.Load(),
		"meetings_ended":        c.ended.Load(),
		"members_joined":        c.joins.Load(),
		"members_left":          c.leaves.Load(),
		"invites_total":         c.invites.Load(),
		"accepts_total":         c.accepts.Load(),
		"invite_errors":         c.inviteErrors.Load(),
		"restarts_total":        c.restarts.Load(),
		"restarts_refused":      c.restartsRefused.Load(),
		"endpoints_lost":        c.lost.Load(),
		"ice_restarts_total":    c.iceRestarts.Load(),
		"source_adds_total":     c.sourceAdds.Load(),
		"source_removes_total":  c.sourceRemoves.Load(),
		"sources_refused":       c.badSrc.Load(),
		"mutes_total":           c.mutes.Load(),
		"bridge_errors_total":   c.bridgeErrors.Load(),
		"disco_timeouts_total":  c.discoTimeouts.Load(),
		"iq_timeouts_total":     c.iqTimeouts.Load(),
		"idle_sessions_expired": c.idle.Load(),
		"recordings_total":      c.recordings.Load(),
		"dials_total":           c.dials.Load(),
		"recorders":             uint64(f.jibris.count()),
		"gateways":              uint64(f.jigasis.count()),
	}
}
