package translator

import "sync/atomic"

type counter int

const (
	cPacketsIn counter = iota
	cBytesIn
	cPacketsOut
	cBytesOut
	cZRTP
	cRTP
	cRTCP
	cSTUN
	cDTLS
	cDTLSConnected
	cDTLSFailed
	cLatched
	cMoved
	cExpired
	cDropUnknown
	cDropSource
	cDropNoEnd
	cDropRate
	cDropTooLong
	cDropZRTPCrowd
	cDropDirection
	cDropNoChannel
	cDropSTUN
	cDropDTLS
	cDropKeys
	cDropSRTP
	cDropMixed
	cDropSocket
	cGroups
	cChannels
	numCounters
)

// Names are those of Counters.
var Names = [numCounters]string{ // a constant table
	"packets_in", "bytes_in", "packets_out", "bytes_out", "zrtp", "rtp", "rtcp", "stun", "dtls", "dtls_connected", "dtls_failed", "latched", "moved", "expired",
	"drop_unknown", "drop_source", "drop_no_end", "drop_rate", "drop_too_long", "drop_zrtp_crowd", "drop_direction", "drop_no_channel", "drop_stun", "drop_dtls", "drop_keys", "drop_srtp", "drop_mixed", "drop_socket",
	"groups", "channels",
}

type counters struct{ v [numCounters]atomic.Uint64 }

func (c *counters) add(k counter, n uint64) { c.v[k].Add(n) }
func (c *counters) inc(k counter)           { c.v[k].Add(1) }
func (c *counters) dec(k counter)           { c.v[k].Add(^uint64(0)) }

// Counters are all by name: traffic, each reason to drop, and the gauges groups and channels.
func (s *Server) Counters() map[string]uint64 {
	out := make(map[string]uint64, numCounters)
	for k, name := range Names {
		out[name] = s.count.v[k].Load()
	}
	return out
}
