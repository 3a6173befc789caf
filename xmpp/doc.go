// Package xmpp is the messaging room: client streams over TCP, TLS, WebSocket and BOSH, their sessions, and the router between them
// (RFC 6120, RFC 6121, RFC 7395, XEP-0124, XEP-0198). What is built on it (rooms, rosters, archives, small extensions) hooks in from its own packages and
// is not known here.
//
// The path of a stanza, in order:
//
//	step        where                 goroutine  what
//	listen      listen.go             listener   accept or hijack; one goroutine a stream from here
//	ask         bosh.go, boshwire.go HTTP     of BOSH: requests in the order of their rids; answers wait for somebody to take them
//	meter       conn.go               stream     the socket is read no faster than allowed
//	cut         stanza.Reader, wire.go stream    bytes → one element within limits; what waits for more holds no buffer (errAgain)
//	negotiate   stream.go, auth.go    stream     STARTTLS, SASL, stream restart (no session yet: answers are written at once)
//	bind        bind.go, sm.go        stream     a Session is made, or an old one goes on (resume)
//	receive     session.go received   stream     check and stamp `from`, note presence, honest.go, Hooks.Outbound, count (h)
//	keep        keep.go               stream     messages for archives are on disk first; then a goroutine of the stream's goes on with them, in order
//	route       route.go              stream     mounted Handler, Hooks.AccountIQ, iq hook, Hooks.Inbound, sessions, Hooks.Offline, or an error back
//	queue       outbox.go push        any        into the pending queue of the receiving session; a full one ends that session
//	hold        csi.go holdLocked     any        for a client that nobody looks at: what can wait (XEP-0352)
//	write       outbox.go flush       flusher    many stanzas in one write; counted ones move to the unacknowledged (flushers.go: whose goroutine it is)
//	acknowledge sm.go                 stream     the client's h drops them
//
// A Session has at most one stream and a stream at most one flusher, which lives only while there is something to write: an idle
// session costs one goroutine. When a stream breaks, detach lets a resumable session wait (hibernate) with its queues; resume gives it
// a new stream after the goroutine of the old one has ended, so that the count of handled stanzas stands still. When a session is over, end
// runs once: out of the tables, unavailable for directed presence, Hooks.Closed, and what nobody got is routed again.
//
// Stanzas of the client are answered for by the time they are counted: HandleStanza and hooks run to their end before h grows, what goes into an archive is
// on disk, and what a room holds meanwhile is out (hold.go).
package xmpp
