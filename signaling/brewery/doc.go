// Package brewery puts a bridge of this process at the service of a focus elsewhere, a jicofo or another konzil: the bridge logs in to
// an XMPP server as a client, joins the room where bridges are found, tells there how it is, and does what occupants of that room ask of it
// in COLIBRI2.
//
//	stream.go   a client's stream: TLS, SASL, binding (RFC 6120)
//	member.go   Member.Run: connect, join, say every few seconds how the bridge is, read; after an error again, later and later
//	stats.go    what the presence says
//	answer.go   what is asked: disco#info, version, health, conference-modify
//	lost.go     what it tells unasked: relays that failed
//	serial.go   requests about one conference are done one after another, those about different ones at the same time
//
// A lost connection ends no conference: the focus decides what becomes of them, and what it forgets the bridge expires by itself.
package brewery
