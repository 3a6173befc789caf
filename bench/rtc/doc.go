// Package rtc is a lean WebRTC endpoint for load: thousands of transports on one core. It knows ICE, DTLS-SRTP, RTP and RTCP, and nothing
// of any server's signalling (package sfuload and its adapters).
//
// The path through it:
//
//  1. New (engine.go) starts the shards: goroutines that own all transports given to them (shard.go). A shard wakes up at a steady tick,
//     sends what is due, reads what came, and sleeps. It does not wait for readability: on one machine the server would pay for waking it at
//     each packet, which it does not on a network. Times of arrival are the kernel's: reading late costs no accuracy.
//  2. Engine.Peer makes a participant (peer.go), its method Transport each of its transports (transport.go). On 127.0.0.1 those of a shard
//     share one socket and have an address each (127.1.0.1 and on), so that one call reads for all; elsewhere, and where a large buffer is
//     not granted (CAP_NET_ADMIN), each has a socket of its own.
//  3. Transport.Start: connectivity checks (ice.go, RFC 8445), then the DTLS handshake in a goroutine over an in-memory connection
//     (dtls.go); its keys are exported and all else of it is dropped. Exactly one SRTP profile is offered.
//  4. Send: tracks wait in a heap for when they are due (send.go); trace.go makes their frames, stamp.go marks every payload with who sent
//     it, when, and a checksum. The packets of a frame leave as one message (UDP_SEGMENT), all messages of a step in one sendmmsg
//     (outbox_linux.go).
//  5. Receive: a BPF program on the sockets (tapprog_linux.go) notes time and headers of each packet, and of about every 64th all of it, in a
//     ring that the shard reads (tap_linux.go); no media are queued for a socket. Where that is not allowed: recvmmsg with UDP_GRO and
//     SO_TIMESTAMPNS (inbox_linux.go). recv.go counts by SSRC and sequence number. About every 64th packet of a stream is decrypted
//     (verify.go): checksum, order, addressee, latency from the stamp to the time of arrival.
//  6. Feedback as a browser gives it: transport-wide each 100 ms (twcc.go); receiver reports each second, NACK for gaps, PLI while there is
//     no keyframe; and NACK, PLI, FIR are taken for what is sent (rtcp.go).
//  7. Engine.Hold stops the senders and waits until nothing is under way. What was sent and what arrived can then be compared exactly, by the
//     counters of Engine.Snapshot (stats.go).
package rtc
