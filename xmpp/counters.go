package xmpp

import "sync/atomic"

// counters are what the room counts; Server.Counters names them.
type counters struct {
	streamsOpened, streamsPending, streamsRefused atomic.Int64
	sessions, hibernating                         atomic.Int64
	authOK, authFailed, authDelayed               atomic.Int64
	resumed, resumeFailed, resumeTimeouts         atomic.Int64
	stanzasIn, stanzasOut, bytesIn, bytesOut      atomic.Int64
	writes                                        atomic.Int64
	outboxOverflows, unackedOverflows             atomic.Int64
	slowReaders, streamErrors                     atomic.Int64
	bounced, offline, rerouted, rateWaits, forged atomic.Int64
	held, restored, fanoutWaits                   atomic.Int64
	sessionsRefused, iqRefused                    atomic.Int64
}

// Counters gives the numbers since start by name; sessions, hibernating and streams_pending are of the moment.
func (s *Server) Counters() map[string]uint64 {
	c := &s.count
	out := map[string]uint64{}
	for name, v := range map[string]*atomic.Int64{
		"streams_opened": &c.streamsOpened, "streams_pending": &c.streamsPending, "streams_refused": &c.streamsRefused,
		"sessions": &c.sessions, "sessions_hibernating": &c.hibernating,
		"auth_ok": &c.authOK, "auth_failed": &c.authFailed, "auth_delayed": &c.authDelayed,
		"sm_resumed": &c.resumed, "sm_resume_failed": &c.resumeFailed, "sm_resume_timeouts": &c.resumeTimeouts,
		"stanzas_in": &c.stanzasIn, "stanzas_out": &c.stanzasOut, "bytes_in": &c.bytesIn, "bytes_out": &c.bytesOut,
		"writes":           &c.writes,
		"outbox_overflows": &c.outboxOverflows, "unacked_overflows": &c.unackedOverflows,
		"slow_readers": &c.slowReaders, "stream_errors": &c.streamErrors,
		"bounced": &c.bounced, "offline": &c.offline, "rerouted": &c.rerouted, "rate_waits": &c.rateWaits, "forged_children": &c.forged,
		"fanout_waits": &c.fanoutWaits, "sessions_refused": &c.sessionsRefused, "iq_refused": &c.iqRefused, "csi_held": &c.held, "sm_restored": &c.restored,
	} {
		out[name] = uint64(max(v.Load(), 0))
	}
	out["bosh_refused"] = s.bosh.reading.Refused()
	return out
}
