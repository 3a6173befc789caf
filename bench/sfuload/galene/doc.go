// Package galene joins participants of the load to a Galene server, by its own protocol: JSON over a WebSocket, and a peer connection for
// each stream, up and down.
//
// The path of a participant:
//
//  1. Join (adapter.go) dials, says handshake and join, and starts the session's reader.
//  2. The reader (session.go) owns the connection. Joined, it offers what the participant publishes (a stream for camera and microphone, one
//     for each shared screen) and requests what it wants.
//  3. Each stream of somebody else comes as an offer with an id and is answered on a transport of its own; close ends it (down.go).
//
// Galene forwards one of two layers of a simulcast stream, the first or the last; who may see how tall they are goes round in the users'
// data.
package galene
