// Package roster keeps contact lists, subscriptions and the presence that follows them (RFC 6121 §2, §3, §4; roster versioning §2.6).
//
// The path, in order; all of it runs on the goroutine of the stream that sent the stanza:
//
//  1. An iq jabber:iq:roster of a session's own account goes to Roster.iq (query.go), by an IQ hook.
//  2. A presence that a local session sends goes to Roster.outbound (presence.go), by the Outbound hook: without `to` it is broadcast to
//     subscribers, with the first one contacts are probed and pending requests delivered; of a subscription type it goes through the
//     sender's half of the state machine (outgoing in state.go) and on to the contact.
//  3. A presence for a local account goes to Roster.inbound (presence.go), by the Inbound hook: probes are answered, subscription types
//     go through the receiver's half of the state machine (incoming in state.go), everything else passes.
//  4. The end of a session is told to subscribers (Closed hook).
//
// A contact list is loaded into the cache (cache.go) when it is first needed and stays while its owner is online. A change is computed with
// that list locked, is on disk before the lock is given back, and is pushed and routed after it: no lock is held while anything is routed.
package roster
