// Package sfu is the media server: ICE, DTLS and SRTP in, packets forwarded to who wants them, layers and rates chosen by
// what receivers ask for and can take. It knows no signalling: callers describe endpoints and sources in the neutral terms
// of api.go and learn through Events what happens.
//
// # The path of an RTP packet
//
//  1. udpio.Reader.Serve (internal/udpio/reader_linux.go; the goroutine of one socket, shard.receive in shard.go): one recvmmsg, runs
//     that the kernel coalesced (UDP_GRO) are cut into datagrams. Each shard has a socket on each address (SO_REUSEPORT).
//  2. shard.demux (demux.go, same goroutine): first byte (RFC 7983). STUN goes to the endpoint's ICE agent (icein.go,
//     package ice) and is answered with the batch, DTLS to the transport's pipe, if the address has proved to know the ICE
//     password, media to the transport by source address. A packet of another shard's endpoint is put into that shard's inbox (inbox.go; bounded, a full one drops and counts).
//  3. shard.media (forward.go; same goroutine, or the owner's shard.work): the shard's lock is held for the whole batch. An
//     SSRC that was not signalled is dropped unopened. The packet is opened in place, its header parsed, its
//     transport-wide number noted; a repair packet is unwrapped into the original.
//  4. shard.incoming: duplicates go, the codec's descriptor (codec; layers.go) or the dependency descriptor (dd) is read, the
//     packet is copied into its track's history (history), rates by layer and audio levels are noted for the control loop.
//  5. shard.stage (fanout.go) keeps it until the batch is opened; shard.fanOut then walks each source's immutable list of receivers (an
//     atomic pointer) once for all its packets of the batch: a receiver's keys and rings are fetched into the cache once, those
//     of the next ones meanwhile (prefetch), and its datagrams stand in the arena without a gap. Receivers of other shards get the opened packets through their shard's inbox.
//  6. shard.send, per receiver: rewrite.Stream.Map decides and renumbers, seal.Index hands out the packet index once,
//     the header is written into the shard's arena, picture ids are patched in the shared payload (shard.forReceiver), and
//     seal.Sealer seals from it straight into the arena behind the header. Tags of AES-CM wait in shard.tags.
//  7. shard.flush, once per receive batch: tags that are missing are computed side by side; the datagrams of one receiver stand together, so udpio.Writer makes runs of them
//     (UDP_SEGMENT) and sends all receivers' runs with one sendmmsg. Paths through our own TURN server are called instead.
//
// No allocation or log line per packet (TestForwardAllocatesNothing and TestLayersAllocateNothing keep it so), and no lock but
// an inbox's where a packet changes shards.
//
// Layers come in two ways: VP8 and H264 senders have an SSRC for each (simulcast); VP9 and AV1 senders put three spatial layers into
// one (SVC). source.layers (observe.go) offers both to the allocation alike, and rewrite.Stream.TargetSVC takes both choices. AV1
// is cut only for receivers that have the dependency descriptor. Other codecs' descriptors are not passed on: numbers in the
// payload say the same to the receiver, and simulcast layers each have descriptors of their own.
//
// A receiver that loses packets and has negotiated FlexFEC gets repair packets with its video (protect.go, package fec), made where emit sends. One that has
// RTX gets the last packets of pictures, and repetitions, a second time (second.go).
//
// Beside the path: quiet.go leaves out silence, redundancy.go adds RED for who loses packets. pacing.go holds bursts of video back, probe.go finds out what a path
// could carry, playout.go makes receivers wait for repairs. relay.go is for conferences on several bridges, announce.go for sources that a client
// does not know yet.
//
// RTCP takes the same way to shard.rtcpIn (rtcp.go): NACKs are answered from the history (resend.go), keyframe requests from the
// keyframe cache (replay.go; foresee.go fills it for newcomers) or upstream at a bounded rate, transport feedback feeds the receiver's estimate (bwe), sender reports pass with the
// receiver's SSRC and timestamp. shard.timers (timers.go; each 10 ms, by receive batches or by shard.work) sends NACKs, feedback and reports upstream.
//
// Clients without UDP come over TCP (tcp.go: listeners and limits; tcpconn.go: a connection, its reading and its writing goroutine). What is read enters
// by SFU.inject, as what our TURN server relays in memory does (routes.go); what is sent goes to the path's carrier (carrier.go) instead of a socket.
//
// The channels of Jitsi Desktop, with DTLS-SRTP, ZRTP or nothing, take another way, on ports of their own: SFU.OpenTranslator (translators.go), package
// translator. Both have their keys of package keying.
//
// # Who owns what
//
// A shard's mu guards the packet state (media, track, send) of the endpoints that belong to it, and is taken per batch. A
// conference's control goroutine (conference.go, endpoint.go, observe.go, control.go, subscribe.go, constrain.go) owns everything else: sources, constraints,
// slots, speakers, allocation. What concerns one receiver it does at once (Conference.act), it looks at the packet path each 100 ms (clock.go: receive batches ring it), takes one shard's mu at a time, and is the only
// caller of Events. ICE (icein.go) has a lock of its own for each endpoint: sockets and the shard's
// timers take it. One more goroutine asks STUN servers for our public address (nat.go). DTLS and SCTP run in goroutines of the transport, which begin when ICE has a valid pair
// and end with it; without SCTP they end when DTLS is put away after the handshake (park.go).
//
// # Why so
//
// As DTLS server we choose the SRTP profile: AES-128-GCM costs a sixth of what AES-CM with SHA-1 does. Bursts per receiver
// decide the cost of sending, so nothing is sent before the batch ends. A late joiner of an established address may not
// speak DTLS to us before ICE has validated it: a ClientHello from elsewhere could otherwise race the real one.
package sfu
