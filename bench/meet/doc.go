// Package meet is a Jitsi client without a browser: it speaks what lib-jitsi-meet speaks on the wire, sends synthetic audio and
// simulcast video, and counts what arrives. It knows the public protocol only, so that it can drive any Jitsi-compatible server.
//
// The path of one participant, in order:
//
//  1. Join (client.go) dials the WebSocket (conn.go, RFC 7395) and logs in: it authenticates (ANONYMOUS or PLAIN), binds, enables stream management.
//     Then Client.enter (login.go) asks for the domain's services, sends the conference request to the focus and the presence to the room. One
//     goroutine, Client.readLoop (stanzas.go), reads all stanzas from then on.
//  2. The focus sends a Jingle session-initiate. jingle.go parses it; the session goroutine (session.go) makes SDP of it (sdp.go), hands
//     it to a pion PeerConnection (peer.go) as a remote offer, and answers with session-accept made from the local answer.
//  3. media.go sends Opus-like packets with audio levels and three VP8 layers with temporal layers. Each payload carries a stamp: who,
//     which packet, when. Keyframes come on request.
//  4. The bridge channel (channel.go) opens, over SCTP or WebSocket: the client says what it wants to see, and takes source maps.
//  5. Sources of others, by source-add or by source maps, become media sections of a new remote offer, so that pion accepts their SSRCs.
//  6. stats.go counts what comes by SSRC: packets, bytes, loss by sequence numbers, keyframes, picture size, latency by the stamps.
//  7. Client.Snapshot (snapshot.go) tells what is known so far. Client.Leave ends the session, leaves the room and closes the stream.
//
// Goroutines of a client: readLoop, session, two senders, one reader for each incoming track and for each outgoing stream's RTCP; all end with
// Leave or Close.
package meet
