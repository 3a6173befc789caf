// Package s2s is federation: streams between servers (RFC 6120, RFC 7590), both ways.
//
// The path of a stanza to another server, in order:
//
//  1. Service.HandleStanza (s2s.go, the sender's goroutine) gets what is for a domain that is not served here, asks the policy (policy.go) and puts it
//     into the bounded queue of the link for that pair of domains.
//  2. link.run (link.go, a goroutine that lives while there is something to do) dials (resolve.go: SRV records of XEP-0368 and RFC 6120, then the
//     domain itself; several addresses at once), negotiates TLS, proves who we are by SASL EXTERNAL or dialback (negotiate.go) and turns on
//     stream management (XEP-0198).
//  3. link.write packs what waits into one write. What the other server has not acknowledged stays with the link: a new stream resumes or repeats it.
//     What cannot be delivered in time comes back to its sender with remote-server-timeout or remote-server-not-found.
//
// The path of a stanza from another server:
//
//  1. Service.ServeTCP, ServeTLS (listen.go) accept; incoming.serve (incoming.go, a goroutine for each stream) reads header, TLS, EXTERNAL or
//     dialback requests, and stanzas.
//  2. A pair of domains must be proved before a stanza between them is taken (prove.go, dialback.go, RFC 6120 §13.7.2). Checking a dialback key asks the
//     authoritative server on a stream of its own.
//  3. Stanzas go into xmpp.Inbound: kept, then routed; the count that is acknowledged follows what is on disk (resume.go).
//
// One stream carries both when the other server can (bidi.go, XEP-0288): then what it says on a link's stream goes into an xmpp.Inbound of the link, and
// a link writes to a stream that the other server opened, as long as there is one.
//
// Addresses of private networks are not dialled unless the operator allows it, so that a forged SRV record cannot reach inside.
package s2s
