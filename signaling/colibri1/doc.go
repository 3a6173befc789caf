// Package colibri1 is the video bridge that Jitsi Desktop finds on its server and drives itself (XEP-0340, COLIBRI version 1): the caller
// allocates a channel for itself and one for each peer, and puts the bridge's transports into ordinary Jingle calls to them.
//
//	request.go    what a <conference/> asks for, checked before anything is done (pure)
//	service.go    Service.run, one goroutine that owns all conferences: requests and what the relays tell, in order
//	channels.go   a channel of a request becomes one of sfu/opaque, and its description an answer
//
// The media pass sfu/opaque: contents are translators, so what comes into a channel goes out of all others of its content, byte for byte,
// SSRC and payload types as they are. Nothing is opened: plain RTP, ZRTP and what is keyed with it.
package colibri1
