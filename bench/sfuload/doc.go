// Package sfuload is the load on selective forwarding units: the same packets for every server, sent and counted by one lean engine
// (package bench/rtc), with a thin adapter for each server's signalling.
//
// The path of a participant:
//
//  1. A scenario (by name) says who is in which room, what each sends and what it wants to receive (Participant, adapter.go).
//  2. The server's Adapter joins it: it opens transports of the engine through the Connector, exchanges descriptions with the server by the
//     server's own signalling, starts the transports with what the server said (Transport.Start) and tells them the numbers to send and to
//     understand (Transport.Send, Transport.Receive). SDP text is read and written with sdp.go.
//  3. The engine does ICE, DTLS and SRTP, sends the traces and counts and verifies what comes.
//
// Adapters know signalling only, the engine knows media only.
package sfuload
