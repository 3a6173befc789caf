// Package jvb joins participants of the load to a Jitsi Videobridge without a focus: conferences over its COLIBRI2 REST API, what a
// receiver wants over the bridge channel, a WebSocket.
//
// The path of a participant:
//
//  1. Join (adapter.go) allocates an endpoint with its media and sources, which makes the conference when it is the first. The answer is the
//     bridge's half of the transport.
//  2. A second request gives the bridge our half, and the transport starts: the bridge is the controlling ICE agent and the DTLS server, as
//     with a browser behind Jicofo.
//  3. The session (session.go) opens the bridge channel and says there what it wants (ReceiverVideoConstraints, ReceiverAudioSubscription).
//     Leaving expires the endpoint; the last one of a room expires the conference.
//
// colibri.go has the JSON. Payload types and header extensions are numbered by us and the same for everybody, SSRCs arrive as they were
// sent: there is nothing to negotiate when somebody else joins. The bridge must have its REST API and WebSockets enabled.
package jvb
