// Package measure is what every load of the bench has in common: the terms in which a load and a server are described, and the driver
// that measures one with the other.
//
// A Load (load.go) brings traffic to a server over real sockets and counts what came of it. A Target (target.go) is the server: its
// addresses and its processes. What a load counted in one measured interval is a Sample (sample.go).
package measure
