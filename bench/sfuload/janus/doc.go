// Package janus joins participants of the load to the VideoRoom of a Janus server, in its own JSON over a WebSocket, with multistream
// subscriptions (Janus 1.x).
//
// The path of a participant:
//
//  1. Join (adapter.go) dials with the janus-protocol subprotocol and starts the session's reader.
//  2. The reader (session.go) owns the connection. It takes the steps one after another: create, attach, join as a publisher (who makes the
//     room when it is not there), publish with our offer, the answer in the configured event.
//  3. A second handle subscribes (subscribe.go): one peer connection for everything, changed with update whenever the room or what the
//     participant wants changes, each change an offer of Janus that is answered with start.
//  4. wire.go has the messages and the transactions.
//
// Janus does not tell subscribers how tall the layers of a stream are. A publisher writes the heights into the description of each stream,
// which Janus passes on as it is. VP9 with spatial layers needs a room for VP9 alone and is refused.
package janus
