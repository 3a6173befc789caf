// Package livekit joins participants of the load to a LiveKit server, by the signalling that its client SDKs speak: protobuf messages in
// binary frames of a WebSocket (livekit_rtc.proto), two peer connections a participant.
//
// The path of a participant:
//
//  1. Join (adapter.go) signs an access token, dials /rtc and starts the session's reader.
//  2. The reader (session.go) owns the connection: JoinResponse, then AddTrackRequest for each track, TrackPublishedResponse, our offer for
//     the publishing peer connection, the server's answer.
//  3. Offers of the subscribing peer connection come whenever the room changes and are answered there and then.
//  4. What the participant wants (subscribe.go) becomes UpdateSubscription and UpdateTrackSettings.
//
// message.go holds the few messages in use, field numbers as in livekit_rtc.proto and livekit_models.proto of protocol 1.50. Dynacast
// (SubscribedQualityUpdate) is not followed: every layer of a track is always sent, as to the other servers.
package livekit
