// Package component lets programs of their own serve domains: external components (XEP-0114), what they may do for accounts (XEP-0356) and the
// namespaces that they answer instead of the server (XEP-0355). Gateways to other networks and bots need all three.
//
// The path of a stanza to a component, in order:
//
//  1. Component.HandleStanza (component.go, the sender's goroutine) queues it; while nobody is connected it comes back to its sender.
//  2. conn.write (conn.go, a goroutine of the connection) packs what waits into one write. A component that does not read is disconnected when its queue
//     is full.
//
// The path of a stanza from a component:
//
//  1. Service.Serve (listen.go) accepts; conn.serve (conn.go, a goroutine of the connection) reads the header, checks the handshake, and then stanzas.
//  2. What asks for a privilege is carried out by privilege.go, an answer to a delegated request by delegate.go.
//  3. All else goes into xmpp.Inbound: kept, then routed.
//
// There is no TLS: components are on this machine or in a network that is trusted, and by default only this machine reaches the port.
package component
