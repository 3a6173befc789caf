// Package turn is the STUN and TURN server (RFC 8489, RFC 8656). The protocol's state machine is pion/turn's; all packets, and what stands
// around the requests, are ours.
//
// The path of a client's packet, in order:
//
//  1. udpLink.read (datagram.go), streamLink.read (stream.go) or mediaLink.read (media.go) takes a batch of datagrams from the sockets of a shard, of
//     frames (frames.go) from its TCP and TLS connections, or of what the media port's sockets have handed over. It runs on the link's one goroutine,
//     which is pion/turn's and sits in gate.ReadFrom (gate.go). A connection comes to its link when it is accepted, or its TLS handshake is over (accept.go).
//  2. gate.fromClient (up.go, same goroutine) relays channel data and Send indications of clients who have a channel or permission (table.go): to
//     a peer's address from the relay's socket, or in memory when the peer is our own SFU or another relay of ours.
//  3. gate.flush (up.go), once per batch, sends what was collected: runs of one size and destination as one message, and what stays in this
//     process a batch at a time.
//  4. gate.admit (admit.go, same goroutine) looks at a request before pion does and answers what pion would get wrong or does not
//     know: 400 for a signature that is not as offered, 403 for a forbidden peer, 420, 437, 440, 441, 442, 443, 486 for a quota, 508 when a table is full.
//     What an Allocate wishes beside an address (allocate.go), and how requests are signed (integrity.go), pion does not get to see.
//  5. pion/turn does nonces, allocations, permissions, channels and their lifetimes. gate.WriteTo (gate.go, same goroutine) sees its responses go out and
//     signs them as the client wants it; relay.granted (relay.go) takes over into the table what was granted.
//
// The way back:
//
//  6. What peers send to relays' sockets comes in the same batches as what clients send (those of clients of the media port: in batches of the first
//     streamLink). relay.fromPeer (down.go) asks the policy.
//     What routers say of packets to peers (udpio.Refusal) goes through relay.fromRouter (down.go) to the client.
//  7. relay.deliver (down.go) takes what the SFU or another relay sends in memory, on their goroutine.
//  8. relay.toClient (down.go) makes it channel data or a Data indication; outlet.flush (down.go) sends all of a batch, for a connection with one write of
//     what it takes. What it does not take now goes when the loop tells that it takes more; Server.sweep (accept.go, its own goroutine) ends those that
//     take nothing, or say nothing.
//
// Each shard of a UDP listener, and of all connections, is a pion/turn server of its own: its requests are handled by one
// goroutine, so the gate knows which request it is that pion asks about and answers.
package turn
