// Package bytestreams is a SOCKS5 proxy for files between two clients that cannot reach each other (XEP-0065).
//
// The path of a stream, in order:
//
//  1. A client asks the proxy's domain for its address (proxy.go answer, on its stream's goroutine). Only those who may use the proxy learn it.
//  2. Both ends connect (Proxy.Serve, a goroutine for each connection) and name the stream by a hash of its id and their addresses (socks.go). After
//     the handshake nothing is read from them and no goroutine waits (pair.go): a timer ends who is not activated.
//  3. The initiator says <activate/>: from the address that the stanza was sent from, its id and the target's address comes the same hash, so nobody else can
//     activate the stream.
//  4. Two goroutines move bytes (relay.go), in the kernel where it can splice, no faster than a stream and an account may, until both ends have said all or nothing
//     has come for a while.
package bytestreams
