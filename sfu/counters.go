package sfu

import "sync/atomic"

// counter names one thing that is counted. The names in counterNames are what operators see.
type counter int

const (
	cPacketsIn counter = iota
	cBytesIn
	cPacketsOut
	cBytesOut
	cRTPIn
	cRTCPIn
	cSTUNIn
	cDTLSIn
	cRelayIn
	cTCPIn
	cTCPOut
	cTCPAccepted
	cTCPRefused
	cTCPMalformed
	cTCPStalled
	cTCPNow
	cNATAsked
	cNATAnswered
	cNATMapped
	cRTXIn
	cRTXOut
	cRTXTwice
	cRTXTail
	cRecovered
	cNACKOut
	cNACKIn
	cNACKMiss
	cNACKLimit
	cNACKEarly
	cSilenceKept
	cQuietKept
	cREDOut
	cFECOut
	cReplays
	cReplayRefused
	cForeseen
	cReplayPackets
	cPLIOut
	cPLIIn
	cTWCCOut
	cTWCCIn
	cREMBIn
	cProbes
	cProbePackets
	cPaced
	cHandedOver
	cDropUnknownByte
	cDropUnknownAddr
	cDropSTUNMalformed
	cDropSTUNUser
	cDropSTUNTransaction
	cDropSTUNAuth
	cDropDTLSQueue
	cDropNoKeys
	cDropUnknownSSRC
	cDropDecrypt
	cDropReplay
	cDropMalformed
	cDropDuplicate
	cDropPadding
	cDropUnknownPT
	cDropPTUnwanted
	cDropMuted
	cDropNonce
	cDropNoPath
	cDropTooLong
	cDropPaced
	cDropInbox
	cDropSocket
	cDropRelayGone
	cDropTCPGone
	cDropTCPQueue
	cChannelIn
	cChannelOut
	cChannelRefused
	cDTLSFailed
	cDTLSWoken
	cFingerprintMismatch
	cICEFailed
	cEndpoints
	cConferences
	cSegmentedRuns
	cSendCalls
	cSendMessages
	numCounters
)

var counterNames = [numCounters]string{
	"packets_in", "bytes_in", "packets_out", "bytes_out", "rtp_in", "rtcp_in", "stun_in", "dtls_in", "relay_in",
	"tcp_in", "tcp_out", "tcp_accepted", "tcp_refused", "tcp_malformed", "tcp_stalled", "tcp_connections", "nat_asked", "nat_answered", "nat_mapped",
	"rtx_in",
	"rtx_out", "rtx_twice", "rtx_tail", "recovered", "nack_out", "nack_in", "nack_miss", "nack_limit", "nack_early", "silence_withheld", "quiet_withheld", "red_out", "fec_out", "replays", "replay_refused", "replay_foreseen", "replay_packets", "pli_out", "pli_in", "twcc_out", "twcc_in", "remb_in", "probes", "probe_packets", "paced", "handed_over",
	"drop_unknown_byte", "drop_unknown_address", "drop_stun_malformed", "drop_stun_user", "drop_stun_transaction",
	"drop_stun_auth", "drop_dtls_queue", "drop_no_keys", "drop_unknown_ssrc", "drop_decrypt", "drop_replay",
	"drop_malformed", "drop_duplicate", "drop_padding", "drop_unknown_pt", "drop_pt_unwanted", "drop_muted", "drop_nonce",
	"drop_no_path", "drop_too_long", "drop_paced", "drop_inbox", "drop_socket", "drop_relay_gone", "drop_tcp_gone", "drop_tcp_queue", "channel_in", "channel_out",
	"channel_refused", "dtls_failed", "dtls_woken", "fingerprint_mismatch", "ice_failed", "endpoints", "conferences", "segmented_runs",
	"send_calls", "send_messages",
}

// counters is one set; each shard has its own, so that cores do not share cache lines.
type counters struct {
	v [numCounters]atomic.Uint64
	_ [64]byte
}

func (c *counters) add(k counter, n uint64) { c.v[k].Add(n) }
func (c *counters) inc(k counter)           { c.v[k].Add(1) }

// Counters returns all counters by name: packets and bytes in and out, every reason to drop one, and the gauges
// endpoints and conferences; those of translators (OpenTranslator) begin with translator_.
func (s *SFU) Counters() map[string]uint64 {
	out := make(map[string]uint64, numCounters)
	for k := range numCounters {
		v := s.count.v[k].Load()
		for _, sh := range s.shards {
			v += sh.count.v[k].Load()
		}
		out[counterNames[k]] = v
	}
	for _, sh := range s.shards {
		for _, c := range sh.conns {
			out[counterNames[cSegmentedRuns]] += c.Segmented()
		}
	}
	s.translatorCounters(out)
	return out
}
