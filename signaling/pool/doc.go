// Package pool is a colibri.Bridge made of several: the one in this process and those that wait in a brewery, a room where bridges, konzil
// or JVB, say how busy they are. A conference has one of them from its first request to its last.
//
//	pool.go      Pool.Modify: which bridge has the conference, or gets it; what a bridge that failed means
//	remote.go    a bridge in the brewery: its stats, its health, questions over XMPP
//	choose.go    which bridge a new conference gets (pure)
//	occupant.go  the pool as occupant of the brewery: presence in, answers in
//
// A bridge that leaves the brewery, does not answer, or fails its health checks loses its conferences: the listener is told of each
// endpoint, and who invites anew gets another bridge.
package pool
