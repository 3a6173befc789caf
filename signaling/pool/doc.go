// Package pool is a colibri.Bridge made of several: the one in this process and those that wait in a brewery, a room where bridges, konzil
// or JVB, say how busy they are. A conference begins on one of them, and spreads to more when that is full or far away from a participant.
//
//	pool.go        Pool.Modify: which bridge has an endpoint, or gets it
//	conference.go  what each bridge has of a conference, what a bridge that failed means
//	link.go        the relays between the bridges of a conference, made anew when they fail
//	remote.go      a bridge in the brewery: its stats, its health, questions over XMPP
//	choose.go      which bridge a new endpoint gets (pure)
//	occupant.go    the pool as occupant of the brewery: presence in, answers in
//
// A bridge that leaves the brewery, does not answer, or fails its health checks loses what it has: the listener is told of each
// endpoint, and who invites anew gets another bridge.
package pool
