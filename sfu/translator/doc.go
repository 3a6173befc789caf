// Package translator joins the channels that Jitsi Desktop allocates by COLIBRI v1 (XEP-0340): two UDP ports each, for RTP and RTCP, either raw
// (XEP-0177) or by ICE with two components (RFC 8445). It is a translator as RFC 7667 §3.4 has it: SSRCs, sequence numbers and payload types stay.
//
// A Group joins channels: what comes from the end of one goes to the ends of all others. Nothing is answered or repeated. There are two kinds
// of channels, and what comes of one kind goes to no channel of the other:
//
//   - With a DTLS fingerprint of the end, media are SRTP between the end and us (RFC 5764): opened with its keys, sealed with those of each other.
//   - Without, media are not ours to open: ZRTP (RFC 6189), SRTP that two ends keyed with it or otherwise end to end, plain RTP. They pass byte for
//     byte.
//
// A transport belongs to one channel, or to the channels of a bundle: those of one end in several groups, on one port. A bundle may have a channel for
// text too, over SCTP (package datachan).
//
// The path of a packet:
//
//  1. worker.run (worker.go, the worker's goroutine): udpio.Loop.Read takes a batch from whichever of the worker's sockets have something;
//     sockets of a group all belong to one worker.
//  2. worker.take, under the worker's lock: classify (packet.go) says by the first bytes what it is (RFC 7983). STUN goes to component.stun
//     (ice.go), unless the channel is raw.
//  3. component.accept (latch.go): is it from the end that the component has latched onto, or may it latch onto this one?
//  4. transport.allow: the end's rate, in bytes and packets per second. DTLS goes into the pipe of the component's handshake, a goroutine
//     (secure.go), which serves the text of a bundle afterwards.
//  5. transport.channelOf: of a bundle's channels the one that the packet is of. worker.opened: SRTP is opened when we have the keys.
//  6. udpio.Fan.Add to the latched end of each other channel, from that channel's own port: the datagram itself, no copy, or sealed into the
//     worker's arena.
//  7. Fan.Flush after the batch: runs for one destination are cut by the kernel (UDP_SEGMENT).
//
// worker.tick (same file, a goroutine of the worker) repeats checks of ICE and ends channels that were silent for too long.
//
// # Latching, and what it is safe against
//
// A raw channel learns where its end is from the first packet that is plausible as what the port is for, as every raw-UDP bridge does: the
// ends do not know their own public addresses. Whoever guesses the port in that time may take the end's place; the media are encrypted end
// to end, so he could deny the call and not hear it. So: latching is allowed for a time after the channel was made or told a remote address
// (Config.LatchWindow). If the end's candidates were signalled, the source's address must be one of theirs; private candidates are taken
// for those behind a NAT and say nothing about a public source. RTCP must come from where RTP does. After that only another port
// of the same address may take over, once the old one is silent (Config.Rebind). ICE channels take nothing but from addresses that proved to know the
// password (RFC 8445 §7.3), and have none of these weaknesses.
//
// No open group: ports exist only for channels that signalling made, and only latched ends are sent to. No amplification: a packet that
// comes in goes out once to each other end of its group, of the same size, below the end's rate; a STUN answer is only sent to whom knows the
// password.
//
// # Why so
//
// ZRTP is between two: with more than two ends latched its packets are dropped (drop_zrtp_crowd), rather than confuse all with handshakes of others.
// A group belongs to one worker, so packets change no goroutine, and the order of a flow is kept.
package translator
