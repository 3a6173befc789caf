package turn

import "sync/atomic"

// counters count since the start.
type counters struct {
	requests         atomic.Uint64 // STUN requests looked at
	allocations      atomic.Uint64 // made
	unauthorized     atomic.Uint64 // wrong, expired or revoked credentials
	staleNonces      atomic.Uint64 // 438: nonces that have run out, or are not ours
	deniedPermission atomic.Uint64 // 403: the peer may not be reached
	deniedPacket     atomic.Uint64 // packets to or from a peer that may not be reached
	quota            atomic.Uint64 // 486
	refused          atomic.Uint64 // other errors for users: 437, 440, 441, 442, 443, 400
	limited          atomic.Uint64 // requests without proof not answered because their source asks too often
	malformed        atomic.Uint64 // neither STUN nor channel data, or broken
	oversized        atomic.Uint64 // longer than a packet can be
	noPort           atomic.Uint64 // 508: no free relay port, or the server is full or drains
	streams          atomic.Uint64 // connections taken
	streamsRefused   atomic.Uint64 // connections over a limit
	streamsSlow      atomic.Uint64 // connections closed because they took no data in time
	stray            atomic.Uint64 // packets without an allocation, a channel or a permission
	throttled        atomic.Uint64 // packets above the bandwidth of their allocation
	tableFull        atomic.Uint64 // 508: permissions or channels over the bound of an allocation
	peerErrors       atomic.Uint64 // ICMP messages told to clients
	sendFailed       atomic.Uint64 // packets that the kernel did not take
	queueFull        atomic.Uint64 // packets dropped because a stream's client is slower than its peers

	memoryIn, memoryOut   atomic.Uint64 // packets to and from the SFU or another relay in memory
	socketIn, socketOut   atomic.Uint64 // packets from and to peers over relay sockets
	packetsIn, packetsOut atomic.Uint64 // packets from and to clients
}

// Counters are counts since the start by name, and the allocations and connections there are now.
func (s *Server) Counters() map[string]uint64 {
	c := &s.count
	allocations, streams := s.reg.now()
	return map[string]uint64{
		"requests":           c.requests.Load(),
		"allocations":        c.allocations.Load(),
		"unauthorized":       c.unauthorized.Load(),
		"stale_nonce":        c.staleNonces.Load(),
		"permission_denied":  c.deniedPermission.Load(),
		"packet_denied":      c.deniedPacket.Load(),
		"quota_reached":      c.quota.Load(),
		"refused":            c.refused.Load(),
		"rate_limited":       c.limited.Load(),
		"malformed":          c.malformed.Load(),
		"oversized":          c.oversized.Load(),
		"no_port":            c.noPort.Load(),
		"streams":            c.streams.Load(),
		"streams_refused":    c.streamsRefused.Load(),
		"streams_slow":       c.streamsSlow.Load(),
		"stray":              c.stray.Load(),
		"throttled":          c.throttled.Load(),
		"table_full":         c.tableFull.Load(),
		"peer_errors":        c.peerErrors.Load(),
		"send_failed":        c.sendFailed.Load(),
		"queue_full":         c.queueFull.Load(),
		"packets_memory_in":  c.memoryIn.Load(),
		"packets_memory_out": c.memoryOut.Load(),
		"packets_socket_in":  c.socketIn.Load(),
		"packets_socket_out": c.socketOut.Load(),
		"packets_client_in":  c.packetsIn.Load(),
		"packets_client_out": c.packetsOut.Load(),
		"allocations_now":    uint64(allocations),
		"streams_now":        uint64(streams),
	}
}
