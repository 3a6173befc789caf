// Package rest is COLIBRI2 over HTTP, as a Jitsi bridge offers it (/colibri/v2/conferences): a focus without XMPP makes and changes conferences
// by JSON objects that say the same as the XML of package colibri.
//
//	handler.go  the requests, and what they answer
//	object.go   JSON with what a request must not have: a key twice, too deep, too much (pure)
//	request.go  an object becomes a <conference-modify/>, which package colibri reads and checks (pure)
//	answer.go   a colibri.ConferenceModified becomes an object (pure)
package rest
