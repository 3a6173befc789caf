// Package turn is the STUN and TURN server (RFC 8489, RFC 8656). The protocol's state machine is pion/turn's; around it stand
// a gate towards the client and a relay towards the peer, which are ours.
//
// The path of a client's packet, in order:
//
//  1. gate.ReadFrom (gate.go, the listener's or the stream's one goroutine of pion/turn) takes a datagram from the socket, or a frame
//     from a TCP or TLS stream (stream.go). Channel data and indications go on untouched.
//  2. gate.admit (admit.go, same goroutine) looks at a request before pion does and answers what pion would get wrong or does not
//     know: 403 for a forbidden peer, 437, 440, 441, 442, 443, 486 for a quota.
//  3. pion/turn does nonces, MESSAGE-INTEGRITY, allocations, permissions, channels and their lifetimes.
//  4. relay.WriteTo (relay.go, same goroutine) sends the payload to the peer: in memory when the peer is our own SFU or another of our
//     relays, else from the relay's socket. What may be reached is checked here again, for each packet.
//
// The way back:
//
//  5. relay.deliver (relay.go, the SFU's goroutine) or relay.readSocket (its own goroutine) puts the peer's packet on the
//     relay's bounded queue.
//  6. pion/turn's goroutine of the allocation takes it by relay.ReadFrom, wraps it and gives it to gate.WriteTo.
//
// Each UDP listener, and each TCP or TLS connection, is a pion/turn server of its own: its requests are handled by one
// goroutine, so the gate knows which request it is that pion asks about.
package turn
