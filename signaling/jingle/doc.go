// Package jingle is the codec between the focus and its clients: Jingle as Jitsi speaks it (XEP-0166, XEP-0167, XEP-0176,
// XEP-0320, XEP-0338, XEP-0339), and the compact JSON form of sources. It is pure: no goroutine, no clock, no log, and
// what comes in is judged by its form alone.
//
//	types.go    neutral structs: payload types, extensions, transports, sources
//	codecs.go   the tables of what is offered, by what the client can do
//	offer.go    Offer.Element: session-initiate
//	message.go  Parse: session-accept, source-add, transport-info ... into a Message
//	sourcexml.go, sourcejson.go   the two encodings of sources
//	ledger.go   Ledger: who owns which SSRC in a conference, and what may be added
package jingle

// Namespaces.
const (
	NS           = "urn:xmpp:jingle:1"
	NSErrors     = "urn:xmpp:jingle:errors:1"
	NSRTP        = "urn:xmpp:jingle:apps:rtp:1"
	NSRTCPFB     = "urn:xmpp:jingle:apps:rtp:rtcp-fb:0"
	NSHdrExt     = "urn:xmpp:jingle:apps:rtp:rtp-hdrext:0"
	NSSSMA       = "urn:xmpp:jingle:apps:rtp:ssma:0"
	NSICE        = "urn:xmpp:jingle:transports:ice-udp:1"
	NSDTLS       = "urn:xmpp:jingle:apps:dtls:0"
	NSSCTP       = "urn:xmpp:jingle:transports:dtls-sctp:1"
	NSGrouping   = "urn:xmpp:jingle:apps:grouping:0"
	NSColibri    = "http://jitsi.org/protocol/colibri"
	NSColibri2   = "jitsi:colibri2"
	NSFocus      = "http://jitsi.org/protocol/focus"
	NSJitmeet    = "http://jitsi.org/jitmeet"
	NSStartMuted = "http://jitsi.org/jitmeet/start-muted"
)

// BridgeOwner owns the sources that a bridge uses for its own RTCP.
const BridgeOwner = "jvb"
