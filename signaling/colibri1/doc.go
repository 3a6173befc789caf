// Package colibri1 is the video bridge that Jitsi Desktop finds on its server and drives itself (XEP-0340, COLIBRI version 1): the caller
// allocates a channel for itself and one for each peer, and puts the bridge's transports into ordinary Jingle calls to them.
//
//	request.go    what a <conference/> asks for, checked before anything is done (pure)
//	service.go    Service.run, one goroutine that owns all conferences: requests and what the translators tell, in order
//	channels.go   a channel of a request becomes one of sfu/translator, and its description an answer
//	bundle.go     channels of one end on one transport, as focuses of WebRTC clients allocate them (<channel-bundle/>)
//	events.go     what the translators tell: new SSRCs, ends of channels, messages of ends that have an <sctpconnection/>
//
// The media pass sfu/translator: what comes into a channel goes out of all others of its content, SSRC and payload types as they are. With a
// fingerprint in the transport of its end a channel is DTLS-SRTP between the end and the bridge; without one nothing is opened: plain RTP, ZRTP
// and what is keyed with it pass byte for byte. The channels of a content are all of one of these kinds. Nothing is adapted to what an end can
// take: feedback of the ends (RTCP) passes as media do.
package colibri1
