// Package ice is a full ICE agent (RFC 8445) for a server with one port: a state machine with the time passed in. It has no goroutine,
// no lock, no log and no socket, and allocates nothing once a pair is selected.
//
// The agent gathers nothing: its local candidates are the listening addresses. What it is told by the peer (candidates, credentials) and by
// the network (STUN messages) makes pairs; Selected is the pair to send on.
//
// The path, in order:
//
//  1. The SFU's demux (sfu/icein.go, a socket's goroutine) has Message.Parse read a STUN message (stun.go), finds the agent by Message.User or
//     by the transaction, and calls Agent.Handle with the lock of the endpoint's ICE held.
//  2. handle.go: a request is authenticated (RFC 8445 §7.3), the role conflict settled, the response written into Out, and the pair checked in
//     turn at once (triggered check). An unknown address is a peer reflexive candidate. A response ends a check and makes the pair valid.
//  3. select.go: a valid pair is used, and nominated when we control, at once (over TCP after tcpWait); a better one replaces it when it has become
//     valid.
//  4. Agent.Tick (check.go; the shard's timers, when Agent.Next is due): ordinary checks in order of priority at the pace Ta, retransmissions,
//     consent (RFC 7675), the end of a pair that is silent.
//
// TCP is passive (RFC 6544 §4.1): a connection that the peer has opened is a remote candidate of its own, known by the check that came over it,
// and our checks go back over it. Agent.Lost tells of its end.
//
// A restart (Agent.Restart) keeps the pair in use, with the credentials it was made with, until one of the new generation is valid.
//
// What the agent does not do: it has no candidates of its own beyond the listening addresses, one component only, no ICE lite of its own, no
// freezing by foundation (there is one component: RFC 8445 §6.1.2.6 unfreezes all of one check list that have different foundations, and ours
// are), and no limit on roles by SDP.
package ice
