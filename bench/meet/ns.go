package meet

// Namespaces.
const (
	nsFraming   = "urn:ietf:params:xml:ns:xmpp-framing"
	nsSASL      = "urn:ietf:params:xml:ns:xmpp-sasl"
	nsBind      = "urn:ietf:params:xml:ns:xmpp-bind"
	nsSM        = "urn:xmpp:sm:3"
	nsPing      = "urn:xmpp:ping"
	nsDisco     = "http://jabber.org/protocol/disco#info"
	nsExtdisco  = "urn:xmpp:extdisco:2"
	nsFocus     = "http://jitsi.org/protocol/focus"
	nsMUC       = "http://jabber.org/protocol/muc"
	nsMUCUser   = "http://jabber.org/protocol/muc#user"
	nsCaps      = "http://jabber.org/protocol/caps"
	nsNick      = "http://jabber.org/protocol/nick"
	nsJitmeet   = "http://jitsi.org/jitmeet"
	nsJingle    = "urn:xmpp:jingle:1"
	nsRTP       = "urn:xmpp:jingle:apps:rtp:1"
	nsFB        = "urn:xmpp:jingle:apps:rtp:rtcp-fb:0"
	nsHdrExt    = "urn:xmpp:jingle:apps:rtp:rtp-hdrext:0"
	nsSSMA      = "urn:xmpp:jingle:apps:rtp:ssma:0"
	nsICE       = "urn:xmpp:jingle:transports:ice-udp:1"
	nsDTLS      = "urn:xmpp:jingle:apps:dtls:0"
	nsSCTP      = "urn:xmpp:jingle:transports:dtls-sctp:1"
	nsGrouping  = "urn:xmpp:jingle:apps:grouping:0"
	nsColibri   = "http://jitsi.org/protocol/colibri"
	nsStanzaErr = "urn:ietf:params:xml:ns:xmpp-stanzas"
)

// RTP header extensions that the client uses.
const (
	extAudioLevel  = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
	extTWCC        = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01"
	extAbsSendTime = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
)
