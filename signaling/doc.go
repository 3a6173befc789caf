// Package signaling is the focus: it starts meetings, invites everybody who is in a room with Jingle, and asks a bridge to
// carry the media. To the rest of the server it is an ordinary XMPP entity: a xmpp.Handler for the domains focus and auth
// below the server's own, and an occupant "focus" of every room it serves.
//
// The Jingle/COLIBRI path, in order:
//
//  1. Focus.HandleStanza (focus.go), on the sender's goroutine: a conference iq goes to request.go, a stanza from a room
//     into that meeting's mailbox. Nothing here waits.
//  2. meeting.run (meeting.go), one goroutine per meeting, owns all of its state: members (member.go), as their presence
//     tells (presence.go), what a client can do (caps.go), who is owner (owner.go).
//  3. Two members are present: invite (invite.go) asks the bridge for an endpoint. That may wait, so it is a job for the
//     meeting's worker (worker.go), a second goroutine that asks the bridge one thing at a time, in order, and posts answers back
//     into the mailbox. The focus waits for the bridge, never the reverse.
//  4. The answer becomes a session-initiate (jingle.Offer). The client's session-accept, source-add, ... come back as private iqs
//     through the room to session.go; sources are held against the ledger (jingle.Ledger), told to the others
//     (propagate in sources.go), and to the bridge.
//  5. The bridge: signaling/bridge on the sfu of this process; the clients' JSON channel to it is signaling/bridgechan. Where there are bridges on
//     other machines signaling/pool stands between and chooses; signaling/brewery is how a bridge offers itself to a focus elsewhere, and
//     signaling/rest to one that speaks HTTP.
//
// Beside the path: auth.go knows who logged in, mute.go who may send, and component.go takes what the components of a room say; visitors.go counts those who
// watch; brewery.go, recorder.go, dial.go and asks.go are for recorders and telephone gateways.
//
// Packages: jingle and bridgechan are pure codecs, colibri the terms between focus and bridge.
package signaling
